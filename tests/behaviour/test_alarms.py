"""Memory and disk alarms: the broker blocks publishers, and consumers go on (P15)."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika
import pytest
from pamqp import commands, constants
from tests.behaviour.peer import Peer, content_header, raw_frame
from tests.support.admin import connect
from tests.support.alarms import MEMORY_LIMIT, Alarm
from tests.support.waiting import eventually

from fedora_messaging.broker import Broker, ResourceLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.conftest import BrokerUnderTest


@pytest.fixture(scope="module")
def embedded_brokers() -> Iterator[dict[str, Broker]]:
    """Brokers with little memory."""
    resources = ResourceLimits(memory=MEMORY_LIMIT)
    with Broker(resources=resources, profile="4") as new, Broker(resources=resources, profile="3") as old:
        yield {"4": new, "3": old}


def told(connection: BlockingConnection) -> list[str]:
    """What a connection is told of alarms, from now on."""
    heard: list[str] = []
    connection.add_on_connection_blocked_callback(lambda _c, frame: heard.append(frame.method.reason))
    connection.add_on_connection_unblocked_callback(lambda _c, _frame: heard.append("over"))
    return heard


@contextmanager
def beating(peer: Peer) -> Iterator[None]:
    """Send heartbeats meanwhile, as a client does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.3):
            peer.write(raw_frame(constants.FRAME_HEARTBEAT, 0, b""))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ready(broker: BrokerUnderTest, queue: str) -> int:
    with connect(broker.url) as connection:
        count: int = connection.channel().queue_declare(queue, passive=True).method.message_count
        return count


def test_p15_publisher_is_blocked_until_the_alarm_is_over(
    broker: BrokerUnderTest, connections: Callable[..., BlockingConnection], queue: str, alarm: Alarm
) -> None:
    publisher = connections()
    heard = told(publisher)
    channel = publisher.channel()
    channel.basic_publish("", queue, b"before")
    eventually(lambda: ready(broker, queue) == 1)
    with alarm:
        # RabbitMQ takes this one, and blocks the connection then; ours has blocked it already.
        channel.basic_publish("", queue, b"first")
        eventually(lambda: publisher.process_data_events(0.01) or heard)
        assert heard == ["low on memory"]
        channel.basic_publish("", queue, b"while")
        publisher.process_data_events(0.01)
        # Questions of others are answered, and nothing of the publisher's is taken.
        assert max(ready(broker, queue) for _ in range(10)) <= 2
    eventually(lambda: publisher.process_data_events(0.01) or len(heard) == 2)
    assert heard == ["low on memory", "over"]
    eventually(lambda: ready(broker, queue) == 3)


def test_p15_who_only_consumes_goes_on(
    broker: BrokerUnderTest, connections: Callable[..., BlockingConnection], queue: str, alarm: Alarm
) -> None:
    with connect(broker.url) as publisher:
        for _ in range(3):
            publisher.channel().basic_publish("", queue, b"x")
    consumer = connections()
    heard = told(consumer)
    with alarm:
        channel = consumer.channel()
        got: list[bytes] = []

        def take(
            ch: BlockingChannel, method: pika.spec.Basic.Deliver, _properties: object, body: bytes
        ) -> None:
            got.append(body)
            ch.basic_ack(method.delivery_tag)

        channel.basic_consume(queue, take)
        eventually(lambda: consumer.process_data_events(0.01) or len(got) == 3)
        channel.queue_declare(f"{queue}.other", exclusive=True)
    assert heard == []


def test_p15_first_publish_during_an_alarm(
    broker: BrokerUnderTest, connections: Callable[..., BlockingConnection], queue: str, alarm: Alarm
) -> None:
    """Who has not published is told of the alarm when it does."""
    publisher = connections()
    heard = told(publisher)
    channel = publisher.channel()
    with alarm:
        publisher.process_data_events(0.01)
        assert heard == []
        channel.basic_publish("", queue, b"x")
        eventually(lambda: publisher.process_data_events(0.01) or heard)
        assert heard == ["low on memory"]
    eventually(lambda: publisher.process_data_events(0.01) or len(heard) == 2)
    eventually(lambda: ready(broker, queue) == 1)


def test_p15_blocked_client_is_not_taken_for_dead(
    broker: BrokerUnderTest, peers: Callable[[], Peer], queue: str, alarm: Alarm
) -> None:
    """Its heartbeats are not read, and those of the broker go on, for longer than three intervals."""
    peer = peers().login(heartbeat=1, capabilities={"connection.blocked": True}).open_channel()
    with beating(peer):
        peer.publish(b"before", routing_key=queue)
        eventually(lambda: ready(broker, queue) == 1)
        with alarm:
            peer.publish(b"while", routing_key=queue)
            peer.expect(commands.Connection.Blocked, 0)
            beats = 0
            while beats < 8:
                beats += peer.read_frame().kind == constants.FRAME_HEARTBEAT
        peer.expect(commands.Connection.Unblocked, 0)
        peer.publish(b"after", routing_key=queue)
        eventually(lambda: ready(broker, queue) == 3)


