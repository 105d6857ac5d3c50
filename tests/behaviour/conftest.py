"""Connections for the behaviour tests; what a test declares under its `name` is deleted after it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pika.exceptions import NackError, UnroutableError
from tests.behaviour.peer import Peer
from tests.conftest import BrokerUnderTest, broker_of
from tests.support.admin import Names, close_quietly, connect
from tests.support.management import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.brokers import Broker
    from tests.support.management import Management


@pytest.fixture(params=["embedded-4", "embedded-3", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """The embedded broker in both profiles, then RabbitMQ: a test with this fixture holds for all."""
    return broker_of(request)


@pytest.fixture
def connections(broker: Broker, names: Names) -> Iterator[Callable[..., BlockingConnection]]:
    """Opens further pika connections; takes attributes of `pika.ConnectionParameters`."""
    with ExitStack() as opened:

        def open_connection(**settings: Any) -> BlockingConnection:
            made = connect(broker.url, **settings)
            opened.callback(close_quietly, made)
            return made

        yield open_connection


@pytest.fixture
def connection(connections: Callable[..., BlockingConnection]) -> BlockingConnection:
    """A pika connection."""
    return connections()


@pytest.fixture
def channel(connection: BlockingConnection) -> BlockingChannel:
    """A channel."""
    return connection.channel()


@pytest.fixture
def confirming(connection: BlockingConnection) -> BlockingChannel:
    """A channel whose `basic_publish` returns once the broker has the message."""
    made = connection.channel()
    made.confirm_delivery()
    return made


@pytest.fixture
def queue(channel: BlockingChannel, name: str) -> str:
    """A transient queue, visible to all connections."""
    channel.queue_declare(name)
    return name


@pytest.fixture
def peers(broker: Broker, names: Names) -> Iterator[Callable[[], Peer]]:
    """Opens sockets to the broker on which nothing was said yet."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(Peer(broker.url))


@pytest.fixture
def peer(peers: Callable[[], Peer]) -> Peer:
    """A raw client with an open channel 1."""
    return peers().login().open_channel()


@pytest.fixture
def login(
    management: Management, connections: Callable[..., BlockingConnection]
) -> Callable[..., BlockingChannel]:
    """Opens a channel for a new user with the given permissions, which are none by default."""

    def log_in(configure: str = "", write: str = "", read: str = "", tags: str = "") -> BlockingChannel:
        user = management.user(configure, write, read, tags)
        return connections(credentials=pika.PlainCredentials(user, SECRET)).channel()

    return log_in


@pytest.fixture
def gone(broker: Broker, confirming: BlockingChannel) -> Callable[[str], bool]:
    """Tells whether a queue is gone, found out without using it: publishing is no use."""

    def is_gone(queue: str) -> bool:
        try:
            confirming.basic_publish("", queue, b"", mandatory=True)
        except UnroutableError:
            return True
        except NackError:
            # RabbitMQ 4.3 says so if the queue goes before it has taken the message.
            assert broker.version >= (4, 3)
        return False

    return is_gone
