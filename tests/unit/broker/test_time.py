"""What is due first happens first, also after the process was suspended and after the clock was set."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.peer import WAIT, Peer
from tests.support.processes import Processes, start_broker
from tests.support.waiting import eventually

from fedora_messaging.broker import Broker
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.timers import Timers
from fedora_messaging.wire.frames import HEARTBEAT_FRAME
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from fedora_messaging.broker.core.queue import Queue

HOUR = 3600.0


class World:
    """A virtual host with real timers and a clock that the test sets.

    Attributes:
        now: The time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = 1000.0
        self.timers = Timers(loop, lambda: self.now)
        self.vhost = VirtualHost("/", lambda: self.now, NoJournal(), self.timers.schedule)

    def declare(self, name: str, **arguments: Any) -> Queue:
        """Declare a queue whose arguments are spelled with underscores."""
        spelled = {f"x-{argument.replace('_', '-')}": value for argument, value in arguments.items()}
        return self.vhost.declare_queue(QueueDeclaration(name, arguments=spelled), owner=None)

    def declare_dying(self, name: str, **arguments: Any) -> Queue:
        """Declare a queue whose dead letters go to the queue `dead`."""
        return self.declare(name, dead_letter_exchange="", dead_letter_routing_key="dead", **arguments)

    def publish(self, queue: str, body: str, ttl: int | None = None) -> None:
        """Publish; the time to live is in milliseconds."""
        properties = BasicProperties(expiration=None if ttl is None else str(ttl))
        message = new_message("", queue, encode_properties(properties), body.encode())
        self.vhost.enqueue(self.vhost.exchanges[""], message)

    def suspend(self, seconds: float) -> None:
        """Let time pass in which nothing can be done, then act on it."""
        self.now += seconds
        self.timers.catch_up()

    def bodies(self, queue: str) -> list[str]:
        """Take everything out of a queue."""
        found = []
        while (entry := self.vhost.queues[queue].get(no_ack=True)) is not None:
            found.append(entry.message.body.decode())
        return found


@pytest.fixture
def world() -> Iterator[World]:
    loop = asyncio.new_event_loop()
    made = World(loop)
    made.declare("dead")
    yield made
    made.timers.stop()
    loop.close()


def test_p41_messages_that_expire_before_their_queue_are_dead_lettered(world: World) -> None:
    world.declare_dying("q", expires=5000)
    for body, ttl in (("a", 1000), ("b", 4000), ("with the queue", 5000), ("never", 6000)):
        world.publish("q", body, ttl)
    world.suspend(60)
    assert "q" not in world.vhost.queues
    assert world.bodies("dead") == ["a", "b", "with the queue"]


def test_p41_message_that_outlives_its_queue_goes_with_it(world: World) -> None:
    world.declare_dying("q", expires=5000)
    world.now += 1
    world.publish("q", "too late", 4001)
    world.suspend(60)
    assert world.bodies("dead") == []


def test_p41_queues_act_in_the_order_of_their_times(world: World) -> None:
    for name in ("first", "second"):
        world.declare_dying(name)
    for name, body, ttl in (
        ("first", "1", 1000),
        ("second", "2", 2000),
        ("first", "3", 3000),
        ("second", "4", 4000),
        ("first", "5", 4500),
    ):
        world.publish(name, body, ttl)
    world.suspend(60)
    assert world.bodies("dead") == ["1", "2", "3", "4", "5"]


def test_p41_queue_that_expires_first_gets_no_dead_letters(world: World) -> None:
    world.declare("gone", expires=2000)
    world.declare("kept", expires=4000, dead_letter_exchange="", dead_letter_routing_key="gone")
    world.publish("kept", "lost", 3000)
    world.vhost.exchanges["amq.fanout"].bind(world.vhost.queues["gone"], "", {})
    world.suspend(60)
    assert set(world.vhost.queues) == {"dead"}


def test_head_that_is_taken_leaves_a_timer_to_the_next(world: World) -> None:
    """A message behind one without a time to live expires on time once it is the head."""
    queue = world.declare_dying("q")
    world.publish("q", "head")
    world.publish("q", "second", 1000)
    assert queue.get(no_ack=True) is not None
    world.suspend(1)
    assert world.bodies("dead") == ["second"]


