"""A stream: what it keeps, and which messages each of its consumers gets."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broker.core.support import ignore
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import Entry, Past, new_entry, new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.stream import StreamConsumer, StreamQueue
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError
from fedora_messaging.wire.frames import room_for_properties
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.broker.core.consumer import BrokerConsumer
    from fedora_messaging.broker.core.queue import Queue


class Journal(NoJournal):
    """Remembers the offsets of the messages that are stored."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def message_added(self, queue: Queue, entry: Entry) -> None:
        self.offsets.append(entry.position - 1)

    def message_removed(self, queue: Queue, entry: Entry) -> None:
        self.offsets.remove(entry.position - 1)


class Channel:
    """Takes messages, and keeps them.

    Attributes:
        taken: Consumer, entry and properties of each.
        refused: Names and sizes that were refused.
        cancelled: Consumers whose stream is gone.
        react: Called with each consumer that gets a message.
    """

    room = room_for_properties(131072)

    def __init__(self) -> None:
        self.taken: list[tuple[BrokerConsumer, Entry, bytes]] = []
        self.refused: list[tuple[str, int]] = []
        self.cancelled: list[BrokerConsumer] = []
        self.react: Callable[[BrokerConsumer], object] = ignore

    def can_take(self) -> bool:
        return not self.refused

    def deliver(self, consumer: BrokerConsumer, entry: Entry, properties: bytes) -> None:
        self.taken.append((consumer, entry, properties))
        self.react(consumer)

    def refuse(self, name: str, size: int) -> None:
        self.refused.append((name, size))

    def consumer_cancelled(self, consumer: BrokerConsumer) -> None:
        self.cancelled.append(consumer)

    def offsets(self) -> list[int]:
        """Return the offsets that were told since the last call."""
        taken, self.taken = self.taken, []
        return [told(properties)["x-stream-offset"] for _, _, properties in taken]


def told(properties: bytes) -> dict[str, Any]:
    return decode_properties(properties).headers or {}


class World:
    """A virtual host with a stream, and a clock that the test sets."""

    def __init__(self, profile: Profile = RABBITMQ_4, **arguments: Any) -> None:
        self.now = 1000.0
        self.journal = Journal()
        self.vhost = VirtualHost("/", lambda: self.now, self.journal, ignore, profile=profile)
        spelled = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        declaration = QueueDeclaration("s", durable=True, arguments={"x-queue-type": "stream", **spelled})
        queue = self.vhost.declare_queue(declaration, owner=None)
        assert isinstance(queue, StreamQueue)
        self.stream = queue
        self.channel = Channel()

    def publish(self, count: int = 1, body: bytes = b"body", **properties: Any) -> None:
        encoded = encode_properties(BasicProperties(**properties))
        for _ in range(count):
            assert self.stream.enqueue(new_message("e", "k", encoded, body))

    def consume(self, prefetch: int = 1000, **options: Any) -> StreamConsumer:
        arguments = {
            f"x-stream-{name.replace('_', '-')}": value
            for name, value in options.items()
            if name not in ("no_ack", "exclusive", "arguments")
        }
        consumer = self.stream.make_consumer(
            "t",
            self.stream,
            self.channel,
            prefetch=prefetch,
            no_ack=options.get("no_ack", False),
            exclusive=options.get("exclusive", False),
            arguments={**arguments, **options.get("arguments", {})},
        )
        self.stream.add_consumer(consumer)
        self.stream.deliver()
        assert isinstance(consumer, StreamConsumer)
        return consumer

    def offsets(self, **options: Any) -> list[int]:
        """Return what a new consumer gets at once."""
        consumer = self.consume(**options)
        self.stream.remove_consumer(consumer)
        return self.channel.offsets()

    def kept(self) -> list[int]:
        return self.offsets(offset="first")


@pytest.fixture
def world() -> World:
    return World()


# Offsets


def test_consumer_begins_with_what_comes_next(world: World) -> None:
    world.publish(3)
    world.consume()
    assert world.channel.offsets() == []
    world.publish(2)
    assert world.channel.offsets() == [3, 4]


