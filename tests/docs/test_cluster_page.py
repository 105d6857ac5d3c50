"""What the page on clusters has one write is what RabbitMQ and the library take."""

from __future__ import annotations

import asyncio
import itertools
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from tests.behaviour.support import closes
from tests.client.support import AioConsuming, message, plan
from tests.support.admin import Admin, Names, connect
from tests.support.rabbitmq import RabbitNode, find_rabbitmq
from tests.support.servers import require
from tests.support.waiting import eventually

from fedora_messaging import aio, config
from fedora_messaging.exceptions import Nack, PublishException
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from fedora_messaging.message import Message

pytestmark = pytest.mark.usefixtures("settings")

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")

#: The delivery limit that RabbitMQ 4 gives a quorum queue.
LIMIT: Final = 20
#: More deliveries than the limit allows.
ENOUGH: Final = 40
MIB: Final = 2**20
QUORUM: Final = {"x-queue-type": "quorum"}


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
    options = connection_options(loaded)
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


# The table of releases


@pytest.fixture
def names(rabbitmq: RabbitNode) -> Iterator[Names]:
    """Makes as many unique names as a test needs."""
    made = Names(rabbitmq.url)
    yield made
    made.delete_all()


@pytest.fixture
def refused(rabbitmq: RabbitNode, names: Names) -> str:
    """A queue that gets dead letters."""
    queue = names("refused")
    with connect(rabbitmq.url) as connection:
        connection.channel().queue_declare(queue, durable=True, arguments=QUORUM)
    return queue


def with_dead_letters(refused: str) -> dict[str, Any]:
    return {**QUORUM, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": refused}


def give_back(channel: BlockingChannel, tag: int) -> None:
    channel.basic_nack(tag, requeue=True)


def lose_connection(channel: BlockingChannel, tag: int) -> None:
    channel.connection.close()


@pytest.mark.parametrize(
    ("fail", "first_to_limit", "last_to_limit"),
    [(give_back, (4, 0), (4, 2)), (lose_connection, (4, 0), (9, 9))],
)
def test_what_counts_towards_the_limit(
    rabbitmq: RabbitNode,
    name: str,
    refused: str,
    fail: Callable[[BlockingChannel, int], None],
    first_to_limit: tuple[int, int],
    last_to_limit: tuple[int, int],
) -> None:
    """Deliveries until the message is a dead letter: its first one, and as many again as the limit says."""
    limited = first_to_limit <= rabbitmq.version <= last_to_limit
    admin, watcher = Admin(rabbitmq.url), Admin(rabbitmq.url)
    admin.declare(name, **with_dead_letters(refused))
    admin.publish(name, b"x")
    deliveries = 0
    try:
        while deliveries < ENOUGH:
            # It is back, or refused.
            eventually(lambda: watcher.ready(name) or watcher.ready(refused))
            if watcher.ready(refused):
                break
            method, _, _ = admin.channel.basic_get(name)
            if method is not None:
                deliveries += 1
                fail(admin.channel, method.delivery_tag)
    finally:
        admin.close()
        watcher.close()
    assert deliveries == (LIMIT + 1 if limited else ENOUGH)


@pytest.mark.parametrize("has_policy", [False, True])
def test_nack(
    rabbitmq: RabbitNode,
    settings: config.LazyConfig,
    names: Names,
    name: str,
    refused: str,
    has_policy: bool,
) -> None:
    """With a policy no attempt counts; without one each does, in RabbitMQ 4.0."""
    if has_policy:
        for milliseconds in (20, 18, 16, 14):
            names.keep(f"{name}.retry.{milliseconds}")
        settings["consumer"] = {"retry": {"attempts": ENOUGH + 1, "delay": 0.02, "max_delay": 0.02}}
    calls = itertools.count(1)
    called = 0

    def callback(_received: Message) -> None:
        nonlocal called
        called = next(calls)
        if called < ENOUGH:
            raise Nack

    limited = (4, 0) <= rabbitmq.version < (4, 3) and not has_policy
    arguments = plan(name, **with_dead_letters(refused))
    admin = Admin(rabbitmq.url)
    try:
        admin.declare(name, **with_dead_letters(refused))
        with AioConsuming(rabbitmq.url, callback, **arguments):
            admin.publish(name, message(name)._encoded_body)
            if limited:
                eventually(lambda: admin.ready(refused))
            else:
                eventually(lambda: called == ENOUGH)
        assert called == (LIMIT + 1 if limited else ENOUGH)
    finally:
        admin.close()


def test_largest_message(rabbitmq: RabbitNode, name: str) -> None:
    """The publisher is told the limit, and may go on."""
    limit = (128 if rabbitmq.version < (4, 0) else 16) * MIB

    async def main() -> None:
        async with aio.connect(rabbitmq.url) as bus:
            await bus.publish(message(name, text="x" * (limit - MIB)), timeout=60)
            with pytest.raises(PublishException, match=rf"larger than configured max size {limit}"):
                await bus.publish(message(name, text="x" * limit), timeout=60)
            await bus.publish(message(name), timeout=60)

    admin = Admin(rabbitmq.url)
    try:
        admin.declare(name)
        asyncio.run(main())
        assert admin.ready(name) == 2
    finally:
        admin.close()
    assert "configured max size 16777216" in PAGE


def test_global_prefetch(rabbitmq: RabbitNode, name: str) -> None:
    """What two consumers of one channel get, if three messages are asked for."""
    got: list[str] = []
    with connect(rabbitmq.url) as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True)
        channel.confirm_delivery()
        for _ in range(10):
            channel.basic_publish("", name, b"x")
        channel.basic_qos(prefetch_count=3, global_qos=True)
        for _ in range(2):
            channel.basic_consume(name, lambda *delivery: got.append(delivery[1].consumer_tag))
        expected = 3 if rabbitmq.version < (4, 3) else 6
        with connect(rabbitmq.url) as watcher:
            passive = watcher.channel()
            eventually(
                lambda: passive.queue_declare(name, passive=True).method.message_count == 10 - expected
            )
        connection.process_data_events(0)
    assert len(got) <= expected


def test_kinds_of_queues(rabbitmq: RabbitNode, names: Names) -> None:
    """A queue that names no type is classic; a transient one that is not exclusive is allowed."""
    durable, transient = names("durable"), names("transient")
    with connect(rabbitmq.url) as connection:
        channel = connection.channel()
        channel.queue_declare(durable, durable=True)
        channel.queue_declare(transient, durable=False)
        listed = rabbitmq.ctl("list_queues", "--no-table-headers", "name", "type", "durable").splitlines()
    assert {f"{durable}\tclassic\ttrue", f"{transient}\tclassic\tfalse"} <= {*listed}