def test_queue_that_fails_stops_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = world.declare_dying("failing")
    world.declare_dying("q")
    world.publish("failing", "x", 1000)
    world.publish("q", "y", 2000)
    monkeypatch.setattr(failing, "on_time", lambda _when: 1 / 0)
    world.suspend(60)
    assert world.bodies("dead") == ["y"]
    assert caplog.messages == ["Internal error at a time of queue failing"]


# Real processes


def dying(**arguments: Any) -> dict[str, Any]:
    """Arguments of a queue whose dead letters go to the queue `dead`."""
    spelled = {f"x-{argument.replace('_', '-')}": value for argument, value in arguments.items()}
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", **spelled}


def connect(port: int) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))


def bodies(channel: BlockingChannel, queue: str, count: int) -> list[bytes]:
    """Take so many messages as they come."""
    found: list[bytes] = []
    for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=WAIT):
        assert method is not None, f"{found} of {count} have come"
        found.append(body)
        if len(found) == count:
            break
    channel.cancel()
    return found


def test_p41_broker_that_was_suspended_acts_in_order(processes: Processes) -> None:
    """Suspended beyond ``x-expires``, with requests waiting in the socket when it goes on."""
    broker, port = start_broker(processes)
    with connect(port) as connection, connect(port) as other:
        channel, asking = connection.channel(), other.channel()
        channel.confirm_delivery()
        channel.queue_declare("dead")
        channel.queue_declare("q", arguments=dying(expires=2000, message_ttl=500))
        for body in (b"0", b"1", b"2"):
            channel.basic_publish("", "q", body)
        broker.signal(signal.SIGSTOP)
        time.sleep(2.1)  # That long it has to be suspended.
        asking.basic_publish("", "dead", b"sent meanwhile")
        broker.signal(signal.SIGCONT)
        assert bodies(channel, "dead", 4) == [b"0", b"1", b"2", b"sent meanwhile"]
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'q'"):
            asking.queue_declare("q", passive=True)


def test_p41_heartbeats_that_came_while_the_broker_was_suspended_count(processes: Processes) -> None:
    broker, port = start_broker(processes)
    with Peer(f"amqp://127.0.0.1:{port}") as peer:
        peer.login(heartbeat=1).open_channel()
        broker.signal(signal.SIGSTOP)
        for _ in range(5):
            time.sleep(0.5)  # Two intervals and more, that the broker does not see pass.
            peer.write(HEARTBEAT_FRAME)
        broker.signal(signal.SIGCONT)
        peer.roundtrip()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Runs commands; what still runs after the test is killed."""
    with Processes(tmp_path) as made:
        yield made


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock by so many seconds."""
    real, offset = time.time, 0.0

    def set_clock(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    monkeypatch.setattr(time, "time", lambda: real() + offset)
    return set_clock


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_p41_lifetimes_are_measured_over_a_step_of_the_clock(
    step: Callable[[float], None], seconds: float
) -> None:
    with Broker() as broker, connect(broker.port) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("dead")
        for name, ttl in (("short", 300), ("long", 1_800_000)):
            channel.queue_declare(name, arguments=dying(message_ttl=ttl))
            channel.basic_publish("", name, f"{name}, before".encode())
        channel.queue_declare("unused", arguments={"x-expires": 300})
        step(seconds)
        for name in ("short", "long"):
            channel.basic_publish("", name, f"{name}, after".encode())
        assert bodies(channel, "dead", 2) == [b"short, before", b"short, after"]
        assert channel.queue_declare("long", passive=True).method.message_count == 2
        channel.queue_delete("dead")
        eventually(lambda: not _exists(connection, "unused"))


def _exists(connection: pika.BlockingConnection, queue: str) -> bool:
    channel = connection.channel()
    try:
        # Publishing does not use a queue, as declaring it would.
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"", mandatory=True)
    except pika.exceptions.UnroutableError:
        return False
    else:
        return True
    finally:
        channel.close()


def test_p41_message_of_a_clock_that_was_ahead_lives_no_longer_after_a_restart(
    tmp_path: Path, step: Callable[[float], None]
) -> None:
    step(HOUR)
    with Broker(data=tmp_path) as broker, connect(broker.port) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("dead", durable=True)
        channel.queue_declare("q", durable=True, arguments=dying(message_ttl=500))
        channel.basic_publish("", "q", b"x", pika.BasicProperties(delivery_mode=2))
    step(-HOUR)
    with Broker(data=tmp_path) as broker, connect(broker.port) as connection:
        assert bodies(connection.channel(), "dead", 1) == [b"x"]
