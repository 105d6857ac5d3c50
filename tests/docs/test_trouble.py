"""What "When it breaks" says of errors: each is provoked, and its text is the one on the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.printed import ROOT

from fedora_messaging.broker import Accounts, Broker, Permissions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/trouble/index.md").read_text("utf-8")
TEXTS = re.findall(r"^\| `([^`]+)` \|", PAGE.partition("## By the text")[2], re.MULTILINE)

CONSUME = """
amqp_url = "{url}"
callback = "fedora_messaging.example:printer"
[queues.{queue}]
durable = {durable}
auto_delete = false
exclusive = false
arguments = {{}}
[[bindings]]
queue = "{queue}"
exchange = "amq.topic"
routing_keys = ["#"]
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    accounts = Accounts(guest=False)
    for name, permissions in (("me", Permissions("^mine", ".*", "^mine")), ("admin", Permissions())):
        accounts.add_user(name, "secret")
        accounts.set_permissions(name, "/", permissions)
    with Broker(port=0, accounts=accounts) as running:
        yield running


def told(directory: Path, *arguments: str, url: str = "", conf: str = "") -> str:
    """Run a command, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDORA_")}
    if url:
        environment["FEDORA_MESSAGING_AMQP_URL"] = url
    if conf:
        (directory / "conf.toml").write_text(conf)
        arguments = ("--conf", "conf.toml", *arguments)
    done = subprocess.run(
        [sys.executable, "-m", "fedora_messaging", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def provoked(text: str, broker: Broker, directory: Path) -> str:
    """Make a mistake, and return what is said about it."""
    port = broker.port
    me = f"amqp://me:secret@127.0.0.1:{port}"
    publish = ("publish", "--topic", "a.b", "--timeout", "1")
    match text:
        case "Connection refused" | "Publishing timed out":
            return told(directory, *publish, url="amqp://127.0.0.1:1")
        case "Login was refused":
            return told(directory, *publish, url=f"amqp://me:wrong@127.0.0.1:{port}")
        case "NOT_ALLOWED - vhost":
            return told(directory, *publish, url=f"{me}/none")
        case "does not speak TLS":
            return told(directory, *publish, url=me.replace("amqp:", "amqps:"))
        case "configure access to queue":
            return told(directory, "consume", conf=CONSUME.format(url=me, queue="other", durable="true"))
        case "read access to exchange":
            return told(directory, "consume", conf=CONSUME.format(url=me, queue="mine", durable="true"))
        case "inequivalent arg":
            told(directory, "consume", conf=CONSUME.format(url=me, queue="mine", durable="true"))
            return told(directory, "consume", conf=CONSUME.format(url=me, queue="mine", durable="false"))
        case "NOT_FOUND - no exchange":
            return told(directory, *publish, "--exchange", "none", url=me)
        case "NO_ROUTE; no queue is bound":
            return told(directory, *publish, conf=f'amqp_url = "{me}"\n[publisher]\nmandatory = true\n')
        case "Unknown configuration key":
            return told(directory, "consume", conf='amqp_urll = "x"\n')
        case "Failed to parse":
            return told(directory, "consume", conf="amqp_url = x\n")
        case "Failed to import the callback module":
            return told(directory, "consume", "--callback", "nosuch:thing", url=me)
        case "is in use already":
            return told(directory, "broker", "--port", str(port))
        case "is not in the message registry":
            program = directory / "program.py"
            program.write_text(
                "from fedora_messaging.message import Message\nclass Mine(Message):\n    pass\nMine()\n"
            )
            command = [sys.executable, str(program)]
            return subprocess.run(command, capture_output=True, text=True, check=False).stderr
    raise AssertionError(f"no test provokes {text!r}")


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_the_one_that_is_printed(text: str, broker: Broker, tmp_path: Path) -> None:
    assert text in provoked(text, broker, tmp_path)


TWO_PUBLISHES = """
from fedora_messaging import api, exceptions
api.publish(api.Message(topic="a.b"))
input()
try:
    api.publish(api.Message(topic="a.b"), timeout=1)
except exceptions.PublishTimeout as error:
    print(error, *error.__notes__)
"""


def test_blocked_publisher_is_told_why(broker: Broker, tmp_path: Path) -> None:
    """As the page "My publish hangs" says."""
    page = (ROOT / "docs/trouble/publish-hangs.md").read_text("utf-8")
    assert "`The broker blocks publishing: low on memory`" in page
    environment = {**os.environ, "FEDORA_MESSAGING_AMQP_URL": f"amqp://admin:secret@127.0.0.1:{broker.port}"}
    with subprocess.Popen(
        [sys.executable, "-c", TWO_PUBLISHES],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        with broker.faults.block("low on memory"):
            said, _ = program.communicate("\n", timeout=60)
    assert "The broker blocks publishing: low on memory" in said