@pytest.mark.parametrize(
    ("offset", "offsets"),
    [
        ("first", [0, 1, 2, 3, 4]),
        ("last", [4]),
        ("next", []),
        (0, [0, 1, 2, 3, 4]),
        (3, [3, 4]),
        (4, [4]),
        (5, []),
        (2**62, []),
        (-1, [0, 1, 2, 3, 4]),
        (-(2**63), [0, 1, 2, 3, 4]),
    ],
)
def test_offset(world: World, offset: Any, offsets: list[int]) -> None:
    world.publish(5)
    assert world.offsets(offset=offset) == offsets


@pytest.mark.parametrize("offset", ["first", "last", "next", 0, "1h", datetime.fromtimestamp(0, UTC)])
def test_stream_that_is_empty(world: World, offset: Any) -> None:
    world.consume(offset=offset)
    world.publish()
    assert world.channel.offsets() == [0]


def test_offset_beyond_the_end_is_waited_for(world: World) -> None:
    world.publish(3)
    world.consume(offset=5)
    world.publish(6)
    assert world.channel.offsets() == [5, 6, 7, 8]


def published_in_time() -> World:
    """Publish offsets 0 to 4 in the seconds 1000, 1010 and so on; it is 1050 then."""
    world = World()
    for _ in range(5):
        world.publish()
        world.now += 10
    return world


@pytest.mark.parametrize(
    ("seconds", "offsets"),
    [
        (0, [0, 1, 2, 3, 4]),
        (1000, [0, 1, 2, 3, 4]),
        (1001, [1, 2, 3, 4]),
        (1040, [4]),
        (1041, []),
        (2_000_000_000, []),
    ],
)
def test_time(seconds: int, offsets: list[int]) -> None:
    world = published_in_time()
    world.consume(offset=datetime.fromtimestamp(seconds, UTC))
    assert world.channel.offsets() == offsets
    # A time that has not come is no reason to wait.
    world.publish()
    assert world.channel.offsets() == [5]


@pytest.mark.parametrize(
    ("interval", "offsets"),
    [
        ("9s", []),
        ("10s", [4]),
        ("0025s", [3, 4]),
        ("1m", [0, 1, 2, 3, 4]),
        ("1h", [0, 1, 2, 3, 4]),
        ("1D", [0, 1, 2, 3, 4]),
        ("1M", [0, 1, 2, 3, 4]),
        ("9999999999Y", [0, 1, 2, 3, 4]),
        ("9" * 5000 + "s", [0, 1, 2, 3, 4]),
    ],
)
def test_interval(interval: str, offsets: list[int]) -> None:
    assert published_in_time().offsets(offset=interval) == offsets


@pytest.mark.parametrize("offset", ["0", "3", "0s", "1.5h", "FIRST", "bogus", "h", "-1h", "1d", "first\n"])
def test_offset_that_is_none(world: World, offset: str) -> None:
    with pytest.raises(ChannelError) as caught:
        world.consume(offset=offset)
    assert caught.value.reply_text == (
        "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 's' in vhost '/': "
        f'{{invalid_stream_offset_arg,{{longstr,<<"{offset}">>}}}}'
    )
    assert len(world.stream.consumers) == 0


def test_offset_that_is_empty(world: World) -> None:
    with pytest.raises(ChannelError) as caught:
        world.consume(offset="")
    assert caught.value.reply_text.endswith(": {invalid_stream_offset_arg,{longstr,<<>>}}")


@pytest.mark.parametrize("offset", [True, None, [], {}, ["first"], 1.5])
def test_offset_of_another_type_is_refused(world: World, offset: Any) -> None:
    with pytest.raises(PeerError):
        world.consume(offset=offset)
    assert len(world.stream.consumers) == 0


def test_very_long_offset_is_refused_at_once(world: World) -> None:
    start = time.monotonic()
    with pytest.raises(ChannelError):
        world.consume(offset="1" * 100_000 + "x")
    assert time.monotonic() - start < 2


# Consumers


