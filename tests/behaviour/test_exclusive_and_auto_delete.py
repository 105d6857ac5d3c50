"""Exclusive queues and auto-delete queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
import pytest
from tests.behaviour.support import (
    Inbox,
    bodies,
    closes,
    exists,
    get,
    let_exclusive_queues_go,
    roundtrip,
    send,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker

LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'. It could be "
    "originally declared on another connection or the exclusive property value does not match that of the "
    "original declar"
)


@pytest.fixture
def stranger(connections: Callable[..., BlockingConnection]) -> BlockingChannel:
    """A channel of another connection than the one that declares."""
    return connections().channel()


@pytest.fixture
def exclusive(channel: BlockingChannel, name: str) -> str:
    """An exclusive queue of `connection`."""
    channel.queue_declare(name, exclusive=True)
    return name


USES = {
    "declare": lambda channel, queue: channel.queue_declare(queue),
    "declare exclusive": lambda channel, queue: channel.queue_declare(queue, exclusive=True),
    "declare passive": lambda channel, queue: channel.queue_declare(queue, passive=True),
    "bind": lambda channel, queue: channel.queue_bind(queue, "amq.direct", queue + ".k"),
    "consume": lambda channel, queue: channel.basic_consume(queue, print),
    "get": lambda channel, queue: channel.basic_get(queue),
    "purge": lambda channel, queue: channel.queue_purge(queue),
    "delete": lambda channel, queue: channel.queue_delete(queue),
    "delete if unused": lambda channel, queue: channel.queue_delete(queue, if_unused=True),
}


@pytest.mark.parametrize("use", USES)
def test_other_connections_are_locked_out(stranger: BlockingChannel, exclusive: str, use: str) -> None:
    """Another connection's use of an exclusive queue closes its channel with 405."""
    with closes(405, LOCKED.format(queue=exclusive)):
        USES[use](stranger, exclusive)


@pytest.mark.parametrize("use", ["declare exclusive", "declare passive", "bind", "consume", "get", "purge"])
def test_other_channels_of_the_connection_are_not(
    connection: BlockingConnection, exclusive: str, use: str
) -> None:
    """Other channels of the same connection may use an exclusive queue."""
    other = connection.channel()
    USES[use](other, exclusive)
    roundtrip(other)


def test_other_connections_may_publish(
    stranger: BlockingChannel, channel: BlockingChannel, exclusive: str
) -> None:
    """Another connection may publish into an exclusive queue."""
    stranger.confirm_delivery()
    send(stranger, exclusive, b"x")
    assert bodies(channel, exclusive) == [b"x"]


def test_other_connections_may_not_unbind(
    stranger: BlockingChannel, channel: BlockingChannel, exclusive: str
) -> None:
    """The broker refuses another connection's unbind of a binding that exists with 405."""
    channel.queue_bind(exclusive, "amq.direct", exclusive + ".k")
    with closes(405, LOCKED.format(queue=exclusive)):
        stranger.queue_unbind(exclusive, "amq.direct", exclusive + ".k")


def test_other_connections_may_unbind_what_is_not_bound(stranger: BlockingChannel, exclusive: str) -> None:
    """The broker allows another connection's unbind as long as it changes nothing."""
    stranger.queue_unbind(exclusive, "amq.direct", "never bound")


@pytest.mark.parametrize("durable", [False, True])
def test_exclusive_queue_goes_with_its_connection(
    broker: Broker,
    connections: Callable[..., BlockingConnection],
    connection: BlockingConnection,
    name: str,
    durable: bool,
) -> None:
    """An exclusive queue goes when its connection ends, even if it is durable."""
    owner = connections()
    owner.channel().queue_declare(name, exclusive=True, durable=durable)
    owner.close()
    let_exclusive_queues_go(broker, connection, name)
    assert not exists(connection, name)


def test_exclusive_queue_outlives_its_channel(connection: BlockingConnection, name: str) -> None:
    """An exclusive queue belongs to the connection, not to the channel."""
    declaring = connection.channel()
    declaring.queue_declare(name, exclusive=True)
    declaring.close()
    assert exists(connection, name)


def test_exclusive_queue_may_be_deleted(connection: BlockingConnection, exclusive: str) -> None:
    """The connection that declared an exclusive queue may delete it."""
    connection.channel().queue_delete(exclusive)
    assert not exists(connection, exclusive)


def test_failed_use_does_not_free_it(stranger: BlockingChannel, exclusive: str) -> None:
    """The broker refuses each further attempt, too."""
    connection = stranger.connection
    for use in ("declare", "delete", "declare exclusive"):
        with closes(405):
            USES[use](connection.channel(), exclusive)


def test_bindings_go_with_an_exclusive_queue(
    broker: Broker, connections: Callable[..., BlockingConnection], channel: BlockingChannel, name: str
) -> None:
    """A namesake made later starts without bindings."""
    owner = connections()
    declaring = owner.channel()
    declaring.queue_declare(name, exclusive=True)
    declaring.queue_bind(name, "amq.direct", name + ".k")
    owner.close()
    let_exclusive_queues_go(broker, channel.connection, name)
    channel.queue_declare(name)
    channel.basic_publish("amq.direct", name + ".k", b"lost")
    assert bodies(channel, name) == []


