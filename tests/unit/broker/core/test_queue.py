"""A queue: what becomes of messages that were out, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import Times, declare, message, new_vhost
from tests.unit.broker.core.test_stream import Channel
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.consumer import BrokerConsumer
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.queue_arguments import QueueArguments, interpret
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.wire.frames import room_for_properties
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.message import Entry
    from fedora_messaging.broker.core.queue import Queue


def test_message_refused_after_its_queue_is_gone_is_forgotten(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    queue.enqueue(message())
    entry = queue.get(no_ack=False)
    assert entry is not None
    vhost.remove_queue(queue)
    queue.refuse(entry, None)
    assert queue.unacked == 0


def test_p01_quorum_queue_returns_a_message_whose_headers_do_not_decode(vhost: VirtualHost) -> None:
    declaration = QueueDeclaration("q", durable=True, arguments={"x-queue-type": "quorum"})
    queue = vhost.declare_queue(declaration, owner=None)
    broken = new_message("", "q", b"\x20\x00" + sized(b"\x01aZ"), b"x")
    queue.enqueue(broken)
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.requeue(entry, None)
    assert queue.get(no_ack=True) is entry
    assert queue.properties(entry, room_for_properties(131072)) == broken.properties


ROOM = room_for_properties(131072)


def quorum(profile: Profile, limit: int = 1) -> Queue:
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": limit,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    vhost = new_vhost(profile)
    declare(vhost, "dead")
    return vhost.declare_queue(QueueDeclaration("q", durable=True, arguments=arguments), owner=None)


def take(queue: Queue) -> Entry:
    entry = queue.get(no_ack=False)
    assert entry is not None
    return entry


def counts(queue: Queue, entry: Entry, *, got: bool = False) -> dict[str, int]:
    return decode_properties(queue.properties(entry, ROOM, got=got)).headers or {}


def test_failed_deliveries_are_counted() -> None:
    """RabbitMQ 4 also tells how often a message was delivered; at first only RabbitMQ 3 tells 0, to a get."""
    found = []
    for profile in (RABBITMQ_3, RABBITMQ_4):
        queue = quorum(profile, limit=5)
        queue.enqueue(message())
        entry = take(queue)
        found += [counts(queue, entry), counts(queue, entry, got=True)]
        queue = quorum(profile, limit=5)
        queue.enqueue(message())
        for _ in range(2):
            queue.requeue(take(queue), None)
        found.append(counts(queue, take(queue)))
    assert found == [
        {},
        {"x-delivery-count": 0},
        {"x-delivery-count": 2},
        {},
        {},
        {"x-acquired-count": 2, "x-delivery-count": 2},
    ]


def test_deliveries_that_were_given_back_are_counted_apart() -> None:
    queue = quorum(RABBITMQ_4)
    queue.enqueue(message())
    for _ in range(3):
        queue.release(take(queue), None)
    entry = take(queue)
    assert entry.redelivered
    assert counts(queue, entry) == {"x-acquired-count": 3}
    queue.requeue(entry, None)
    assert counts(queue, take(queue)) == {"x-acquired-count": 4, "x-delivery-count": 1}


@pytest.mark.parametrize(("profile", "is_dead"), [(RABBITMQ_3, True), (RABBITMQ_4, False)])
def test_message_that_is_given_back_again_and_again(profile: Profile, is_dead: bool) -> None:
    """In RabbitMQ 3 that counts as a failure."""
    queue = quorum(profile)
    queue.enqueue(message())
    for _ in range(2):
        queue.release(take(queue), None)
    assert (queue.get(no_ack=True) is None) is is_dead


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_classic_queue_counts_nothing(profile: Profile) -> None:
    queue = declare(new_vhost(profile), "q")
    queue.enqueue(message())
    queue.requeue(take(queue), None)
    assert counts(queue, take(queue)) == {}


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_count_without_room_is_left_out(profile: Profile) -> None:
    queue = quorum(profile)
    queue.enqueue(message())
    queue.requeue(take(queue), None)
    entry = take(queue)
    size = len(queue.properties(entry, ROOM))
    assert len(queue.properties(entry, size)) == size
    assert queue.properties(entry, size - 1) == entry.message.properties


# What it counts


def test_bytes_that_are_out() -> None:
    queue = declare(new_vhost(), "q")
    for size in (3, 5, 7):
        queue.enqueue(new_message("", "q", b"\0\0", bytes(size)))
    assert (queue.ready_bytes, queue.unacked_bytes) == (15, 0)
    first, second, third = take(queue), take(queue), take(queue)
    assert (queue.ready_bytes, queue.unacked_bytes) == (0, 15)
    queue.settle(first, None)
    assert (queue.ready_bytes, queue.unacked_bytes) == (0, 12)
    queue.requeue(second, None)
    assert (queue.ready_bytes, queue.unacked_bytes) == (5, 7)
    queue.refuse(third, None)
    assert (queue.ready_bytes, queue.unacked_bytes) == (5, 0)
    queue.get(no_ack=True)
    assert (queue.ready_bytes, queue.unacked_bytes) == (0, 0)


def test_what_happened_is_counted() -> None:
    queue = declare(new_vhost(), "q")
    for _ in range(4):
        queue.enqueue(message())
    queue.requeue(take(queue), None)
    queue.settle(take(queue), None)
    queue.get(no_ack=True)
    queue.refuse(take(queue), None)
    queue.get(no_ack=False)
    assert queue.get(no_ack=False) is None
    counters = queue.counters
    assert (counters.publish, counters.get, counters.get_no_ack, counters.get_empty) == (4, 4, 1, 1)
    assert (counters.ack, counters.redeliver) == (1, 1)
    assert (counters.deliver, counters.deliver_no_ack) == (0, 0)


def test_peek_takes_nothing() -> None:
    queue = declare(new_vhost(), "q")
    assert queue.peek() is None
    queue.enqueue(message())
    head = queue.peek()
    assert (len(queue), queue.get(no_ack=True)) == (1, head)
    assert not queue.counters.redeliver


@pytest.mark.parametrize("way", ["release", "reject", "requeue"])
def test_message_comes_back_in_each_way(way: str) -> None:
    queue = declare(new_vhost(), "q")
    queue.enqueue(message())
    entry = take(queue)
    getattr(queue, way)(entry, None)
    assert (queue.peek(), entry.redelivered, queue.unacked) == (entry, True, 0)


@pytest.mark.parametrize("way", ["release", "reject", "requeue", "refuse", "settle"])
def test_message_of_a_queue_that_is_gone_is_forgotten_in_each_way(vhost: VirtualHost, way: str) -> None:
    queue = declare(vhost, "q")
    queue.enqueue(message())
    entry = take(queue)
    vhost.remove_queue(queue)
    getattr(queue, way)(entry, None)
    assert (queue.unacked, queue.unacked_bytes, len(queue), vhost.memory.bytes) == (0, 0, 0, 0)


# Other arguments while it runs


class World:
    """A queue and a queue for its dead letters, a clock that the test sets, and what was scheduled."""

    def __init__(self, kind: str = "classic", count: int = 0, **arguments: Any) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        self.vhost = VirtualHost(
            "/", lambda: self.now, NoJournal(), lambda _queue, when: self.asked.append(when)
        )
        self.dead = declare(self.vhost, "dead")
        self.declared = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        self.declared["x-queue-type"] = self.kind = kind
        self.queue = self.vhost.declare_queue(
            QueueDeclaration("q", durable=True, arguments=self.declared), owner=None
        )
        self.publish(count)

    def publish(self, count: int = 1, body: bytes = b"0123456789") -> list[bool]:
        return [self.queue.enqueue(new_message("", "q", b"\0\0", body)) for _ in range(count)]

    def reconfigure(self, **arguments: Any) -> None:
        """Have these arguments added by policies."""
        added = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        self.queue.reconfigure(interpret({**self.declared, **added}, self.kind, RABBITMQ_4))


DEAD: dict[str, Any] = {"dead_letter_exchange": "", "dead_letter_routing_key": "dead"}


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_shorter_queue_is_trimmed_at_once(kind: str) -> None:
    world = World(kind, 10)
    world.reconfigure(max_length=3)
    assert [len(world.queue), world.queue.ready_bytes] == [3, 30]
    world.publish()
    assert len(world.queue) == 3
    world.reconfigure()
    world.publish(5)
    assert len(world.queue) == 8


def test_bytes_are_trimmed_at_once() -> None:
    world = World(count=10)
    world.reconfigure(max_length_bytes=35)
    assert len(world.queue) == 3


def test_what_is_trimmed_is_dead_lettered() -> None:
    world = World(count=10, **DEAD)
    world.reconfigure(max_length=3)
    assert (len(world.queue), len(world.dead)) == (3, 7)


def test_dead_letter_exchange_counts_at_once() -> None:
    world = World(count=2)
    world.queue.refuse(take(world.queue), None)
    world.reconfigure(**DEAD)
    world.queue.refuse(take(world.queue), None)
    assert len(world.dead) == 1


def test_classic_queue_that_refuses_is_trimmed_once() -> None:
    world = World(count=10)
    world.reconfigure(max_length=3, overflow="reject-publish")
    assert len(world.queue) == 3
    assert world.publish() == [False]
    taken = take(world.queue)
    assert world.publish() == [True]
    world.queue.requeue(taken, None)
    world.queue.deliver()
    assert len(world.queue) == 4


def test_quorum_queue_that_refuses_is_never_trimmed() -> None:
    world = World("quorum", 10)
    world.reconfigure(max_length=3, overflow="reject-publish")
    assert len(world.queue) == 10
    assert world.publish() == [False]
    world.queue.deliver()
    world.queue.requeue(take(world.queue), None)
    world.queue.deliver()
    assert len(world.queue) == 10


def test_delivery_limit_counts_at_once() -> None:
    world = World("quorum", 1, **DEAD)
    for _ in range(3):
        world.queue.requeue(take(world.queue), None)
    world.reconfigure(delivery_limit=2, **DEAD)
    world.queue.requeue(take(world.queue), None)
    assert (len(world.queue), len(world.dead)) == (0, 1)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_messages_keep_their_time_to_live(kind: str) -> None:
    world = World(kind, 1)
    world.reconfigure(message_ttl=500)
    world.publish()
    world.now += 2
    world.queue.on_time(world.now)
    # The first one never expires, and the second one waits behind it.
    assert len(world.queue) == 2
    world.reconfigure()
    assert world.queue.get(no_ack=True) is not None
    assert world.queue.get(no_ack=True) is None


def test_queue_that_is_not_used_expires_from_now_on() -> None:
    world = World()
    world.now = 5000.0
    world.reconfigure(expires=1000)
    assert world.asked == [5001.0]
    world.queue.on_time(5000.9)
    assert "q" in world.vhost.queues
    world.queue.on_time(5001.0)
    assert "q" not in world.vhost.queues


def test_queue_that_has_no_lifetime_any_more_stays() -> None:
    world = World(expires=1000)
    world.queue.reconfigure(QueueArguments())
    world.queue.on_time(9000.0)
    assert "q" in world.vhost.queues


def test_same_arguments_change_nothing() -> None:
    world = World(expires=1000)
    asked = list(world.asked)
    world.now += 0.5
    world.reconfigure()
    assert world.asked == asked
    world.queue.on_time(1001.0)
    assert "q" not in world.vhost.queues


@pytest.mark.parametrize("how", ["get", "timer"])
def test_many_messages_expire_in_portions(how: str) -> None:
    """Others have their turn in between; the timer asks for the next portion at once."""
    times = Times()
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    queue = vhost.declare_queue(QueueDeclaration("q", arguments={"x-message-ttl": 100}), None)
    for _ in range(500):
        queue.enqueue(message())
    if how == "get":
        times.now = lambda: 1001.0  # type: ignore[method-assign]
        vhost.clock = times.now
        assert queue.get(no_ack=True) is None
        assert 0 < len(queue) < 500
        while len(queue):
            assert queue.get(no_ack=True) is None
    else:
        queue.on_time(1001.0)
        assert 0 < len(queue) < 500
        times.advance(1)
    assert len(queue) == 0


@pytest.mark.parametrize("count", [199, 200, 201, 500])
def test_message_behind_many_that_have_expired_is_delivered(count: int) -> None:
    """The queue removes the expired ones in portions; after the last of them it goes on."""
    times = Times()
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    queue, outlet = declare(vhost, "q"), Channel()
    short = encode_properties(BasicProperties(expiration="5"))
    queue.enqueue(message())
    for _ in range(count):
        queue.enqueue(new_message("", "q", short, b"short"))
    queue.enqueue(message())
    times.advance(1.0)
    queue.add_consumer(BrokerConsumer("t", queue, outlet))
    queue.deliver()
    times.advance(1.0)
    assert [entry.message.body for _, entry, _ in outlet.taken] == [b"body", b"body"]
    assert len(queue) == 0


def test_head_that_a_policy_has_uncovered_expires() -> None:
    """Trimming makes another message the head, which has a time of its own."""
    times = Times()
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    queue = declare(vhost, "q")
    queue.enqueue(message())
    queue.enqueue(new_message("", "q", encode_properties(BasicProperties(expiration="100")), b"short"))
    queue.reconfigure(QueueArguments(max_length=1))
    assert len(queue) == 1
    times.advance(1.0)
    assert len(queue) == 0