@pytest.mark.parametrize("no_ack", [False, True])
def test_consumer_without_prefetch_is_refused(world: World, no_ack: bool) -> None:
    with pytest.raises(ChannelError) as caught:
        world.consume(prefetch=0, no_ack=no_ack)
    assert caught.value.reply_text == (
        "PRECONDITION_FAILED - consumer prefetch count is not set for stream queue 's' in vhost '/'"
    )


@pytest.mark.parametrize(
    ("offset", "first"), [("bogus", "x-stream-offset"), (1.5, "consumer prefetch count")]
)
def test_which_of_two_mistakes_is_told(world: World, offset: Any, first: str) -> None:
    """RabbitMQ takes a fraction for an offset until it has looked at the prefetch."""
    with pytest.raises(ChannelError, match=first):
        world.consume(prefetch=0, offset=offset)


def test_consumer_that_does_not_acknowledge_is_refused(world: World) -> None:
    with pytest.raises(ConnectionError) as caught:
        world.consume(no_ack=True)
    assert caught.value.reply_text == (
        "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queue 's' in vhost '/'"
    )


def test_exclusive_consumers_do_not_exclude_others(world: World) -> None:
    world.publish()
    for _ in range(2):
        world.consume(exclusive=True, offset="first")
    world.consume(offset="first", arguments={"unknown": 1})
    assert world.channel.offsets() == [0, 0, 0]


def test_each_consumer_has_a_place_of_its_own(world: World) -> None:
    world.publish(3)
    first, second = world.consume(prefetch=2, offset=0), world.consume(prefetch=1, offset=2)
    taken = [(consumer, entry.position - 1) for consumer, entry, _ in world.channel.taken]
    assert taken == [(first, 0), (first, 1), (second, 2)]
    assert (first.unacked, second.unacked, world.stream.unacked) == (2, 1, 3)


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_acknowledgement_makes_room_for_another_message(profile: Profile) -> None:
    world = World(profile)
    world.publish(5)
    consumer = world.consume(prefetch=2, offset="first")
    entry = world.channel.taken[1][1]  # in any order
    assert world.channel.offsets() == [0, 1]
    world.stream.settle(entry, consumer)
    world.stream.deliver()
    assert world.channel.offsets() == [2]
    counters = world.stream.counters
    assert (counters.publish, counters.deliver, counters.ack, counters.redeliver) == (5, 3, 1, 0)
    assert (world.stream.unacked, world.stream.unacked_bytes) == (2, 8)


@pytest.mark.parametrize("way", ["refuse", "release", "reject"])
def test_rejection_is_an_acknowledgement(way: str) -> None:
    """RabbitMQ 3 does not have it."""
    for profile in (RABBITMQ_3, RABBITMQ_4):
        world = World(profile)
        world.publish(3)
        consumer = world.consume(prefetch=1, offset="first")
        entry = world.channel.taken[0][1]
        world.channel.taken.clear()
        reject = getattr(world.stream, way)
        if profile is RABBITMQ_3:
            with pytest.raises(ConnectionError) as caught:
                reject(entry, consumer)
            assert caught.value.reply_text == (
                "NOT_IMPLEMENTED - basic.nack and basic.reject not supported by stream queues "
                "queue 's' in vhost '/'"
            )
        else:
            reject(entry, consumer)
            world.stream.deliver()
            assert world.channel.offsets() == [1]
            assert not entry.redelivered
        assert len(world.stream) == 3
        assert world.journal.offsets == [0, 1, 2]


def test_message_of_a_consumer_that_has_gone_is_not_delivered_again(world: World) -> None:
    world.publish(2)
    leaving, staying = world.consume(prefetch=1, offset="first"), world.consume(offset="next")
    entry = world.channel.taken[0][1]
    world.channel.taken.clear()
    world.stream.remove_consumer(leaving)
    world.stream.requeue(entry, leaving)
    world.publish()
    assert [consumer for consumer, _, _ in world.channel.taken] == [staying]
    assert world.channel.offsets() == [2]
    assert (world.stream.unacked, world.stream.unacked_bytes) == (1, 4)


