"""`fedora-messaging outbox`, and processes that share an outbox (P17)."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Processes

SHARING = """
import os, sys
from fedora_messaging import api, config
from fedora_messaging.message import Message

config.conf.load_config("config.toml")
queue, name = sys.argv[1:]
api._init_twisted_service()
print("ready", flush=True)
for line in sys.stdin:
    number = int(line)
    if number < 0:
        child = os.fork()
        if child == 0:
            api.publish(Message(topic=queue, body={"from": "child", "number": -number}), "")
            os._exit(0)
        os.waitpid(child, 0)
    else:
        api.publish(Message(topic=queue, body={"from": name, "number": number}), "")
    print("recorded", number, "sending", api._twisted_service.outbox.sending, flush=True)
"""


def configure(processes: Processes, url: str, extra: str = "") -> None:
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{url}"\n{extra}\n[outbox]\npath = "outbox.db"\n'
    )


def status(processes: Processes) -> dict[str, Any]:
    ended = processes.run("--conf", "config.toml", "outbox", "status", "--json")
    assert (ended.status, ended.stderr) == (0, []), ended.output
    found: dict[str, Any] = json.loads(ended.stdout[0])
    return found


def publish(processes: Processes, queue: str, *numbers: int) -> None:
    lines = "".join(json.dumps({"topic": queue, "body": {"number": number}}) + "\n" for number in numbers)
    (processes.directory / "messages").write_text(lines)
    ended = processes.run("--conf", "config.toml", "publish", "--exchange", "", "messages")
    assert ended.status == 0, ended.output


def test_status_and_flush(processes: Processes, queues: Queues, silent_port: int) -> None:
    """What was published without a broker waits, and is told of, and is sent when there is one."""
    queue = queues.make()
    configure(processes, f"amqp://127.0.0.1:{silent_port}")
    publish(processes, queue, 1, 2)
    found = status(processes)
    assert (found["outbox"], found["messages"], found["sending"], found["failures"]) == (
        "outbox.db",
        2,
        False,
        [],
    )
    assert found["bytes"] > 0
    assert 0 <= found["oldest"] < 600
    shown = processes.run("--conf", "config.toml", "outbox", "status").stdout
    assert [line.split()[0] for line in shown] == ["outbox", "messages", "bytes", "oldest", "sender"]
    refused = processes.run("--conf", "config.toml", "outbox", "flush", "--timeout", "0.5")
    assert refused.status == 1
    assert refused.one_error().startswith("Error: 2 messages still in the outbox after 0.5 s: ")
    configure(processes, queues.url)
    flushed = processes.run("--conf", "config.toml", "outbox", "flush")
    assert (flushed.status, flushed.stdout, flushed.stderr) == (0, ["The outbox is empty."], [])
    assert status(processes)["messages"] == 0
    assert [json.loads(body)["number"] for body in queues.take(queue)] == [1, 2]


def test_what_the_broker_refuses_is_told(processes: Processes, queues: Queues) -> None:
    configure(processes, queues.url, "[publisher]\nmandatory = true")
    (processes.directory / "messages").write_text('{"topic": "nowhere.\\u001b[31m", "body": {}}\n')
    assert processes.run("--conf", "config.toml", "publish", "--exchange", "", "messages").status == 0
    refused = processes.run("--conf", "config.toml", "outbox", "flush", "--timeout", "1")
    assert refused.status == 1
    assert refused.one_error().endswith("see `fedora-messaging outbox status`")
    (failure,) = status(processes)["failures"]
    assert failure["error"].startswith("PublishReturned: (312) NO_ROUTE")
    shown = processes.run("--conf", "config.toml", "outbox", "status").output
    assert r"(default exchange) nowhere.\x1b[31m" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("command", ["status", "flush"])
def test_without_an_outbox(processes: Processes, command: str) -> None:
    ended = processes.run("outbox", command)
    assert ended.status == 1
    assert "there is no outbox" in ended.one_error()


def test_p17_another_process_takes_over(processes: Processes, queues: Queues) -> None:
    """One sends, whoever records; when it is killed, another one sends, and nothing is lost."""
    queue = queues.make()
    configure(processes, queues.url)
    (processes.directory / "sharing.py").write_text(SHARING)
    first = processes.python("sharing.py", queue, "first")
    first.wait_for("^ready$")
    first.say("1")
    assert first.wait_for("^recorded 1 sending (True|False)$")
    queues.wait_until_ready(queue, 1)
    second = processes.python("sharing.py", queue, "second")
    second.wait_for("^ready$")
    second.say("2")
    assert second.wait_for("^recorded 2 sending (True|False)$")[1] == "False"
    queues.wait_until_ready(queue, 2)
    first.say("-3")
    first.wait_for("^recorded -3 sending True$")
    queues.wait_until_ready(queue, 3)
    assert status(processes)["sending"]
    first.signal(signal.SIGKILL)
    first.end()
    second.say("4")
    second.wait_for("^recorded 4 ")
    queues.wait_until_ready(queue, 4)
    found = [json.loads(body) for body in queues.take(queue)]
    assert [(one["from"], one["number"]) for one in found] == [
        ("first", 1),
        ("second", 2),
        ("child", 3),
        ("second", 4),
    ]
    second.end_input()
    assert second.end().status == 0
    assert not status(processes)["sending"]


def test_flush_waits_for_the_process_that_sends(processes: Processes, queues: Queues) -> None:
    queue = queues.make()
    configure(processes, queues.url)
    (processes.directory / "sharing.py").write_text(SHARING)
    sender = processes.python("sharing.py", queue, "sender")
    sender.wait_for("^ready$")
    sender.say("0")
    sender.wait_for("^recorded 0")
    queues.wait_until_ready(queue, 1)
    publish(processes, queue, 1, 2, 3)
    assert processes.run("--conf", "config.toml", "outbox", "flush").status == 0
    queues.wait_until_ready(queue, 4)
    sender.end_input()
    assert sender.end().status == 0