@pytest.fixture
def fleeting(channel: BlockingChannel, name: str) -> str:
    """An auto-delete queue."""
    channel.queue_declare(name, auto_delete=True)
    return name


def test_auto_delete_by_cancel(
    connection: BlockingConnection, channel: BlockingChannel, fleeting: str
) -> None:
    """An auto-delete queue goes when its last consumer is cancelled."""
    inboxes = [Inbox.on(channel, fleeting) for _ in range(2)]
    channel.basic_cancel(inboxes[0].tag)
    assert exists(connection, fleeting)
    channel.basic_cancel(inboxes[1].tag)
    eventually(lambda: not exists(connection, fleeting))


def test_auto_delete_by_channel_close(connection: BlockingConnection, fleeting: str) -> None:
    """An auto-delete queue goes when its last consumer's channel is closed."""
    consuming = connection.channel()
    Inbox.on(consuming, fleeting)
    consuming.close()
    eventually(lambda: not exists(connection, fleeting))


def test_what_is_out_goes_with_an_auto_delete_queue(
    connection: BlockingConnection, channel: BlockingChannel, names: Names
) -> None:
    """Even if it would expire when it came back, it is not dead-lettered."""
    fleeting, dead = names("fleeting"), names("dead")
    channel.queue_declare(dead, durable=True)
    dying = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead, "x-message-ttl": 0}
    channel.queue_declare(fleeting, auto_delete=True, arguments=dying)
    consuming = connection.channel()
    inbox = Inbox.on(consuming, fleeting)
    send(channel, fleeting, b"x")
    inbox.wait(1)
    with closes(404):
        consuming.queue_declare(f"{fleeting}.none", passive=True)
    eventually(lambda: not exists(connection, fleeting))
    assert get(channel, dead) is None


def test_auto_delete_by_channel_error(connection: BlockingConnection, fleeting: str) -> None:
    """An auto-delete queue goes when an error ends its last consumer's channel."""
    consuming = connection.channel()
    Inbox.on(consuming, fleeting)
    with closes(404):
        consuming.queue_declare("behaviour.missing", passive=True)
    eventually(lambda: not exists(connection, fleeting))


def test_auto_delete_by_connection_close(
    connections: Callable[..., BlockingConnection], connection: BlockingConnection, fleeting: str
) -> None:
    """An auto-delete queue goes when its last consumer's connection is closed."""
    consuming = connections()
    Inbox.on(consuming.channel(), fleeting)
    consuming.close()
    eventually(lambda: not exists(connection, fleeting))


def test_auto_delete_waits_for_a_first_consumer(
    connections: Callable[..., BlockingConnection], connection: BlockingConnection, name: str
) -> None:
    """An auto-delete queue that had no consumer stays, even beyond its connection."""
    declaring = connections()
    declaring.channel().queue_declare(name, auto_delete=True)
    declaring.close()
    assert exists(connection, name)


def test_get_is_no_consumer(connection: BlockingConnection, channel: BlockingChannel, fleeting: str) -> None:
    """A get does not count as a consumer, so the auto-delete queue stays."""
    send(channel, fleeting, b"x")
    get(channel, fleeting, auto_ack=True)
    channel.close()
    assert exists(connection, fleeting)


def test_auto_delete_takes_its_messages(channel: BlockingChannel, fleeting: str) -> None:
    """Ready and unacknowledged messages are lost with an auto-delete queue."""
    send(channel, fleeting, b"1", b"2")
    channel.basic_qos(prefetch_count=1)
    inbox = Inbox.on(channel, fleeting)
    inbox.wait(1)
    channel.basic_cancel(inbox.tag)
    channel.queue_declare(fleeting, auto_delete=True)
    assert bodies(channel, fleeting) == []


def test_auto_delete_queue_takes_auto_delete_exchange(
    connection: BlockingConnection, channel: BlockingChannel, fleeting: str, names: Names
) -> None:
    """The exchange goes with its last queue, although no client deleted that."""
    exchange = names("exchange")
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    channel.queue_bind(fleeting, exchange)
    channel.basic_cancel(Inbox.on(channel, fleeting).tag)
    eventually(lambda: not exists(connection, fleeting))
    with closes(404):
        channel.exchange_declare(exchange, passive=True)


def test_exclusive_consumer_leaves_an_auto_delete_queue(
    connection: BlockingConnection, channel: BlockingChannel, fleeting: str
) -> None:
    """An exclusive consumer is a consumer like any other: the queue goes with it."""
    channel.basic_cancel(Inbox.on(channel, fleeting, exclusive=True).tag)
    eventually(lambda: not exists(connection, fleeting))


def test_ack_after_an_auto_delete_queue_went(channel: BlockingChannel, fleeting: str) -> None:
    """The channel may still acknowledge a message after the message's queue went."""
    channel.basic_publish("", fleeting, b"x", pika.BasicProperties())
    inbox = Inbox.on(channel, fleeting)
    tag = inbox.wait(1)[0].tag
    channel.basic_cancel(inbox.tag)
    channel.basic_ack(tag)
    roundtrip(channel)
    assert channel.is_open
