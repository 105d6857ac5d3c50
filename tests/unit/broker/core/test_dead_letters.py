"""Dead letters: whatever a message carries, nobody else has to bear it."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broker.core.support import declare, message, new_vhost
from tests.unit.wire.test_fields import sized, wires

from fedora_messaging.broker.core.dead_letters import is_cycle, make_dead_letter
from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.message import BrokerMessage, Past, new_entry, new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.core.queue_arguments import QueueArguments
from fedora_messaging.wire.fields import decode_table
from fedora_messaging.wire.frames import room_for_properties
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def test_p01_message_whose_headers_do_not_decode_is_dead_lettered_as_it_is(vhost: VirtualHost) -> None:
    dead = declare(vhost, "dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    queue = vhost.declare_queue(QueueDeclaration("q", arguments=arguments), owner=None)
    broken = b"\x20\x00\x00\x00\x00\x03\x01aZ"
    queue.enqueue(new_message("", "q", broken, b"body"))
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.refuse(entry, None)
    refused = dead.get(no_ack=True)
    assert refused is not None
    assert (refused.message.properties, refused.message.body) == (broken, b"body")


def with_headers(table: bytes, *, expiration: bytes = b"") -> BrokerMessage:
    """A message whose headers are these bytes."""
    flags = 0x2000 | (0x0100 if expiration else 0)
    properties = struct.pack(">H", flags) + table
    return new_message(
        "", "q", properties + (bytes((len(expiration),)) + expiration if expiration else b""), b"x"
    )


UNREADABLE = sized(b"\x01aZ")


#: Bytes of properties that fit into a frame.
ROOM = room_for_properties(131072)


def filling(left: int) -> bytes:
    """Headers that leave so many bytes of a frame."""
    size = ROOM - left - 2 - 4 - 2 - 5
    return sized(b"\x01ax" + struct.pack(">I", size) + bytes(size))


#: No history of deaths fits beside the one, and a single death beside the other.
FULL, NEARLY_FULL = filling(0), filling(300)


def full(vhost: VirtualHost, name: str, target: str, length: int = 1) -> Queue:
    """A queue that overflows into another one."""
    arguments = {
        "x-max-length": length,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target,
    }
    return vhost.declare_queue(QueueDeclaration(name, arguments=arguments), owner=None)


def refuse_one(queue: Queue) -> None:
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.refuse(entry, None)


@given(st.dictionaries(st.sampled_from((b"a", b"CC", b"BCC", b"x-death", b"x-first-death-reason")), wires()))
def test_message_with_any_headers_becomes_a_dead_letter(fields: dict[bytes, bytes]) -> None:
    vhost = new_vhost()
    queue = full(vhost, "q", "dead")
    table = sized(b"".join(bytes((len(name),)) + name + wire for name, wire in fields.items()))
    headers = make_dead_letter(queue, new_entry(with_headers(table), 1), "rejected", 1000.0, ROOM).headers
    assert headers["x-death"][0]["queue"] == "q"
    if "a" in (before := decode_table(table)[0]):
        assert repr(headers["a"]) == repr(before["a"])


@pytest.mark.parametrize("given_count", [0x7FFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFE])
def test_count_of_deaths_has_an_end(vhost: VirtualHost, given_count: int) -> None:
    queue = full(vhost, "q", "dead")
    death = {
        "queue": "q",
        "reason": "rejected",
        "count": given_count,
        "time": datetime(1969, 7, 20, tzinfo=UTC),
    }
    properties = encode_properties(BasicProperties(headers={"x-death": [death]}))
    entry = new_entry(new_message("", "q", properties, b""), 1)
    refused = make_dead_letter(queue, entry, "rejected", 1000.0, ROOM, RABBITMQ_3)
    assert refused.headers["x-death"][0]["count"] == 0x7FFFFFFFFFFFFFFF


@pytest.mark.parametrize("count", [-(2**63), 2**63 - 1])
def test_sum_of_forged_counts_has_an_end(vhost: VirtualHost, count: int) -> None:
    """Clients may write several entries for one queue and reason, which become one."""
    queue = full(vhost, "q", "dead")
    death = {"queue": "other", "reason": "rejected", "count": count}
    properties = encode_properties(BasicProperties(headers={"x-death": [death, death]}))
    entry = new_entry(new_message("", "q", properties, b""), 1)
    deaths = make_dead_letter(queue, entry, "rejected", 1000.0, ROOM, RABBITMQ_3).headers["x-death"]
    assert [one["count"] for one in deaths] == [1, count]


@pytest.mark.parametrize(
    "headers", [sized(b""), UNREADABLE, FULL, NEARLY_FULL], ids=["empty", "unreadable", "full", "nearly full"]
)
def test_full_queues_that_overflow_into_each_other(vhost: VirtualHost, headers: bytes) -> None:
    length = 2000 if len(headers) < 100 else 5
    first, second = full(vhost, "first", "second", length), full(vhost, "second", "first", length)
    for _ in range(length):
        first.enqueue(with_headers(headers))
        second.enqueue(with_headers(headers))
    first.enqueue(with_headers(headers))
    assert (len(first), len(second)) == (length, length)
    assert (first.purge(), second.purge(), vhost.memory.bytes) == (length, length, 0)


def test_expired_message_whose_headers_do_not_decode_stays_where_it_goes(vhost: VirtualHost) -> None:
    """Its expiration has done its work: the dead letter must not expire by it once more."""
    dead = declare(vhost, "dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    queue = vhost.declare_queue(QueueDeclaration("q", arguments=arguments), owner=None)
    queue.enqueue(with_headers(UNREADABLE, expiration=b"0"))
    queue.on_time(1000.0)
    assert (len(queue), len(dead)) == (0, 1)
    dead.on_time(2000.0)
    letter = dead.get(no_ack=True)
    assert letter is not None
    assert letter.message.properties == with_headers(UNREADABLE).properties


def test_unreadable_message_in_a_circle_of_queues_ends(vhost: VirtualHost) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-message-ttl": 0}
    for name, target in (("a", "b"), ("b", "c"), ("c", "a")):
        declared = {**arguments, "x-dead-letter-routing-key": target}
        vhost.declare_queue(QueueDeclaration(name, arguments=declared), owner=None)
    vhost.queues["a"].enqueue(with_headers(UNREADABLE))
    for name in ("a", "b", "c", "a"):
        vhost.queues[name].on_time(1000.0)
    assert [len(vhost.queues[name]) for name in "abc"] == [0, 0, 0]
    assert vhost.memory.bytes == 0


def test_unreadable_message_that_was_rejected_may_go_round_again(vhost: VirtualHost) -> None:
    first, second = full(vhost, "first", "second"), full(vhost, "second", "first")
    first.enqueue(with_headers(UNREADABLE))
    for queue in (first, second, first):
        refuse_one(queue)
    assert len(second) == 1


def test_reject_publish_dlx_of_two_full_queues(vhost: VirtualHost) -> None:
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": ""}
    for name, target in (("a", "b"), ("b", "a")):
        declared = {**arguments, "x-dead-letter-routing-key": target}
        vhost.declare_queue(QueueDeclaration(name, arguments=declared), owner=None)
    assert not vhost.queues["a"].enqueue(message())
    assert vhost.memory.bytes == 0


def test_circle_through_a_queue_whose_name_is_not_utf_8(vhost: VirtualHost) -> None:
    name = b"\xff".decode("utf-8", "surrogateescape")
    arguments = {"x-dead-letter-exchange": "d", "x-message-ttl": 0}
    vhost.declare_exchange(ExchangeDeclaration("d", "fanout"))
    queue = vhost.declare_queue(QueueDeclaration(name, arguments=arguments), owner=None)
    vhost.bind("d", queue, "", {})
    queue.enqueue(message())
    queue.on_time(1000.0)
    assert len(queue) == 0


def test_what_a_dead_letter_fails_by_is_logged_and_nobody_elses_matter(
    vhost: VirtualHost, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = QueueArguments(max_length=0, dead_letter_exchange="", dead_letter_routing_key="k" * 256)
    queue = Queue(vhost, "q", arguments=arguments)
    assert queue.enqueue(message())
    assert (len(queue), vhost.memory.bytes) == (0, 0)
    assert "message that left the queue q (maxlen) is lost" in caplog.text


def letter(profile: Profile, reason: str, returns: int = 0, **headers: Any) -> BrokerMessage:
    """Make the dead letter of a message with these headers."""
    queue = full(new_vhost(profile), "q", "dead")
    properties = encode_properties(BasicProperties(headers=headers))
    published = new_message("e", "k", properties, b"")
    published.past = Past(died="x-death" in headers)
    entry = new_entry(published, 1)
    entry.returns = entry.acquisitions = returns
    return make_dead_letter(queue, entry, reason, 1000.0, ROOM, profile)


@pytest.mark.parametrize(
    ("reason", "returns", "failures"),
    [("rejected", 3, 4), ("delivery_limit", 3, 3), ("expired", 3, 3), ("maxlen", 3, 3), ("expired", 0, 0)],
)
def test_mark_of_a_dead_letter(reason: str, returns: int, failures: int) -> None:
    """RabbitMQ 4 tells the next consumer that deliveries have failed, and goes on counting."""
    marked = failures > 0
    new = letter(RABBITMQ_4, reason, returns=returns)
    assert (new.past.was_delivered, new.past.failures) == (marked, failures)
    entry = new_entry(new, 1)
    assert (entry.redelivered, entry.returns, entry.acquisitions) == (marked, failures, 0)
    old = letter(RABBITMQ_3, reason, returns=returns)
    assert (old.past.was_delivered, old.past.failures) == (False, 0)


def test_last_death() -> None:
    """The first death stays; the last one is always the new one."""
    before: dict[str, Any] = {
        f"x-{which}-death-{what}": "before" for which in ("first", "last") for what in ("reason", "queue")
    }
    before["x-death"] = []
    new, old = (letter(profile, "expired", **before).headers for profile in (RABBITMQ_4, RABBITMQ_3))
    assert [new[f"x-last-death-{what}"] for what in ("reason", "queue", "exchange")] == ["expired", "q", "e"]
    assert new["x-first-death-queue"] == "before"
    assert [name for name in old if name.startswith("x-last")] == [
        "x-last-death-reason",
        "x-last-death-queue",
    ]
    assert old["x-last-death-queue"] == "before"


@pytest.mark.parametrize(("profile", "kept"), [(RABBITMQ_3, []), (RABBITMQ_4, ["CC"])])
def test_further_keys_of_a_dead_letter_with_a_new_key(profile: Profile, kept: list[str]) -> None:
    headers = letter(profile, "rejected", CC=["a"], BCC=["b"]).headers
    assert [name for name in ("CC", "BCC") if name in headers] == kept


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_further_keys_of_a_dead_letter_with_its_own_key(profile: Profile) -> None:
    queue = Queue(new_vhost(profile), "q", arguments=QueueArguments(dead_letter_exchange="d"))
    properties = encode_properties(BasicProperties(headers={"CC": ["a"], "BCC": ["b"]}))
    entry = new_entry(new_message("e", "k", properties, b""), 1)
    dead = make_dead_letter(queue, entry, "rejected", 1000.0, ROOM, profile)
    assert (dead.headers["CC"], "BCC" in dead.headers, dead.routing_key) == (["a"], False, "k")


@pytest.mark.parametrize(
    ("deaths", "expected"),
    [
        ([], False),
        ([{"queue": "q", "reason": "expired"}], True),
        ([{"queue": "other", "reason": "maxlen"}], False),
        ([{"queue": "other", "reason": "maxlen"}, {"queue": "q", "reason": "expired"}], True),
        # A consumer has seen the message since, so it does not go round by itself.
        ([{"queue": "q", "reason": "rejected"}], False),
        ([{"queue": "other", "reason": "rejected"}, {"queue": "q", "reason": "expired"}], False),
    ],
)
def test_dead_letter_that_comes_back_to_its_queue(deaths: list[dict[str, str]], expected: bool) -> None:
    properties = encode_properties(BasicProperties(headers={"x-death": deaths}))
    queue = declare(new_vhost(), "q")
    assert is_cycle(new_message("", "q", properties, b""), queue) is expected