def test_p15_client_that_does_not_know_of_alarms(
    broker: BrokerUnderTest, peers: Callable[[], Peer], queue: str, alarm: Alarm
) -> None:
    """It is not told, and blocked nevertheless."""
    peer = peers().login().open_channel()
    peer.publish(b"before", routing_key=queue)
    eventually(lambda: ready(broker, queue) == 1)
    with alarm:
        peer.publish(b"while", routing_key=queue)
        peer.publish(b"next", routing_key=queue)
        assert max(ready(broker, queue) for _ in range(10)) <= 2
    eventually(lambda: ready(broker, queue) == 3)
    # The next that comes is the answer to a question, and nothing about an alarm.
    peer.roundtrip()


# The embedded broker's own


def test_alarm_comes_and_goes_with_the_messages() -> None:
    """A message in two queues counts once; what is acknowledged, deleted or expired counts no longer."""
    with Broker(resources=ResourceLimits(memory=100_000)) as broker:
        with connect(broker.amqp_url) as admin:
            channel = admin.channel()
            for name in ("a", "b"):
                channel.queue_declare(name)
                channel.queue_bind(name, "amq.fanout")
            with connect(broker.amqp_url) as publisher:
                publisher.channel().basic_publish("amq.fanout", "", bytes(70_000))
                eventually(lambda: channel.queue_declare("b", passive=True).method.message_count == 1)
                assert broker.alarm is None
                publisher.channel().basic_publish("", "a", bytes(40_000))
                eventually(lambda: broker.alarm == "low on memory")
                channel.basic_get("a", auto_ack=True)
                eventually(lambda: channel.queue_declare("a", passive=True).method.message_count == 1)
                assert broker.alarm is not None  # the other queue has it still
                channel.queue_delete("b")
                eventually(lambda: broker.alarm is None)
            unacked, _, _ = channel.basic_get("a")
            channel.basic_ack(unacked.delivery_tag)
            channel.basic_publish("", "a", bytes(120_000), pika.BasicProperties(expiration="1"))
            eventually(lambda: broker.alarm is None)


def test_alarm_for_unfinished_bodies() -> None:
    """What clients send and never finish takes memory, too."""
    with Broker(resources=ResourceLimits(memory=200_000)) as broker:
        with Peer(broker.amqp_url) as peer:
            peer.login().open_channel()
            peer.send(commands.Basic.Publish(exchange="", routing_key="q"))
            peer.write(raw_frame(constants.FRAME_HEADER, 1, content_header(1_000_000)))
            for _ in range(3):
                peer.write(raw_frame(constants.FRAME_BODY, 1, bytes(100_000)))
            eventually(lambda: broker.alarm == "low on memory")
        eventually(lambda: broker.alarm is None)


def test_disk_alarm(tmp_path: Path) -> None:
    """Where durable data is there must be room; without any the disk does not matter."""
    limits = ResourceLimits(disk=1 << 62)
    with Broker(data=tmp_path, resources=limits) as broker:
        assert broker.alarm == "low on disk"
        publisher = connect(broker.amqp_url)
        heard = told(publisher)
        publisher.channel().basic_publish("", "nowhere", b"x")
        eventually(lambda: publisher.process_data_events(0.01) or heard == ["low on disk"])
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="shutdown"):
        publisher.process_data_events(15)
    with Broker(resources=limits) as broker:
        assert broker.alarm is None


def test_limits_can_be_switched_off() -> None:
    with Broker(resources=ResourceLimits(memory=0, disk=0)) as broker, connect(broker.amqp_url) as publisher:
        channel = publisher.channel()
        channel.confirm_delivery()
        channel.queue_declare("a")
        channel.basic_publish("", "a", bytes(1_000_000))
        assert broker.alarm is None


def test_broker_stops_while_publishers_are_blocked() -> None:
    """They are told, and their answer is read."""
    with Broker(resources=ResourceLimits(memory=1000)) as broker:
        publisher = connect(broker.amqp_url)
        channel = publisher.channel()
        channel.queue_declare("a")
        channel.basic_publish("", "a", bytes(1000))
        eventually(lambda: broker.alarm)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="shutdown"):
        publisher.process_data_events(15)
