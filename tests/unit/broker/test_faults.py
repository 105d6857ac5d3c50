"""Faults on demand: what each does to clients, how it ends, and what is told of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pamqp import commands
from tests.behaviour.peer import WAIT, Peer
from tests.protocol.machines import frame
from tests.support.waiting import eventually
from tests.unit.broker.support import Client, MemoryServer, publish

from fedora_messaging import aio
from fedora_messaging.broker import AsyncBroker, Broker, ResourceLimits
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.faults import Happened
from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.exceptions import ConnectionClosed, ConsumerCanceled, PublishReturned
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingConnection

    from fedora_messaging.broker.session import Session

BLOCKED: dict[str, Any] = {"connection.blocked": True}


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker in a thread."""
    with Broker() as running:
        yield running


def connect(broker: Broker, name: str = "", **options: Any) -> BlockingConnection:
    parameters = pika.URLParameters(broker.amqp_url)
    parameters.client_properties = {"connection_name": name} if name else {}
    for option, value in options.items():
        setattr(parameters, option, value)
    return pika.BlockingConnection(parameters)


def only_session(broker: Broker) -> Session:
    (session,) = broker._broker._server.sessions
    return session


def happened(broker: Broker | AsyncBroker | MemoryServer) -> list[tuple[str, ...]]:
    return [(one.fault, *one.details) for one in broker.faults.history]


# At once


def test_connections_of_a_name_are_cut(broker: Broker) -> None:
    one, other = connect(broker, "one"), connect(broker, "other")
    assert broker.faults.drop_connection("nobody") == 0
    assert broker.faults.drop_connection("one") == 1
    with pytest.raises(pika.exceptions.AMQPConnectionError) as cut:
        one.process_data_events(WAIT)
    # The network failed; the broker has said nothing.
    assert not isinstance(cut.value, pika.exceptions.ConnectionClosedByBroker)
    other.channel().queue_declare("q")
    other.close()
    assert happened(broker) == [("drop_connection", "one")]


def test_all_connections_are_cut(broker: Broker) -> None:
    cut = [connect(broker, "one"), connect(broker)]
    assert broker.faults.drop_connection() == 2
    for connection in cut:
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            connection.process_data_events(WAIT)
    assert sorted(happened(broker)) == [("drop_connection",), ("drop_connection", "one")]
    assert broker.faults.history.count(Happened("drop_connection", ("one",))) == 1
    assert broker.faults.count("drop_connection") == 2
    connect(broker).close()


