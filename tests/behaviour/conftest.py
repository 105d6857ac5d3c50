"""Connections for the behaviour tests; what a test declares under its `name` is deleted after it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.peer import Peer
from tests.support.admin import Names, close_quietly, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.brokers import Broker


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