def test_stream_that_goes_while_it_delivers(world: World) -> None:
    world.publish(5)
    world.channel.react = lambda _consumer: world.vhost.remove_queue(world.stream)
    consumer = world.consume(offset="first")
    assert world.channel.offsets() == [0]
    assert world.channel.cancelled == [consumer]


def test_message_is_shared_and_counted_once(world: World) -> None:
    """What consumers get is never marked as redelivered, even if it is a dead letter that was."""
    message = new_message("e", "k", b"\0\0", b"body")
    message.past = Past(was_delivered=True)
    world.stream.enqueue(message)
    world.consume(offset="first")
    ((_, entry, _),) = world.channel.taken
    assert not entry.redelivered
    assert message.holders == 1


# The header with the offset


def test_offset_comes_last_and_replaces_that_of_the_client(world: World) -> None:
    world.publish(headers={"x-stream-offset": "mine", "z": 1}, priority=3, message_id="i")
    world.consume(offset="first")
    ((_, _, properties),) = world.channel.taken
    decoded = decode_properties(properties)
    assert list((decoded.headers or {}).items()) == [("z", 1), ("x-stream-offset", 0)]
    assert (decoded.priority, decoded.message_id) == (3, "i")
    assert b"x-stream-offsetl" + bytes(8) in properties


def test_headers_that_do_not_decode_are_sent_as_they_are(world: World) -> None:
    broken = b"\x20\x00" + sized(b"\x01aZ")
    world.stream.enqueue(new_message("e", "k", broken, b""))
    world.consume(offset="first")
    assert [properties for _, _, properties in world.channel.taken] == [broken]


def test_offset_without_room_is_left_out(world: World) -> None:
    """Otherwise nobody could ever read on."""
    world.publish(headers={"a": "x" * 100})
    plain = len(encode_properties(BasicProperties(headers={"a": "x" * 100})))
    added = len(b"\x0fx-stream-offsetl") + 8
    for room, headers in (
        (plain + added, ["a", "x-stream-offset"]),
        (plain + added - 1, ["a"]),
        (plain, ["a"]),
    ):
        world.channel.room = room
        world.consume(offset="first")
        assert list(told(world.channel.taken.pop()[2])) == headers
    assert world.channel.refused == []


def test_message_without_room_is_refused(world: World) -> None:
    world.publish(2, headers={"a": "x" * 100})
    size = len(encode_properties(BasicProperties(headers={"a": "x" * 100})))
    world.channel.room = size - 1
    consumer = world.consume(offset="first")
    assert world.channel.refused == [("s", size)]
    assert (world.channel.taken, consumer.unacked, consumer.next_offset) == ([], 0, 0)
    world.publish()
    assert len(world.channel.refused) == 1


# Filters


@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ({"filter": "a"}, [0, 4]),
        ({"filter": ["a", "b"]}, [0, 1, 4]),
        ({"filter": "a", "match_unfiltered": True}, [0, 2, 4]),
        ({"filter": "zz"}, []),
        ({"filter": "zz", "match_unfiltered": True}, [2]),
        ({"filter": "zz", "match_unfiltered": "true"}, []),
        ({"match_unfiltered": True}, [0, 1, 2, 3, 4]),
        ({"filter": 5}, [0, 1, 2, 3, 4]),
        ({"filter": True}, [0, 1, 2, 3, 4]),
        ({"filter": {"a": 1}}, [0, 1, 2, 3, 4]),
        ({}, [0, 1, 2, 3, 4]),
    ],
)
def test_filter(options: dict[str, Any], offsets: list[int]) -> None:
    """RabbitMQ 3 has none."""
    for profile, expected in ((RABBITMQ_4, offsets), (RABBITMQ_3, [0, 1, 2, 3, 4])):
        world = World(profile)
        for value in ("a", "b", None, "c", "a"):
            world.publish(headers={} if value is None else {"x-stream-filter-value": value})
        assert world.offsets(offset="first", **options) == expected


