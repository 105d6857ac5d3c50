"""docs/how-to/own-rabbitmq.md, followed from the certificates to the doctor, on a node of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.printed import Block, Page
from tests.support.rabbitmq import RabbitNode, find_rabbitmq, free_ports
from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path

PAGE = Page("docs/how-to/own-rabbitmq.md")
NAME = "rabbitmq.example.com"


#: Publishes one message with the configuration that its argument names.
PUBLISH = """
import sys
from fedora_messaging import api, config
config.conf.load_config(sys.argv[1])
api.publish(api.Message(topic="built"))
"""


def blocks(language: str) -> list[Block]:
    return [block for block in PAGE.blocks if block.language == language]


def commands(program: str) -> list[list[str]]:
    """Every line of the page that calls a program, as arguments."""
    lines = [command.text for block in blocks("console") for command in block.commands]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False)


@pytest.mark.timeout(180)
@pytest.mark.rabbitmq
def test_the_page(tmp_path: Path) -> None:
    require(find_rabbitmq() is not None, "RabbitMQ", "install the package rabbitmq-server")
    for arguments in commands("openssl"):
        done = run("openssl", *(argument.replace(NAME, "localhost") for argument in arguments), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "node.key").chmod(0o644)  # a node of another Debian suite has another user

    [port] = free_ports(1)
    [settings] = [block.text for block in blocks("ini")]
    # The node of a test has ports of its own, and is asked without TLS whether it is ready.
    others = ("listeners.tcp = none", "management.tcp.")
    kept = "\n".join(line for line in settings.splitlines() if not line.startswith(others))
    kept = kept.replace("/etc/rabbitmq/", f"{tmp_path}/").replace("listeners.ssl.default = 5671", "")
    kept += f"\nlisteners.ssl.1 = 127.0.0.1:{port}\n"
    [plugins] = commands("rabbitmq-plugins")
    # Its statistics would take the port that all nodes of this machine want.
    chosen = [name for name in plugins[1:] if name == "rabbitmq_auth_mechanism_ssl"]
    assert len(chosen) == 1
    with RabbitNode(tmp_path / "node", name="own", extra_config=kept, plugins=chosen) as node:
        for arguments in commands("rabbitmqctl"):
            node.ctl(*arguments)
        [text] = [block.text for block in blocks("toml")]
        configuration = tmp_path / "my-app.toml"
        configuration.write_text(text.replace(f"{NAME}/", f"localhost:{port}/"), encoding="utf-8")
        [doctor] = [line for line in commands("fedora-messaging") if line[-1] == "doctor"]
        done = run(sys.executable, "-m", "fedora_messaging", *doctor, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "failure" not in done.stdout
        published = run(sys.executable, "-c", PUBLISH, os.fspath(configuration), cwd=tmp_path)
        assert published.returncode == 0, published.stderr
        foreign = configuration.read_text("utf-8").replace("prod.my-app", "prod.somebody-else")
        configuration.write_text(foreign, encoding="utf-8")
        refused = run(sys.executable, "-c", PUBLISH, os.fspath(configuration), cwd=tmp_path)
        assert "PublishForbidden" in refused.stderr
