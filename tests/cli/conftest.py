"""What the tests of the commands share: a directory to run them in, a broker, a look into its queues."""

from __future__ import annotations

import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.cli.archives import Archive
from tests.support.fixtures import fresh_settings
from tests.support.processes import DEADLINE, Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.conftest import BrokerUnderTest
    from tests.support.processes import Process

    from fedora_messaging.broker import Broker
    from fedora_messaging.config import LazyConfig

__all__ = ["fresh_settings"]

PUBLISH_TIMEOUT = 30.0
"""Seconds after which `fedora-messaging publish` gives up."""

MESSAGE_LINE = '{"topic": "cli.test", "body": {"n": 1}}'


class Queues:
    """Queues of the broker under test, seen with a connection of the test's own.

    Args:
        url: Of the broker.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parameters = pika.URLParameters(url)
        # Nobody answers heartbeats while the test waits for a process.
        parameters.heartbeat = 0
        self.connection = pika.BlockingConnection(parameters)
        self.channel: BlockingChannel = self.connection.channel()
        self.channel.confirm_delivery()
        self._made: list[str] = []

    def name(self) -> str:
        """A name that nobody uses; its queue is deleted at the end, if it is ever made."""
        made = f"cli.{uuid.uuid4().hex}"
        self._made.append(made)
        return made

    def make(self, topic: str | None = None, arguments: dict[str, Any] | None = None) -> str:
        """Declare a durable queue, bound to amq.topic if a topic is given."""
        name = self.name()
        self.channel.queue_declare(name, durable=True, arguments=arguments)
        if topic is not None:
            self.channel.queue_bind(name, "amq.topic", topic)
        return name

    def put(self, queue: str, *bodies: str) -> None:
        """Publish bodies of base messages."""
        for body in bodies:
            self.channel.basic_publish(
                "",
                queue,
                body.encode(),
                pika.BasicProperties(
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                    message_id=str(uuid.uuid4()),
                    headers={"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20},
                ),
            )

    def ready(self, queue: str) -> int:
        """Number of messages that wait in a queue."""
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def wait_until_ready(self, queue: str, count: int) -> None:
        """Wait until so many messages wait: those of a closed connection return a little later."""
        deadline = time.monotonic() + DEADLINE
        while (found := self.ready(queue)) != count:
            assert time.monotonic() < deadline, f"{found} messages wait, not {count}"
            time.sleep(0.01)

    def take(self, queue: str) -> list[bytes]:
        """Empty a queue of its ready messages."""
        found: list[bytes] = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(got[2])
        return found

    def close(self) -> None:
        """Delete the queues and disconnect."""
        with self.connection, self.connection.channel() as channel:
            for name in self._made:
                channel.queue_delete(name)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Runs commands in an empty directory; what still runs after the test is killed."""
    with Processes(tmp_path) as made:
        yield made


@pytest.fixture
def queues(broker: BrokerUnderTest) -> Iterator[Queues]:
    """Queues of the embedded broker, then of RabbitMQ."""
    made = Queues(broker.url)
    yield made
    made.close()


@pytest.fixture
def embedded_queues(embedded_broker: Broker) -> Iterator[Queues]:
    """Queues of the embedded broker, for what does not depend on the broker."""
    made = Queues(embedded_broker.amqp_url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def silent_port() -> Iterator[int]:
    """A port at which connections are refused for as long as the tests run."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield int(reserved.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def hopeless(silent_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A publish to nobody; begun before all other tests, because it takes 30 seconds to give up."""
    with Processes(tmp_path_factory.mktemp("hopeless")) as processes:
        url = f"amqp://guest:pAssw0rd@127.0.0.1:{silent_port}"
        process = processes.fedora_messaging("publish", "-", FEDORA_MESSAGING_AMQP_URL=url)
        process.say(MESSAGE_LINE)
        process.end_input()
        yield process


@pytest.fixture
def archive(settings: LazyConfig) -> Iterator[Archive]:
    """An archive with one message."""
    made = Archive()
    yield made
    made.close()