@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "a"}, b"\xff"])
def test_filter_value_that_is_no_text_matches_nothing(world: World, value: Any) -> None:
    world.publish(headers={"x-stream-filter-value": value})
    world.publish(headers={"x-stream-filter-value": "a"})
    assert world.offsets(offset="first", filter="a") == [1]
    assert world.offsets(offset="first", filter="a", match_unfiltered=True) == [1]


def test_messages_that_are_filtered_out_take_no_prefetch(world: World) -> None:
    consumer = world.consume(prefetch=1, filter="a")
    world.publish(5, headers={"x-stream-filter-value": "b"})
    world.publish(headers={"x-stream-filter-value": "a"})
    assert world.channel.offsets() == [5]
    assert (consumer.unacked, world.stream.counters.deliver) == (1, 1)


# What a stream refuses


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("basic.get", lambda stream: stream.get(no_ack=True)),
        ("queue.purge", lambda stream: stream.check_purge()),
    ],
)
def test_what_streams_do_not_do(world: World, method: str, call: Callable[[StreamQueue], object]) -> None:
    world.publish()
    with pytest.raises(ConnectionError) as caught:
        call(world.stream)
    assert caught.value.reply_text == (
        f"NOT_IMPLEMENTED - {method} not supported by stream queues queue 's' in vhost '/'"
    )
    assert len(world.stream) == 1


def test_stream_has_no_time_to_do_something(world: World) -> None:
    world.publish(expiration="0")
    world.stream.on_time(1e9)
    assert world.kept() == [0]
    assert world.vhost.queues == {"s": world.stream}


def test_oldest_message(world: World) -> None:
    assert world.stream.peek() is None
    world.publish(body=b"1")
    world.publish(body=b"2")
    oldest = world.stream.peek()
    assert oldest is not None
    assert oldest.message.body == b"1"


def test_deletion_ignores_its_conditions(world: World) -> None:
    world.publish(3)
    consumer = world.consume(prefetch=1, offset="first")
    entry = world.channel.taken[0][1]
    assert world.vhost.delete_queue("s", None, if_unused=True, if_empty=True) == 0
    assert world.channel.cancelled == [consumer]
    assert (world.vhost.queues, world.vhost.memory.bytes, world.journal.offsets) == ({}, 0, [])
    assert (len(world.stream), world.stream.ready_bytes) == (0, 0)
    # What was out may still be answered.
    world.stream.settle(entry, consumer)
    assert (world.stream.unacked, world.vhost.memory.bytes) == (0, 0)


# Retention


def in_segments(**arguments: Any) -> World:
    """Make a stream with two messages of 4 bytes a segment."""
    return World(stream_max_segment_size_bytes=8, **arguments)


def test_nothing_is_forgotten_within_the_first_segment() -> None:
    world = World(max_length_bytes=0, max_age="1s")
    for _ in range(60):
        world.publish(body=bytes(200))
        world.now += 10
    assert (len(world.stream), world.stream.ready_bytes) == (60, 12_000)


def test_whole_segments_are_forgotten_when_a_new_one_begins() -> None:
    world = in_segments(max_length_bytes=17)
    seen = []
    for _ in range(9):
        world.publish()
        seen.append(world.kept())
    assert seen == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 1, 2, 3],
        [2, 3, 4],
        [2, 3, 4, 5],
        [4, 5, 6],
        [4, 5, 6, 7],
        [6, 7, 8],
    ]
    assert world.journal.offsets == [6, 7, 8]
    assert world.stream.ready_bytes == 12
    assert world.stream.peek() is world.stream._log[0]


def test_old_segments_are_forgotten_only_when_a_new_one_begins() -> None:
    world = in_segments(max_age="2s")
    world.publish(3)
    world.now += 60
    assert world.kept() == [0, 1, 2]
    world.publish()
    assert world.kept() == [0, 1, 2, 3]
    world.publish()
    assert world.kept() == [2, 3, 4]


def test_age_is_that_of_the_newest_message_of_a_segment() -> None:
    world = in_segments(max_age="10s")
    world.publish()
    world.now += 10
    world.publish()  # the last one of its segment
    world.now += 10
    world.publish()
    assert world.kept() == [0, 1, 2]
    world.now += 0.5
    world.publish(2)
    assert world.kept() == [2, 3, 4]


