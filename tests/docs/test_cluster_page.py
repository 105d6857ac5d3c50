"""What the page on clusters has one write is what RabbitMQ and the library take."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.behaviour.support import closes, connect, eventually
from tests.support.rabbitmq import RabbitNode, find_rabbitmq
from tests.support.servers import require

from fedora_messaging import config

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Arguments of each rabbitmqctl on the page."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rabbitmqctl ")]


@pytest.fixture
def bus(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    """RabbitMQ after the commands of the page."""
    for arguments in commands():
        rabbitmq.ctl(*arguments)
    yield rabbitmq
    rabbitmq.ctl("delete_user", "my-app")
    rabbitmq.ctl("delete_vhost", "bus")


def test_commands(bus: RabbitNode) -> None:
    """The user may do what the page says, and the policy holds for the queue."""
    bus.ctl("change_password", "my-app", "secret")
    url = f"amqp://my-app:secret@127.0.0.1:{bus.port}/{quote('bus', safe='')}"
    with connect(url) as connection:
        channel = connection.channel()
        quorum = {"x-queue-type": "quorum"}
        for name in ("my-app", "my-app.refused", "my-app.retry.100"):
            channel.queue_declare(name, durable=True, arguments=quorum)
        channel.queue_bind("my-app", "amq.topic", "org.example.prod.#")
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "org.example.prod.my-app.built", b"x")
        eventually(lambda: channel.queue_declare("my-app", passive=True).method.message_count == 1)
        method, _properties, _body = channel.basic_get("my-app")
        channel.basic_reject(method.delivery_tag, requeue=False)
        eventually(lambda: channel.queue_declare("my-app.refused", passive=True).method.message_count == 1)
    with connect(url) as connection, closes(403, "access to queue 'other'"):
        connection.channel().queue_declare("other", durable=True)
    with connect(url) as connection, closes(403, "access to topic"):
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "org.example.prod.somebody-else", b"x")


def test_settings_of_programs(tmp_path: Path) -> None:
    for number, block in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        loaded = config.LazyConfig().load_config(str(path))
        assert set(tomllib.loads(block)) <= set(loaded)
    options = config.connection_options(loaded)
    assert len(options.alternatives) == 2
    assert options.external


@pytest.mark.timeout(180)
@pytest.mark.rabbitmq
def test_settings_of_nodes(tmp_path: Path) -> None:
    """A node starts with them, but for its peers and its certificates, which are not here."""
    require(find_rabbitmq() is not None, "RabbitMQ", "install the package rabbitmq-server")
    (text,) = blocks("ini")
    kept = [
        line
        for line in text.splitlines()
        if not line.startswith(("cluster_formation", "listeners", "ssl_options"))
    ]
    removed = {line.split(" = ")[0] for line in text.splitlines() if line and line not in kept}
    assert {"listeners.tcp", "ssl_options.verify"} <= removed
    kept.append("auth_mechanisms.2 = PLAIN")
    with RabbitNode(
        tmp_path, name="page", extra_config="\n".join(kept), plugins=["rabbitmq_auth_mechanism_ssl"]
    ) as node:
        with connect(node.url) as connection:
            assert connection.is_open
        assert "pause_minority" in node.ctl("environment")