def test_consumers_of_a_queue_are_cancelled(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        got: list[bytes] = []
        cancelled: list[str] = []

        def take(_channel: object, _method: object, _properties: object, body: bytes) -> None:
            got.append(body)

        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        for queue in ("a", "b"):
            channel.queue_declare(queue)
            channel.basic_consume(
                queue, lambda _c, _m, _p, body: got.append(body), True, consumer_tag=f"of-{queue}"
            )
        assert broker.faults.cancel_consumers("nothing") == 0
        assert broker.faults.cancel_consumers("a") == 1
        for queue in ("a", "b"):
            channel.basic_publish("", queue, queue.encode())
        while not (got and cancelled):
            connection.process_data_events(WAIT)
        assert (got, cancelled) == ([b"b"], ["of-a"])
        declared = channel.queue_declare("a", passive=True).method
        assert (declared.message_count, declared.consumer_count) == (1, 0)
        assert broker.faults.cancel_consumers() == 1
        while len(cancelled) < 2:
            connection.process_data_events(WAIT)
    assert happened(broker) == [("cancel_consumers", "of-a"), ("cancel_consumers", "of-b")]


def test_queue_that_goes_with_its_consumers_goes(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.queue_declare("q", auto_delete=True)
        for _ in range(2):
            channel.basic_consume("q", lambda *_: None)
        assert broker.faults.cancel_consumers("q") == 2
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'q'"):
            connection.channel().queue_declare("q", passive=True)


# The next time


def test_next_publishes_are_refused(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        broker.faults.nack_next(2)
        assert broker.faults.pending == ["nack_next", "nack_next"]
        for _ in range(2):
            with pytest.raises(pika.exceptions.NackError):
                channel.basic_publish("", "q", b"lost")
        broker.faults.assert_all_used()
        channel.basic_publish("", "q", b"there")
        assert channel.basic_get("q", auto_ack=True)[2] == b"there"
        assert channel.basic_get("q")[0] is None
    assert happened(broker) == [("nack_next", "", "q")] * 2
    assert broker.faults.count("nack_next") == 2
    assert broker.faults.count("return_next") == 0


def test_next_publishes_find_no_queue(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        broker.faults.return_next(2)
        with pytest.raises(pika.exceptions.UnroutableError) as returned:
            channel.basic_publish("", "q", b"back", mandatory=True)
        (message,) = returned.value.messages
        assert (message.method.reply_code, message.method.reply_text) == (312, "NO_ROUTE")
        assert message.body == b"back"
        # Nobody is told of one that is not mandatory.
        channel.basic_publish("", "q", b"lost")
        channel.basic_publish("", "q", b"there", mandatory=True)
        assert channel.basic_get("q", auto_ack=True)[2] == b"there"
    assert happened(broker) == [("return_next", "", "q")] * 2


def test_without_confirms_publishes_are_lost_without_a_word(client: Client, server: MemoryServer) -> None:
    client.send(m.QueueDeclare("q"))
    server.faults.nack_next()
    server.faults.return_next(2)
    assert client.feed(publish("", "q") * 2) == []
    (told,) = client.feed(publish("", "q", b"back", mandatory=True))
    assert (told.method, told.body) == (m.BasicReturn(312, "NO_ROUTE", "", "q"), b"back")
    assert len(server.vhosts["/"].queues["q"]) == 0
    assert [fault for fault, *_ in happened(server)] == ["nack_next", "return_next", "return_next"]


def test_faults_happen_in_the_order_of_the_requests(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        broker.faults.return_next()
        broker.faults.nack_next()
        with pytest.raises(pika.exceptions.UnroutableError):
            channel.basic_publish("amq.topic", "a", b"", mandatory=True)
        with pytest.raises(pika.exceptions.NackError):
            channel.basic_publish("amq.topic", "b", b"", mandatory=True)
    assert happened(broker) == [("return_next", "amq.topic", "a"), ("nack_next", "amq.topic", "b")]


def test_next_login_is_refused(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.faults.refuse_login()
    with pytest.raises(pika.exceptions.ProbableAuthenticationError, match="Login was refused"):
        connect(broker)
    connect(broker).close()
    broker.faults.assert_all_used()
    assert happened(broker) == [("refuse_login", "PLAIN")]
    assert "Login from 127.0.0.1 by PLAIN refused: a test asked for it" in caplog.messages


def test_fault_that_did_not_happen_is_found(broker: Broker) -> None:
    broker.faults.nack_next()
    broker.faults.return_next()
    broker.faults.refuse_login(2)
    text = "^these faults have not happened: nack_next, return_next, refuse_login, refuse_login$"
    with pytest.raises(AssertionError, match=text):
        broker.faults.assert_all_used()
    broker.faults.clear()
    broker.faults.assert_all_used()
    assert broker.faults.pending == []
    connect(broker).close()
    assert happened(broker) == []


# Delays


def test_what_clients_send_lies_for_some_time(broker: Broker) -> None:
    with connect(broker) as connection:
        channel = connection.channel()
        with broker.faults.delay(0.2):
            begin = time.monotonic()
            channel.queue_declare("q")
            assert time.monotonic() - begin >= 0.2
        assert broker.faults.latency == 0
    assert happened(broker) == [("delay",)]


@pytest.mark.parametrize("how", ["function", "block", "clear"])
def test_what_lies_is_done_when_the_delay_ends(broker: Broker, how: str) -> None:
    peer = Peer(broker.amqp_url).login().open_channel()
    session = only_session(broker)
    before = session.octets_in
    undo = broker.faults.delay(3600)
    peer.send(commands.Queue.Declare(queue="q"))
    eventually(lambda: session.octets_in > before)
    assert list(session.vhost.queues) == []
    if how == "function":
        undo()
    elif how == "clear":
        broker.faults.clear()
    else:
        with undo:
            pass
    assert peer.expect(commands.Queue.DeclareOk).queue == "q"
    peer.roundtrip()
    peer.drop()


# Blocking


def test_publishers_are_blocked_for_a_while(broker: Broker) -> None:
    publisher = Peer(broker.amqp_url).login(capabilities=BLOCKED).open_channel()
    reader = Peer(broker.amqp_url).login(capabilities=BLOCKED).open_channel()
    publisher.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    publisher.publish(b"1", routing_key="q")
    publisher.roundtrip()
    undo = broker.faults.block()
    assert publisher.expect(commands.Connection.Blocked, 0).reason == "a test asked for it"
    assert broker.alarm == "a test asked for it"
    publisher.publish(b"2", routing_key="q")
    assert reader.get("q").body == b"1"
    undo()
    publisher.expect(commands.Connection.Unblocked, 0)
    assert broker.alarm is None
    assert reader.get("q").body == b"2"
    with broker.faults.block("no beer"):
        assert publisher.expect(commands.Connection.Blocked, 0).reason == "no beer"
    publisher.expect(commands.Connection.Unblocked, 0)
    reader.roundtrip()
    assert happened(broker) == [("block", "a test asked for it"), ("block", "no beer")]
    publisher.drop()
    reader.drop()


def publisher_at(server: MemoryServer) -> Client:
    client = Client(server, capabilities=BLOCKED).login()
    client.session.vhost.declare_queue(QueueDeclaration("q"), owner=None)
    return client


def told(client: Client) -> list[m.Method]:
    return [one.method for one in client.told()]


@pytest.mark.parametrize("first", ["block", "memory"])
def test_publisher_is_blocked_until_all_reasons_are_gone(loop: asyncio.AbstractEventLoop, first: str) -> None:
    server = MemoryServer(loop, resources=ResourceLimits(memory=1000))
    client = publisher_at(server)
    client.feed(publish("", "q", b"x" * 2000))
    assert server.alarms.reason == "low on memory"
    undo = server.faults.block()
    assert server.alarms.reason == "low on memory"
    assert told(client) == []
    for reason in (first, "memory" if first == "block" else "block"):
        assert not client.pipe.reads
        if reason == "block":
            undo()
        else:
            server.vhosts["/"].queues["q"].purge()
            server._watch_resources()
            if first == "memory":
                assert server.alarms.reason == "a test asked for it"
    assert server.alarms.reason is None
    assert told(client) == [m.ConnectionUnblocked()]
    assert client.pipe.reads


def test_memory_alarm_that_comes_while_publishers_are_blocked(loop: asyncio.AbstractEventLoop) -> None:
    server = MemoryServer(loop, resources=ResourceLimits(memory=1000))
    client = publisher_at(server)
    with server.faults.block():
        # It is blocked as soon as it publishes.
        (blocked,) = client.feed(publish("", "q", b"x" * 2000))
        assert blocked.method == m.ConnectionBlocked("a test asked for it")
        server._watch_resources()
        assert server.alarms.reason == "low on memory"
    assert told(client) == []
    assert not client.pipe.reads
    server.vhosts["/"].queues["q"].purge()
    server._watch_resources()
    assert told(client) == [m.ConnectionUnblocked()]


# Stalling


def test_client_with_heartbeats_notices_a_stall() -> None:
    async def use() -> None:
        async with AsyncBroker() as broker:
            options = ConnectionOptions(port=broker.port, heartbeat=1)
            connection = await Connection.open(options)
            with broker.faults.stall():
                end = await connection.closed
            assert isinstance(end, ConnectionClosed)
            assert end.reply_text == "no data from the peer for 2 seconds: missed heartbeats"
            assert broker.faults.count("stall") == 1
            another = await Connection.open(options)
            await another.close()

    asyncio.run(asyncio.wait_for(use(), WAIT))


def test_stalled_broker_goes_on_where_it_stopped(broker: Broker) -> None:
    peer = Peer(broker.amqp_url).login().open_channel()
    session = only_session(broker)
    undo = broker.faults.stall()
    before = session.octets_in
    peer.send(commands.Queue.Declare(queue="q"))
    newcomer = Peer(broker.amqp_url)
    newcomer.write(b"AMQP\x00\x00\x09\x01")
    eventually(lambda: len(broker._broker._server.sessions) == 2)
    assert (session.octets_in, session.octets_out) == (before, session.octets_out)
    assert list(session.vhost.queues) == []
    undo()
    assert peer.expect(commands.Queue.DeclareOk).queue == "q"
    newcomer.expect(commands.Connection.Start, 0)
    newcomer.drop()
    peer.drop()


def test_stalled_session_does_not_work_in_vain(client: Client, server: MemoryServer) -> None:
    """Messages that cannot leave wait in their queue, and leave afterwards."""
    client.send(m.QueueDeclare("q"))
    queue = server.vhosts["/"].queues["q"]
    for _ in range(10):
        client.feed(publish("", "q", bytes(100_000)))
    undo = server.faults.stall()
    # It has arrived just before.
    client._link.data_received(frame(1, m.BasicConsume("q", "t", no_ack=True)))
    assert client.told() == []
    before = client.session._resumptions
    assert client.told() == []
    assert client.session._resumptions == before
    assert len(queue) == 10
    undo()
    got = client.told() + client.told()
    assert [one.method.name for one in got] == ["basic.consume-ok"] + ["basic.deliver"] * 10


def test_broker_that_stalls_can_be_stopped() -> None:
    """In good order: it tells its clients."""

    async def use() -> None:
        async with AsyncBroker() as broker:
            connection = await Connection.open(ConnectionOptions(port=broker.port))
            broker.faults.stall()
        end = await connection.closed
        assert isinstance(end, ConnectionClosed)
        assert (end.reply_code, "shutdown" in end.reply_text) == (320, True)

    asyncio.run(asyncio.wait_for(use(), WAIT))


# From where


def test_all_is_forgotten_at_once(broker: Broker) -> None:
    faults = broker.faults
    faults.nack_next()
    faults.refuse_login()
    faults.block()
    faults.delay(3600)
    faults.stall()
    faults.clear()
    assert (faults.pending, faults.latency, faults.is_stalled, broker.alarm) == ([], 0, False, None)
    with connect(broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"x")
    # What has happened has happened.
    assert [fault for fault, *_ in happened(broker)] == ["block", "delay"]


def test_inside_the_loop_of_the_broker() -> None:
    async def use() -> None:
        async with AsyncBroker() as broker, aio.connect(broker.amqp_url) as bus:
            broker.faults.nack_next()
            with pytest.raises(PublishReturned):
                await bus.publish(Message(topic="a"))
            with broker.faults.block():
                assert broker.alarm == "a test asked for it"
            assert broker.faults.drop_connection() == 1
            # The client connects again by itself.
            await bus.publish(Message(topic="b"))
            broker.faults.assert_all_used()
            assert [fault for fault, *_ in happened(broker)] == ["nack_next", "block", "drop_connection"]

    asyncio.run(use())


def test_our_own_client_is_told_that_its_consumer_is_cancelled() -> None:
    async def use() -> None:
        async with AsyncBroker() as broker, aio.connect(broker.amqp_url) as bus:
            async with bus.subscribe("cancelled.#") as subscription:
                await bus.publish(Message(topic="cancelled.a"))
                assert (await anext(subscription)).message.topic == "cancelled.a"
                assert broker.faults.cancel_consumers() == 1
                with pytest.raises(ConsumerCanceled):
                    await anext(subscription)

    asyncio.run(asyncio.wait_for(use(), WAIT))


def test_error_inside_the_loop_is_raised_there() -> None:
    async def use() -> None:
        async with AsyncBroker() as broker:

            def fail() -> None:
                raise RuntimeError("mine")

            with pytest.raises(RuntimeError, match="^mine$"):
                broker._server._run_in_loop(fail)

    asyncio.run(asyncio.wait_for(use(), WAIT))


def test_consumers_of_a_virtual_host_that_does_not_exist(broker: Broker) -> None:
    with pytest.raises(KeyError, match="nope"):
        broker.faults.cancel_consumers(vhost="nope")


def test_faults_may_be_asked_for_before_the_start_and_ended_after_the_stop() -> None:
    broker = Broker()
    assert broker.faults.drop_connection() == 0
    broker.faults.refuse_login()
    undo = broker.faults.stall()
    undo()
    with broker:
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(broker)
        undo = broker.faults.block()
    undo()
    broker.faults.clear()
    assert broker.alarm is None
    assert broker.faults.drop_connection() == 0