def test_consumer_skips_what_was_forgotten() -> None:
    world = in_segments(max_length_bytes=0)
    world.publish(4)
    consumer = world.consume(prefetch=1, offset=2)
    entry = world.channel.taken[0][1]
    assert world.channel.offsets() == [2]
    world.publish(5)
    world.stream.settle(entry, consumer)
    world.stream.deliver()
    assert world.channel.offsets() == [8]
    assert world.offsets(offset=0) == world.offsets(offset=-1) == world.offsets(offset=3) == [8]
    assert world.offsets(offset=datetime.fromtimestamp(0, UTC)) == [8]


def test_memory_of_forgotten_messages_is_free() -> None:
    world = in_segments(max_length_bytes=0)
    world.publish()
    one = world.vhost.memory.bytes
    world.publish(20)
    assert world.vhost.memory.bytes == one * len(world.stream)


def test_segments_of_no_size_hold_one_message_each() -> None:
    world = World(stream_max_segment_size_bytes=0, max_length_bytes=8)
    world.publish(5)
    assert world.kept() == [3, 4]


def test_new_limit_counts_from_the_next_segment_on() -> None:
    world = in_segments()
    world.publish(5)
    arguments = {**world.stream.declared, "x-max-length-bytes": 4}
    new = World(**{name[2:]: value for name, value in arguments.items()}).stream.arguments
    world.stream.reconfigure(new)
    assert world.kept() == [0, 1, 2, 3, 4]
    world.publish()
    assert world.kept() == [0, 1, 2, 3, 4, 5]
    world.publish()
    assert world.kept() == [6]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 5, 30])), max_size=40),
    st.integers(0, 8),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(1, 30),
)
def test_what_is_kept(
    published: list[tuple[int, int]], segment: int, most: int | None, age: int | None
) -> None:
    """A stream is a list of segments; the newest one always stays."""
    limits: dict[str, Any] = {"stream_max_segment_size_bytes": segment}
    if most is not None:
        limits["max_length_bytes"] = most
    if age is not None:
        limits["max_age"] = f"{age}s"
    world = World(**limits)
    model: list[list[tuple[int, int, float]]] = []
    for offset, (size, pause) in enumerate(published):
        world.now += pause
        if not model or sum(size for _, size, _ in model[-1]) >= segment:
            model.append([])
        model[-1].append((offset, size, world.now))
        if len(model[-1]) == 1:
            while len(model) > 1 and (
                (most is not None and sum(size for part in model for _, size, _ in part) > most)
                or (age is not None and model[0][-1][2] < world.now - age)
            ):
                del model[0]
        world.publish(body=bytes(size))
        flat = [entry for part in model for entry in part]
        assert [entry.position - 1 for entry in world.stream._log] == [offset for offset, _, _ in flat]
        assert world.stream.ready_bytes == sum(size for _, size, _ in flat)
    kept = [offset for part in model for offset, _, _ in part]
    assert world.journal.offsets == kept
    for start in range(-1, len(published) + 2):
        assert world.offsets(offset=start) == [offset for offset in kept if offset >= start]
    assert world.offsets(offset="last") == kept[-1:]


# Restart


def test_offsets_continue_after_a_restart() -> None:
    before = in_segments(max_length_bytes=12)
    before.publish(6)
    assert before.journal.offsets == [2, 3, 4, 5]
    after = in_segments(max_length_bytes=12)
    for entry in before.stream._log:
        assert after.stream.restore(new_entry(entry.message, entry.position))
    assert after.kept() == [2, 3, 4, 5]
    assert after.offsets(offset=5) == [5]
    after.consume()
    after.publish()
    assert after.channel.offsets() == [6]
    assert (after.kept(), after.stream.ready_bytes) == ([4, 5, 6], 12)


def test_messages_of_a_stream_are_stored_even_if_they_are_transient(world: World) -> None:
    world.publish(delivery_mode=1)
    world.publish(delivery_mode=2)
    world.publish()
    assert world.journal.offsets == [0, 1, 2]
