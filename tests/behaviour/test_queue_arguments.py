"""Queue arguments: validation and effect."""

from __future__ import annotations

import struct
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pamqp import commands
from pika.exceptions import NackError
from tests.behaviour.peer import shortstr, table
from tests.behaviour.support import Delivery, Inbox, bodies, closes, get, ready, roundtrip, send, since, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names
    from tests.support.brokers import Broker

TEN_YEARS = 315_360_000_000
QUORUM = {"x-queue-type": "quorum"}

ACCEPTED: list[dict[str, Any]] = [
    {"x-message-ttl": 0},
    {"x-message-ttl": TEN_YEARS},
    {"x-expires": 60_000},
    {"x-expires": TEN_YEARS},
    {"x-max-length": 0},
    {"x-max-length": 2**40},
    {"x-max-length-bytes": 0},
    {"x-max-length-bytes": 2**40},
    {"x-overflow": "drop-head"},
    {"x-overflow": "reject-publish"},
    {"x-overflow": "reject-publish-dlx"},
    {"x-dead-letter-exchange": ""},
    {"x-dead-letter-exchange": "behaviour.missing"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "k"},
    {"x-max-priority": 0},
    {"x-max-priority": 255},
    {"x-single-active-consumer": True},
    {"x-single-active-consumer": False},
    {"x-queue-mode": "default"},
    {"x-queue-mode": "lazy"},
    {"x-queue-type": "classic"},
    {"x-queue-version": 2},
    {"x-behaviour": 1},
    {"x-behaviour": None},
    {"x-behaviour": {"nested": ["x", 1]}},
    {"behaviour": "without prefix"},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"x-message-ttl": -1}, "{value_negative,-1}"),
    ({"x-message-ttl": "5"}, "expected integer, got longstr"),
    ({"x-message-ttl": True}, "expected integer, got bool"),
    ({"x-message-ttl": None}, "expected integer, got void"),
    ({"x-message-ttl": [1]}, "expected integer, got array"),
    ({"x-message-ttl": TEN_YEARS + 1}, f"{{value_too_large,{TEN_YEARS + 1}}}"),
    ({"x-expires": 0}, "{value_zero,0}"),
    ({"x-expires": -1}, "{value_negative,-1}"),
    ({"x-expires": "5"}, "expected integer, got longstr"),
    ({"x-expires": TEN_YEARS + 1}, f"{{value_too_large,{TEN_YEARS + 1}}}"),
    ({"x-max-length": -1}, "{value_negative,-1}"),
    ({"x-max-length": "5"}, "expected integer, got longstr"),
    ({"x-max-length-bytes": -1}, "{value_negative,-1}"),
    ({"x-max-length-bytes": "5"}, "expected integer, got longstr"),
    ({"x-overflow": "foo"}, "invalid_overflow"),
    ({"x-overflow": ""}, "invalid_overflow"),
    ({"x-overflow": 5}, "{unacceptable_type,signedint}"),
    ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 5}, "{unacceptable_type,signedint}"),
    ({"x-dead-letter-routing-key": "k"}, "routing_key_but_no_dlx_defined"),
    ({"x-max-priority": 256}, "{max_value_exceeded,256}"),
    ({"x-max-priority": -1}, "{value_negative,-1}"),
    ({"x-max-priority": "5"}, "expected integer, got longstr"),
    ({"x-single-active-consumer": "true"}, "{unacceptable_type,longstr}"),
    ({"x-single-active-consumer": 1}, "{unacceptable_type,signedint}"),
    ({"x-queue-type": "foo"}, "unsupported queue type 'foo'"),
    ({"x-queue-type": 5}, "{unacceptable_type,signedint}"),
    ({"x-queue-version": 3}, "unsupported queue version '3'"),
    ({"x-queue-version": "1"}, "expected integer, got longstr"),
]

ACCEPTED_UNTIL_4_3: list[tuple[dict[str, Any], str]] = [
    ({"x-queue-version": 1}, ": \"unsupported queue version '1'\""),
    ({"x-consumer-timeout": 5000}, " of queue type rabbit_classic_queue"),
]

REFUSED_UNTIL_4_3: list[tuple[dict[str, Any], str]] = [
    ({"x-queue-mode": "foo"}, "unsupported queue mode 'foo'"),
    ({"x-queue-mode": 5}, "{unacceptable_type,signedint}"),
    ({"x-queue-type": ""}, "unsupported queue type ''"),
]

REDECLARED: list[tuple[str, Any, Any]] = [
    ("x-message-ttl", 60_000, 60_001),
    ("x-expires", 60_000, 60_001),
    ("x-max-length", 5, 6),
    ("x-max-length-bytes", 5, 6),
    ("x-overflow", "drop-head", "reject-publish"),
    ("x-dead-letter-exchange", "a", "b"),
    ("x-max-priority", 5, 6),
    ("x-queue-mode", "default", "lazy"),
    ("x-single-active-consumer", True, False),
]


def describe(value: object) -> str:
    return str(value).replace(" ", "").replace("'", "")


@pytest.mark.parametrize("arguments", ACCEPTED, ids=describe)
def test_accepted(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
    """The broker declares the queue with these arguments."""
    assert channel.queue_declare(name, arguments=arguments).method.queue == name


@pytest.mark.parametrize(("arguments", "text"), REFUSED, ids=describe)
def test_refused(channel: BlockingChannel, name: str, arguments: dict[str, Any], text: str) -> None:
    """The broker closes the channel with 406, which names argument, queue and reason."""
    argument = list(arguments)[-1]
    with closes(
        406, f"PRECONDITION_FAILED - invalid arg '{argument}' for queue '{name}' in vhost '/': "
    ) as caught:
        channel.queue_declare(name, arguments=arguments)
    assert text in caught.text


@pytest.mark.parametrize(("arguments", "text"), ACCEPTED_UNTIL_4_3, ids=describe)
def test_accepted_until_4_3(
    broker: Broker, channel: BlockingChannel, name: str, arguments: dict[str, Any], text: str
) -> None:
    """Classic queues of RabbitMQ 4.3 have one version, and no consumer timeout."""
    if broker.version < (4, 3):
        test_accepted(channel, name, arguments)
        return
    (argument,) = arguments
    with closes(406, f"invalid arg '{argument}' for queue '{name}' in vhost '/'{text}"):
        channel.queue_declare(name, arguments=arguments)


@pytest.mark.parametrize(("arguments", "text"), REFUSED_UNTIL_4_3, ids=describe)
def test_refused_until_4_3(
    broker: Broker, channel: BlockingChannel, name: str, arguments: dict[str, Any], text: str
) -> None:
    """RabbitMQ 4.3 ignores the queue mode, and takes the empty type for its default type."""
    if broker.version < (4, 3):
        test_refused(channel, name, arguments, text)
    else:
        test_accepted(channel, name, arguments)


@pytest.mark.parametrize(("value", "kind"), [(5, "signedint"), (None, "void"), (True, "bool")])
def test_dead_letter_exchange_must_be_text(
    channel: BlockingChannel, name: str, value: object, kind: str
) -> None:
    """The broker closes the channel with 406, which names the type of the value."""
    text = f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in queue '{name}' in vhost '/'"
    with closes(406, text):
        channel.queue_declare(name, arguments={"x-dead-letter-exchange": value})


@pytest.mark.parametrize(
    "argument",
    [
        "x-delivery-limit",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
        "x-dead-letter-strategy",
    ],
)
def test_quorum_arguments_on_a_classic_queue(channel: BlockingChannel, name: str, argument: str) -> None:
    """The broker takes an argument of quorum queues only where the queue is one."""
    with closes(406, f"invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type "):
        channel.queue_declare(name, arguments={argument: 5})


@pytest.mark.parametrize(("value", "reason"), [(5, "{unacceptable_type,signedint}"), ("client-local", None)])
def test_leader_locator_of_a_classic_queue(
    broker: Broker, channel: BlockingChannel, name: str, value: object, reason: str | None
) -> None:
    """RabbitMQ 4 lets classic queues, too, choose their node by it."""
    told = since(broker, (4, 0), f": {reason}" if reason else None, " of queue type ")
    refusal = closes(406, f"invalid arg 'x-queue-leader-locator' for queue '{name}' in vhost '/'{told}")
    with nullcontext() if told is None else refusal:
        channel.queue_declare(name, arguments={"x-queue-leader-locator": value})


def test_refused_declare_makes_no_queue(connection: BlockingConnection, name: str) -> None:
    """Nothing is left of a refused declare."""
    with closes(406):
        connection.channel().queue_declare(name, arguments={"x-message-ttl": -1})
    with closes(404):
        connection.channel().queue_declare(name, passive=True)


@pytest.mark.parametrize(("argument", "current", "received"), REDECLARED)
def test_redeclare_with_another_value(
    channel: BlockingChannel, name: str, argument: str, current: object, received: object
) -> None:
    """The refusal with 406 names both values."""
    channel.queue_declare(name, arguments={argument: current})
    told = [str(value).lower() if isinstance(value, bool) else value for value in (received, current)]
    text = (
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for queue '{name}' in vhost '/': "
        f"received '{told[0]}' but current is '{told[1]}'"
    )
    with closes(406, text):
        channel.queue_declare(name, arguments={argument: received})


@pytest.mark.parametrize(("argument", "value"), [(argument, value) for argument, value, _ in REDECLARED])
def test_redeclare_with_an_argument_more(
    channel: BlockingChannel, name: str, argument: str, value: object
) -> None:
    """The refusal with 406 says that there was none before."""
    channel.queue_declare(name)
    with closes(406, f"inequivalent arg '{argument}' for queue '{name}' in vhost '/': ") as caught:
        channel.queue_declare(name, arguments={argument: value})
    assert "received the value '" in caught.text
    assert caught.text.endswith("but current is none")


@pytest.mark.parametrize(("argument", "value"), [(argument, value) for argument, value, _ in REDECLARED])
def test_redeclare_with_an_argument_less(
    channel: BlockingChannel, name: str, argument: str, value: object
) -> None:
    """The refusal with 406 says that there is none now."""
    channel.queue_declare(name, arguments={argument: value})
    with closes(406, f"inequivalent arg '{argument}' for queue '{name}' in vhost '/': ") as caught:
        channel.queue_declare(name)
    assert "received none but current is the value '" in caught.text


def test_redeclare_with_another_dead_letter_key(channel: BlockingChannel, name: str) -> None:
    """Another dead-letter routing key closes the channel with 406."""
    make(channel, name, x_dead_letter_exchange="", x_dead_letter_routing_key="a")
    with closes(406, "inequivalent arg 'x-dead-letter-routing-key'"):
        make(channel, name, x_dead_letter_exchange="", x_dead_letter_routing_key="b")


def test_redeclare_with_another_type(channel: BlockingChannel, name: str) -> None:
    """Another queue type closes the channel with 406."""
    channel.queue_declare(name, durable=True)
    with closes(406, "inequivalent arg 'x-queue-type'"):
        channel.queue_declare(name, durable=True, arguments=QUORUM)


def test_classic_is_the_default_type(channel: BlockingChannel, name: str) -> None:
    """A redeclare that names the default type changes nothing."""
    channel.queue_declare(name)
    channel.queue_declare(name, arguments={"x-queue-type": "classic"})


@pytest.mark.parametrize("second", [{}, {"x-behaviour": 2}, {"x-other": "y"}])
def test_redeclare_differs_in_unknown_arguments(
    channel: BlockingChannel, name: str, second: dict[str, Any]
) -> None:
    """The broker does not compare arguments that it does not know."""
    channel.queue_declare(name, arguments={"x-behaviour": 1})
    channel.queue_declare(name, arguments=second)


@pytest.mark.parametrize(
    "encoded",
    [b"l" + struct.pack(">q", 100), b"b\x64", b"s" + struct.pack(">h", 100), b"B\x64", b"i\x00\x00\x00\x64"],
    ids=["l", "b", "s", "B", "i"],
)
def test_integer_widths_are_equal(peer: Peer, name: str, encoded: bytes) -> None:
    """Integers of different width but equal value are equal."""
    declare = commands.Queue.Declare(queue=name, arguments={"x-max-length": 100})
    peer.call(declare, commands.Queue.DeclareOk)
    arguments = table((b"x-max-length", encoded))
    peer.send_fields((50, 10), b"\x00\x00" + shortstr(name) + b"\x00" + arguments)
    peer.expect(commands.Queue.DeclareOk)


# --- x-message-ttl, expiration


def make(channel: BlockingChannel, queue: str, **arguments: Any) -> str:
    """Declare a queue; x_max_length=3 stands for the argument x-max-length."""
    channel.queue_declare(queue, arguments={key.replace("_", "-"): value for key, value in arguments.items()})
    return queue


@pytest.mark.parametrize(
    ("queue_ttl", "expiration"),
    [(20, None), (20, "600000"), (600_000, "20"), (None, "20"), (20, "20"), (0, None), (None, "0")],
)
def test_message_expires(
    confirming: BlockingChannel, name: str, queue_ttl: int | None, expiration: str | None
) -> None:
    """The smaller of the queue's x-message-ttl and the message's expiration counts."""
    make(confirming, name, **({} if queue_ttl is None else {"x_message_ttl": queue_ttl}))
    send(confirming, name, b"x", expiration=expiration)
    eventually(lambda: ready(confirming, name) == 0)
    assert bodies(confirming, name) == []


def test_message_with_time_left_stays(confirming: BlockingChannel, name: str) -> None:
    """While one message expires, another with more time stays."""
    make(confirming, name, x_message_ttl=600_000)
    send(confirming, name, b"short", expiration="20")
    send(confirming, name, b"long", expiration="500000")
    eventually(lambda: ready(confirming, name) == 1)
    assert bodies(confirming, name) == [b"long"]


@pytest.mark.parametrize("expired", [{"x_message_ttl": 0}, {}])
def test_ttl_zero_delivers_to_a_ready_consumer(
    channel: BlockingChannel, name: str, expired: dict[str, int]
) -> None:
    """Time to live 0 means: deliver at once, or expire."""
    make(channel, name, **expired)
    inbox = Inbox.on(channel, name, auto_ack=True)
    send(channel, name, b"x", expiration=None if expired else "0")
    inbox.wait(1)
    assert inbox.bodies == [b"x"]


def test_expired_message_behind_a_live_head_stays_counted(
    confirming: BlockingChannel, queue: str, names: Names
) -> None:
    """The message counts until it reaches the head; the broker never delivers it."""
    clock = names("clock")
    confirming.queue_declare(clock)
    send(confirming, queue, b"head")
    for one in (queue, clock):
        send(confirming, one, b"late", expiration="20")
    eventually(lambda: ready(confirming, clock) == 0)
    assert ready(confirming, queue) == 2
    assert bodies(confirming, queue) == [b"head"]


def test_delivered_message_does_not_expire(confirming: BlockingChannel, queue: str, names: Names) -> None:
    """Only ready messages expire: a message that is out does when it comes back."""
    clock = names("clock")
    confirming.queue_declare(clock)
    send(confirming, queue, b"out", expiration="500")
    message = get(confirming, queue)
    assert message
    send(confirming, clock, b"late", expiration="500")
    eventually(lambda: ready(confirming, clock) == 0)
    confirming.basic_nack(message.tag)
    roundtrip(confirming)
    assert bodies(confirming, queue) == []


def test_expiration_is_kept_as_a_property(channel: BlockingChannel, queue: str) -> None:
    """Receivers see the expiration that the publisher set."""
    send(channel, queue, b"x", expiration="60000")
    assert take(channel, queue).properties.expiration == "60000"


@pytest.mark.parametrize(
    ("expiration", "reason"),
    [
        ("abc", "no_integer"),
        (" 1", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", "leftover_string"),
        ("5x", "leftover_string"),
        ("1 ", "leftover_string"),
        (str(TEN_YEARS + 1), "value_too_large"),
        ("9" * 30, "value_too_large"),
    ],
)
def test_bad_expiration(channel: BlockingChannel, queue: str, expiration: str, reason: str) -> None:
    """An expiration that is not a text of digits, or too large, closes the channel with 406."""
    send(channel, queue, b"x", expiration=expiration)
    with closes(406, f"invalid expiration '{expiration}': ") as caught:
        roundtrip(channel)
    assert reason in caught.text


@pytest.mark.parametrize("expiration", ["00", "0060000", str(TEN_YEARS)])
def test_good_expiration(channel: BlockingChannel, queue: str, expiration: str) -> None:
    """An expiration may begin with zeros, and reach ten years."""
    send(channel, queue, b"x", expiration=expiration)
    roundtrip(channel)


# --- x-expires


def test_unused_queue_expires(confirming: BlockingChannel, gone: Callable[[str], bool], name: str) -> None:
    """An unused queue goes after its x-expires, with its messages."""
    make(confirming, name, x_expires=50)
    eventually(lambda: gone(name))


def test_queue_with_a_consumer_does_not_expire(
    channel: BlockingChannel, gone: Callable[[str], bool], names: Names
) -> None:
    """A consumer counts as use; the time begins when it leaves."""
    used, unused = names("used"), names("unused")
    make(channel, used, x_expires=1000)
    inbox = Inbox.on(channel, used)
    make(channel, unused, x_expires=1000)
    eventually(lambda: gone(unused))
    assert not gone(used)
    channel.basic_cancel(inbox.tag)
    eventually(lambda: gone(used))


@pytest.mark.parametrize("use", ["get", "redeclare"])
def test_use_prolongs_the_life_of_a_queue(
    channel: BlockingChannel, gone: Callable[[str], bool], names: Names, use: str
) -> None:
    """A get and a redeclare count as use: the time begins anew."""
    used, unused = names("used"), names("unused")
    make(channel, used, x_expires=2000)
    make(channel, unused, x_expires=2000)

    def unused_gone() -> bool:
        if use == "get":
            channel.basic_get(used, auto_ack=True)
        else:
            make(channel, used, x_expires=2000)
        return gone(unused)

    eventually(unused_gone)
    assert not gone(used)


def test_expired_queue_does_not_dead_letter(
    confirming: BlockingChannel, gone: Callable[[str], bool], queue: str, names: Names
) -> None:
    """A queue that goes takes its messages along."""
    name = names("expiring")
    make(confirming, name, x_expires=50, x_dead_letter_exchange="", x_dead_letter_routing_key=queue)
    send(confirming, name, b"lost")
    eventually(lambda: gone(name))
    assert ready(confirming, queue) == 0


# --- x-max-length, x-max-length-bytes, x-overflow


@pytest.mark.parametrize(
    ("arguments", "sent", "kept"),
    [
        ({"x_max_length": 3}, "a b c d e", "c d e"),
        ({"x_max_length": 1}, "a b c", "c"),
        ({"x_max_length": 0}, "a b", ""),
        ({"x_max_length": 3}, "a b", "a b"),
        ({"x_max_length_bytes": 10}, "aaaa bbbb cccc", "bbbb cccc"),
        ({"x_max_length_bytes": 10}, "aaaa bbbb cccccccccc", "cccccccccc"),
        ({"x_max_length_bytes": 3}, "aaaa", ""),
        ({"x_max_length_bytes": 3}, "aa bbbb c", "c"),
        ({"x_max_length_bytes": 0}, "a", ""),
        ({"x_max_length": 2, "x_max_length_bytes": 100}, "a b c", "b c"),
        ({"x_max_length": 100, "x_max_length_bytes": 2}, "a b c", "b c"),
        ({"x_max_length": 2, "x_overflow": "drop-head"}, "a b c", "b c"),
        ({"x_max_length": 2, "x_overflow": "reject-publish"}, "a b c d", "a b"),
        ({"x_max_length": 2, "x_overflow": "reject-publish-dlx"}, "a b c d", "a b"),
        ({"x_max_length": 0, "x_overflow": "reject-publish"}, "a", ""),
        ({"x_max_length_bytes": 8, "x_overflow": "reject-publish"}, "aaaa bbbb c", "aaaa bbbb"),
    ],
    ids=describe,
)
def test_overflow(
    channel: BlockingChannel, name: str, arguments: dict[str, Any], sent: str, kept: str
) -> None:
    """A full queue drops its head, or refuses new messages when x-overflow says so."""
    make(channel, name, **arguments)
    send(channel, name, *sent.split())
    assert bodies(channel, name) == kept.encode().split()


def test_max_length_counts_ready_messages_only(channel: BlockingChannel, name: str) -> None:
    """Unacknowledged messages do not count towards x-max-length."""
    make(channel, name, x_max_length=2)
    send(channel, name, b"a", b"b")
    take(channel, name)
    take(channel, name)
    send(channel, name, b"c", b"d")
    assert bodies(channel, name) == [b"c", b"d"]


def test_requeue_obeys_max_length(channel: BlockingChannel, name: str) -> None:
    """A message that comes back to a full queue is its head, and the broker drops it."""
    make(channel, name, x_max_length=1)
    send(channel, name, b"a")
    held = take(channel, name)
    send(channel, name, b"b")
    channel.basic_nack(held.tag)
    assert bodies(channel, name) == [b"b"]


def test_full_queue_delivers_to_a_consumer(channel: BlockingChannel, name: str) -> None:
    """What a consumer takes at once needs no room, even with x-max-length 0."""
    make(channel, name, x_max_length=0)
    inbox = Inbox.on(channel, name, auto_ack=True)
    send(channel, name, b"a", b"b")
    inbox.wait(2)
    assert inbox.bodies == [b"a", b"b"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_rejected_publish_is_nacked(confirming: BlockingChannel, name: str, overflow: str) -> None:
    """In confirm mode the broker nacks what a full queue does not take."""
    make(confirming, name, x_max_length=1, x_overflow=overflow)
    send(confirming, name, b"kept")
    with pytest.raises(NackError):
        send(confirming, name, b"rejected")
    assert bodies(confirming, name) == [b"kept"]


def test_dropped_head_is_acked(confirming: BlockingChannel, name: str) -> None:
    """The broker acks the new message although the old head goes for it."""
    make(confirming, name, x_max_length=1)
    send(confirming, name, b"dropped", b"kept")
    assert bodies(confirming, name) == [b"kept"]


def test_room_is_used_again(confirming: BlockingChannel, name: str) -> None:
    """After a get there is room again."""
    make(confirming, name, x_max_length=1, x_overflow="reject-publish")
    send(confirming, name, b"a")
    assert bodies(confirming, name) == [b"a"]
    send(confirming, name, b"b")
    assert bodies(confirming, name) == [b"b"]


def test_nack_if_one_of_several_queues_rejects(confirming: BlockingChannel, queue: str, names: Names) -> None:
    """The other queue keeps its copy."""
    full, exchange = names("full"), names("exchange")
    make(confirming, full, x_max_length=0, x_overflow="reject-publish")
    confirming.exchange_declare(exchange, "fanout")
    for bound in (queue, full):
        confirming.queue_bind(bound, exchange)
    with pytest.raises(NackError):
        confirming.basic_publish(exchange, "", b"x")
    assert bodies(confirming, queue) == [b"x"]


# --- x-max-priority


def send_priorities(channel: BlockingChannel, queue: str, priorities: list[int | None]) -> None:
    """Publish one message for each priority; the body tells priority and position."""
    for position, priority in enumerate(priorities):
        send(channel, queue, f"{priority}/{position}", priority=priority)


@pytest.mark.parametrize(
    ("maximum", "priorities", "order"),
    [
        (9, [1, 5, 9, 5, 1], [2, 1, 3, 0, 4]),
        (9, [None, 0, 1, None], [2, 0, 1, 3]),
        (5, [5, 200, 6, 4], [0, 1, 2, 3]),
        (1, [0, 1, 2, 3, 0], [1, 2, 3, 0, 4]),
        (255, [254, 255, 0], [1, 0, 2]),
        (0, [3, 1, 2], [0, 1, 2]),
        (None, [3, 1, 9, None], [0, 1, 2, 3]),
    ],
)
def test_priority_order(
    channel: BlockingChannel,
    name: str,
    maximum: int | None,
    priorities: list[int | None],
    order: list[int],
) -> None:
    """Higher goes first, and older within a level; none is 0, and the maximum caps what is above."""
    make(channel, name, **({} if maximum is None else {"x_max_priority": maximum}))
    send_priorities(channel, name, priorities)
    assert bodies(channel, name) == [f"{priorities[at]}/{at}".encode() for at in order]


def test_priority_order_for_a_consumer(confirming: BlockingChannel, name: str) -> None:
    """A consumer gets higher priorities first."""
    make(confirming, name, x_max_priority=9)
    send_priorities(confirming, name, [1, 9, 5])
    inbox = Inbox.on(confirming, name, auto_ack=True)
    inbox.wait(3)
    assert inbox.bodies == [b"9/1", b"5/2", b"1/0"]


def test_requeue_keeps_its_place_in_the_level(channel: BlockingChannel, name: str) -> None:
    """A requeued message goes back by the original order, inside its level."""
    make(channel, name, x_max_priority=9)
    send_priorities(channel, name, [5, 5, 9])
    held = [take(channel, name) for _ in range(2)]
    for message in held:
        channel.basic_nack(message.tag)
    assert bodies(channel, name) == [b"9/2", b"5/0", b"5/1"]


def test_priority_property_is_not_changed(channel: BlockingChannel, name: str) -> None:
    """The maximum caps the priority for the order, not in the message."""
    make(channel, name, x_max_priority=5)
    send(channel, name, b"x", priority=200)
    assert take(channel, name).properties.priority == 200


def test_ready_counts_all_priorities(confirming: BlockingChannel, name: str) -> None:
    """Declare-ok and purge count the messages of all levels."""
    make(confirming, name, x_max_priority=9)
    send_priorities(confirming, name, [1, 9, None])
    assert ready(confirming, name) == 3
    assert confirming.queue_purge(name).method.message_count == 3


# --- x-single-active-consumer


def test_single_active_consumer(confirming: BlockingChannel, name: str) -> None:
    """The first consumer gets all messages; the next takes over when it leaves."""
    make(confirming, name, x_single_active_consumer=True)
    log: list[Delivery] = []
    first = Inbox.on(confirming, name, log, consumer_tag="first", auto_ack=True)
    second = Inbox.on(confirming, name, log, consumer_tag="second", auto_ack=True)
    send(confirming, name, b"a", b"b")
    first.wait(2)
    confirming.basic_cancel(first.tag)
    send(confirming, name, b"c")
    second.wait(3)
    assert [delivery.consumer for delivery in log] == ["first", "first", "second"]


def test_exclusive_consume_with_single_active_consumer(channel: BlockingChannel, name: str) -> None:
    """The broker refuses an exclusive consumer of such a queue with 403."""
    make(channel, name, x_single_active_consumer=True)
    with closes(403):
        Inbox.on(channel, name, exclusive=True)


def test_counts_are_64_bit_integers(
    broker: Broker, channel: BlockingChannel, names: Names, peer: Peer
) -> None:
    """Clients in Go and Java cast counts to that type, also in entries of former deaths.

    RabbitMQ 4.3 counts a message's deaths among its deliveries, and goes on counting in the next queue.
    """
    limited, other = names("limited"), names("other")
    dying = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
    channel.queue_declare(limited, durable=True, arguments={**QUORUM, **dying})
    make(channel, other, x_dead_letter_exchange="", x_dead_letter_routing_key=limited)
    send(channel, limited, b"x", delivery_mode=2)
    for queue in (limited, other):
        reject(channel, queue)
    channel.basic_reject(take(channel, limited).tag)
    properties = peer.get(limited).property_bytes
    # Each name, the tag of the type, and the number.
    assert properties.count(shortstr("count") + b"l" + struct.pack(">q", 1)) == 2
    deliveries = since(broker, (4, 3), 3, 1)
    assert shortstr("x-delivery-count") + b"l" + struct.pack(">q", deliveries) in properties


def test_headers_of_others_keep_their_types(channel: BlockingChannel, names: Names, peer: Peer) -> None:
    """What the broker adds to a message changes no other header."""
    limited, dying = names("limited"), names("dying")
    channel.queue_declare(limited, durable=True, arguments=QUORUM)
    make(channel, dying, x_dead_letter_exchange="", x_dead_letter_routing_key=limited)
    headers = [
        shortstr("long") + b"l\0\0\0\0\0\0\0\7",
        shortstr("byte") + b"b\7",
        shortstr("short") + b"s\0\7",
        shortstr("float") + b"f\x3f\x80\0\0",
        shortstr("list") + b"A\0\0\0\2b\7",
    ]
    table_bytes = struct.pack(">I", sum(map(len, headers))) + b"".join(headers)
    peer.publish(b"x", routing_key=dying, property_bytes=b"\x20\x00" + table_bytes)
    reject(channel, dying)
    channel.basic_reject(take(channel, limited).tag)
    properties = peer.get(limited).property_bytes
    assert [header for header in headers if header not in properties] == []
    assert shortstr("x-death") in properties
    assert shortstr("x-delivery-count") in properties


# --- dead-lettering


@pytest.fixture
def dead(channel: BlockingChannel, names: Names) -> str:
    """A queue behind a fanout exchange of the same name."""
    made = names("dead")
    channel.queue_declare(made)
    channel.exchange_declare(made, "fanout")
    channel.queue_bind(made, made)
    return made


def reject(channel: BlockingChannel, queue: str) -> None:
    channel.basic_reject(take(channel, queue).tag, requeue=False)


@pytest.mark.parametrize("how", ["reject", "nack", "nack multiple"])
def test_rejected_message_is_dead_lettered(channel: BlockingChannel, name: str, dead: str, how: str) -> None:
    """A reject or nack without requeue dead-letters the message for the reason rejected."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x")
    tag = take(channel, name).tag
    if how == "reject":
        channel.basic_reject(tag, requeue=False)
    else:
        channel.basic_nack(tag, multiple=how == "nack multiple", requeue=False)
    message = take(channel, dead)
    assert message.body == b"x"
    assert [death["reason"] for death in message.headers["x-death"]] == ["rejected"]


@pytest.mark.parametrize("expiration", [None, "20"])
def test_expired_message_is_dead_lettered(
    channel: BlockingChannel, name: str, dead: str, expiration: str | None
) -> None:
    """The end of its time dead-letters the message for the reason expired."""
    make(channel, name, x_dead_letter_exchange=dead, x_message_ttl=600_000 if expiration else 20)
    send(channel, name, b"x", expiration=expiration)
    assert take(channel, dead).headers["x-death"][0]["reason"] == "expired"


@pytest.mark.parametrize(
    ("overflow", "gone"), [("drop-head", b"a"), ("reject-publish-dlx", b"b"), ("reject-publish", None)]
)
def test_overflow_is_dead_lettered(
    channel: BlockingChannel, name: str, dead: str, overflow: str, gone: bytes | None
) -> None:
    """The reason is maxlen; with reject-publish the broker dead-letters nothing."""
    make(channel, name, x_dead_letter_exchange=dead, x_max_length=1, x_overflow=overflow)
    send(channel, name, b"a", b"b")
    assert bodies(channel, name) == [b"a" if gone != b"a" else b"b"]
    if gone is None:
        assert ready(channel, dead) == 0
        return
    message = take(channel, dead)
    assert (message.body, message.headers["x-death"][0]["reason"]) == (gone, "maxlen")


def test_acked_and_requeued_messages_are_not_dead_lettered(
    channel: BlockingChannel, name: str, dead: str
) -> None:
    """Ack, requeue, purge and delete are no reasons."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"acked", b"requeued", b"purged")
    channel.basic_ack(take(channel, name).tag)
    channel.basic_nack(take(channel, name).tag)
    channel.queue_purge(name)
    send(channel, name, b"deleted")
    channel.queue_delete(name)
    assert ready(channel, dead) == 0


def test_death_entry(channel: BlockingChannel, name: str, dead: str) -> None:
    """The broker fills all fields of an x-death entry."""
    make(channel, name, x_dead_letter_exchange=dead)
    channel.queue_bind(name, "amq.direct", name + ".key")
    before = int(time.time())
    channel.basic_publish("amq.direct", name + ".key", b"x")
    reject(channel, name)
    (death,) = take(channel, dead).headers["x-death"]
    died = death.pop("time").timestamp()
    assert death == {
        "count": 1,
        "reason": "rejected",
        "queue": name,
        "exchange": "amq.direct",
        "routing-keys": [name + ".key"],
    }
    assert before - 2 <= died <= time.time() + 2


def test_first_death_headers(channel: BlockingChannel, name: str, dead: str) -> None:
    """The x-first-death headers tell exchange, queue and reason of the first death."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x")
    reject(channel, name)
    headers = take(channel, dead).headers
    assert headers["x-first-death-exchange"] == ""
    assert headers["x-first-death-queue"] == name
    assert headers["x-first-death-reason"] == "rejected"


def test_other_headers_and_properties_are_kept(channel: BlockingChannel, name: str, dead: str) -> None:
    """The message is otherwise the same."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", headers={"own": 1}, message_id="id", delivery_mode=2, priority=3, type="t")
    reject(channel, name)
    message = take(channel, dead)
    properties = message.properties
    assert message.headers["own"] == 1
    assert (properties.message_id, properties.delivery_mode) == ("id", 2)
    assert (properties.priority, properties.type) == (3, "t")


def test_original_expiration(channel: BlockingChannel, name: str, dead: str) -> None:
    """The broker moves the expiration property into the entry."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", expiration="20")
    message = take(channel, dead)
    assert message.headers["x-death"][0]["original-expiration"] == "20"
    assert message.properties.expiration is None


def test_original_expiration_of_a_rejected_message(channel: BlockingChannel, name: str, dead: str) -> None:
    """The broker moves the expiration also when the message did not expire."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", expiration="600000")
    reject(channel, name)
    message = take(channel, dead)
    assert message.headers["x-death"][0]["original-expiration"] == "600000"
    assert message.properties.expiration is None


def test_dead_letter_keeps_exchange_and_key(channel: BlockingChannel, name: str, dead: str) -> None:
    """The dead letter names the dead-letter exchange and the original key."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x")
    reject(channel, name)
    message = take(channel, dead)
    assert (message.exchange, message.routing_key) == (dead, name)


def test_dead_letter_with_a_configured_key(channel: BlockingChannel, name: str, dead: str) -> None:
    """The dead letter has the configured key, and the entry tells the original."""
    make(channel, name, x_dead_letter_exchange=dead, x_dead_letter_routing_key="configured")
    send(channel, name, b"x")
    reject(channel, name)
    message = take(channel, dead)
    assert message.routing_key == "configured"
    assert message.headers["x-death"][0]["routing-keys"] == [name]


def test_dead_letter_through_the_default_exchange(channel: BlockingChannel, name: str, dead: str) -> None:
    """The default exchange and a key lead directly to a queue."""
    make(channel, name, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    send(channel, name, b"x")
    reject(channel, name)
    assert take(channel, dead).body == b"x"


def test_dead_letter_is_not_redelivered(
    broker: Broker, channel: BlockingChannel, name: str, dead: str
) -> None:
    """The redelivered flag is false again; in RabbitMQ 4.3 it is true after a rejection."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x")
    channel.basic_nack(take(channel, name).tag)
    reject(channel, name)
    assert take(channel, dead).redelivered is since(broker, (4, 3), True, False)


def test_expired_dead_letter_is_not_redelivered(channel: BlockingChannel, name: str, dead: str) -> None:
    """The redelivered flag is false again."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", expiration="500")
    channel.basic_nack(take(channel, name).tag)
    assert take(channel, dead).redelivered is False


def test_dead_letter_to_a_missing_exchange_vanishes(
    channel: BlockingChannel, name: str, names: Names
) -> None:
    """The dead-letter exchange need not exist; declared later, it works."""
    late = names("late")
    make(channel, name, x_dead_letter_exchange=late)
    send(channel, name, b"lost", b"found")
    reject(channel, name)
    roundtrip(channel)
    channel.queue_declare(late)
    channel.exchange_declare(late, "fanout")
    channel.queue_bind(late, late)
    reject(channel, name)
    assert take(channel, late).body == b"found"


def test_unroutable_dead_letter_vanishes(confirming: BlockingChannel, name: str) -> None:
    """The publisher's mandatory and confirms do not concern the dead letter."""
    make(confirming, name, x_dead_letter_exchange="amq.direct", x_dead_letter_routing_key=name + ".none")
    confirming.basic_publish("", name, b"x", mandatory=True)
    reject(confirming, name)
    roundtrip(confirming)
    assert bodies(confirming, name) == []


def test_dead_letter_is_copied_to_several_queues(
    channel: BlockingChannel, name: str, dead: str, queue: str, names: Names
) -> None:
    """The dead-letter exchange routes like any other."""
    origin = names("origin")
    channel.queue_bind(queue, dead)
    make(channel, origin, x_dead_letter_exchange=dead)
    send(channel, origin, b"x")
    reject(channel, origin)
    assert [take(channel, one).body for one in (dead, queue)] == [b"x", b"x"]


def test_dead_letters_keep_their_order(channel: BlockingChannel, name: str, dead: str) -> None:
    """Messages keep their order from one queue to the other."""
    make(channel, name, x_dead_letter_exchange=dead, x_message_ttl=20)
    sent = [str(number).encode() for number in range(20)]
    send(channel, name, *sent)
    assert [take(channel, dead, auto_ack=True).body for _ in sent] == sent


def test_same_death_counts_up(channel: BlockingChannel, name: str) -> None:
    """There is one entry for each queue and reason, which counts."""
    make(channel, name, x_dead_letter_exchange="", x_dead_letter_routing_key=name)
    send(channel, name, b"x")
    for _ in range(3):
        reject(channel, name)
    deaths = take(channel, name).headers["x-death"]
    assert [(death["queue"], death["reason"], death["count"]) for death in deaths] == [(name, "rejected", 3)]


def test_newest_death_comes_first(channel: BlockingChannel, names: Names) -> None:
    """The newest entry comes first; one that counts up moves to the front."""
    first, second = names("first"), names("second")
    make(channel, first, x_dead_letter_exchange="", x_dead_letter_routing_key=second)
    make(channel, second, x_dead_letter_exchange="", x_dead_letter_routing_key=first)
    send(channel, first, b"x")
    for queue in (first, second, first):
        reject(channel, queue)
    message = take(channel, second)
    deaths = message.headers["x-death"]
    assert [(death["queue"], death["count"]) for death in deaths] == [(first, 2), (second, 1)]
    assert message.headers["x-first-death-queue"] == first


def test_reasons_have_their_own_entries(channel: BlockingChannel, names: Names) -> None:
    """One queue and two reasons make two entries; RabbitMQ 3.10 turns the older entries about."""
    waiting, working = names("waiting"), names("working")
    make(
        channel,
        waiting,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=working,
        x_message_ttl=1000,
    )
    make(channel, working, x_dead_letter_exchange="", x_dead_letter_routing_key=waiting)
    send(channel, waiting, b"x")
    reject(channel, waiting)
    reject(channel, working)
    deaths = [(death["queue"], death["reason"]) for death in take(channel, working).headers["x-death"]]
    assert deaths[0] == (waiting, "expired")
    assert sorted(deaths[1:]) == sorted([(working, "rejected"), (waiting, "rejected")])


def test_automatic_cycle_is_dropped(confirming: BlockingChannel, name: str, names: Names) -> None:
    """The broker drops a message that came back without any rejection."""
    make(confirming, name, x_dead_letter_exchange="", x_dead_letter_routing_key=name, x_message_ttl=20)
    send(confirming, name, b"x")
    eventually(lambda: ready(confirming, name) == 0)
    assert bodies(confirming, name) == []


def test_automatic_cycle_over_two_queues_is_dropped(confirming: BlockingChannel, names: Names) -> None:
    """Without a rejection a message comes round only once, and the broker drops it then."""
    first, second = names("first"), names("second")
    make(confirming, first, x_dead_letter_exchange="", x_dead_letter_routing_key=second, x_message_ttl=20)
    make(confirming, second, x_dead_letter_exchange="", x_dead_letter_routing_key=first, x_message_ttl=20)
    send(confirming, first, b"x")
    eventually(lambda: ready(confirming, first) + ready(confirming, second) == 0)


def test_cycle_with_a_rejection_goes_on(channel: BlockingChannel, names: Names) -> None:
    """The usual retry queue: with a rejection in the cycle the message goes on."""
    working, waiting = names("working"), names("waiting")
    make(channel, working, x_dead_letter_exchange="", x_dead_letter_routing_key=waiting)
    make(channel, waiting, x_dead_letter_exchange="", x_dead_letter_routing_key=working, x_message_ttl=20)
    send(channel, working, b"x")
    for _ in range(3):
        reject(channel, working)
    deaths = take(channel, working).headers["x-death"]
    assert {(death["queue"], death["count"]) for death in deaths} == {(working, 3), (waiting, 3)}


def test_ttl_of_the_target_queue_applies_anew(channel: BlockingChannel, names: Names) -> None:
    """A dead letter is a new message for the next queue."""
    first, second, third = names("first"), names("second"), names("third")
    channel.queue_declare(third)
    make(channel, second, x_dead_letter_exchange="", x_dead_letter_routing_key=third, x_message_ttl=20)
    make(channel, first, x_dead_letter_exchange="", x_dead_letter_routing_key=second)
    send(channel, first, b"x", expiration="20")
    deaths = take(channel, third).headers["x-death"]
    assert [death["queue"] for death in deaths] == [second, first]


@pytest.mark.parametrize("configured", [None, "configured"])
def test_dead_letter_with_cc(
    broker: Broker, channel: BlockingChannel, name: str, dead: str, configured: str | None
) -> None:
    """The routing keys include CC; with a configured key the broker removes CC, until RabbitMQ 4."""
    key = {"x_dead_letter_routing_key": configured} if configured else {}
    make(channel, name, x_dead_letter_exchange=dead, **key)
    send(channel, name, b"x", headers={"CC": ["copy"]})
    reject(channel, name)
    headers = take(channel, dead).headers
    assert headers["x-death"][0]["routing-keys"] == [name, "copy"]
    assert ("CC" in headers) is since(broker, (4, 0), True, configured is None)


def test_dead_letter_with_bcc(channel: BlockingChannel, name: str, dead: str) -> None:
    """The routing keys do not include BCC."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", headers={"BCC": ["hidden"]})
    reject(channel, name)
    headers = take(channel, dead).headers
    assert headers["x-death"][0]["routing-keys"] == [name]
    assert "BCC" not in headers


def test_forged_death_header_is_replaced(channel: BlockingChannel, name: str, dead: str) -> None:
    """What a publisher wrote into x-death does not stop dead-lettering."""
    make(channel, name, x_dead_letter_exchange=dead)
    send(channel, name, b"x", headers={"x-death": "forged"})
    reject(channel, name)
    assert take(channel, dead).headers["x-death"][0]["queue"] == name


def test_dead_letter_that_comes_back_at_once(channel: BlockingChannel, name: str) -> None:
    """A waiting consumer gets it like any new message."""
    make(channel, name, x_dead_letter_exchange="", x_dead_letter_routing_key=name)
    log: list[Delivery] = []
    inbox = Inbox.on(channel, name, log)
    send(channel, name, b"x")
    inbox.wait(1)
    channel.basic_reject(log[0].tag, requeue=False)
    inbox.wait(2)
    assert not log[1].redelivered
    assert log[1].headers["x-death"][0]["reason"] == "rejected"


def test_deaths_that_a_publisher_writes(
    broker: Broker, channel: BlockingChannel, name: str, dead: str
) -> None:
    """Since 4.0 they mean nothing: the first death replaces them. Older releases go on with their counts."""
    make(channel, name, x_dead_letter_exchange=dead)
    forged = {"count": 5, "reason": "rejected", "queue": name, "exchange": "", "routing-keys": [name]}
    send(channel, name, b"x", headers={"x-death": [forged], "x-first-death-queue": "other"})
    reject(channel, name)
    headers = take(channel, dead).headers
    told = headers["x-death"][0]["count"], headers["x-first-death-queue"]
    assert told == since(broker, (4, 0), (1, name), (6, "other"))


def test_circle_that_a_publisher_writes(
    broker: Broker, channel: BlockingChannel, name: str, dead: str
) -> None:
    """A dead letter that seems to have been in the queue before is dropped only by older releases."""
    make(channel, name, x_dead_letter_exchange=dead)
    forged = {"count": 1, "reason": "expired", "queue": dead, "exchange": "", "routing-keys": [dead]}
    send(channel, name, b"forged", headers={"x-death": [forged]}, expiration="0")
    send(channel, name, b"honest", expiration="0")
    first = since(broker, (4, 0), b"forged", b"honest")
    assert take(channel, dead).body == first


def test_dead_letter_body_is_the_same(channel: BlockingChannel, name: str, dead: str) -> None:
    """A large binary body stays as it is."""
    body = bytes(range(256)) * 1024
    make(channel, name, x_dead_letter_exchange=dead)
    channel.basic_publish("", name, body, pika.BasicProperties())
    reject(channel, name)
    assert take(channel, dead).body == body


def test_delivery_limit_may_be_anything(channel: BlockingChannel, name: str) -> None:
    """The broker does not check the limit of a quorum queue."""
    channel.queue_declare(name, durable=True, arguments={**QUORUM, "x-delivery-limit": "1"})


@pytest.mark.parametrize("condition", ["if_unused", "if_empty"])
def test_conditional_delete_of_a_quorum_queue(channel: BlockingChannel, name: str, condition: str) -> None:
    """It has no conditions: the broker closes the connection with 540."""
    channel.queue_declare(name, durable=True, arguments=QUORUM)
    flag = condition.replace("_", "-")
    text = (
        f"cannot delete queue '{name}' in vhost '/'. queue.delete operations with {flag} flag set are not "
        "supported by quorum queues"
    )
    with closes(540, text):
        channel.queue_delete(name, **{condition: True})


def test_get_from_a_quorum_queue_with_single_active_consumer(channel: BlockingChannel, name: str) -> None:
    """The broker refuses it with 405, so that no message escapes the order."""
    channel.queue_declare(name, durable=True, arguments={**QUORUM, "x-single-active-consumer": True})
    with closes(405, f"cannot obtain access to locked queue '{name}' in vhost '/'. basic.get operations are"):
        channel.basic_get(name)


@pytest.mark.parametrize(("single", "counted"), [(False, 2), (True, 1)])
def test_consumers_of_a_quorum_queue(channel: BlockingChannel, name: str, single: bool, counted: int) -> None:
    """A quorum queue takes an exclusive consumer like others, and counts only those that are active."""
    channel.queue_declare(name, durable=True, arguments={**QUORUM, "x-single-active-consumer": single})
    for exclusive in (False, True):
        channel.basic_consume(name, lambda *_: None, exclusive=exclusive)
    assert channel.queue_declare(name, passive=True).method.consumer_count == counted


def test_first_delivery_of_a_quorum_queue(broker: Broker, confirming: BlockingChannel, name: str) -> None:
    """RabbitMQ 3.10 tells the count in every answer to a get, but not in a first delivery."""
    confirming.queue_declare(name, durable=True, arguments=QUORUM)
    send(confirming, name, b"got", b"delivered")
    assert take(confirming, name).headers == since(broker, (4, 0), {}, {"x-delivery-count": 0})
    assert Inbox.on(confirming, name).wait(1)[0].headers == {}


def test_what_comes_back_to_a_queue_that_refuses(confirming: BlockingChannel, name: str) -> None:
    """A queue that refuses messages above its limit drops none, even if more come back to it."""
    make(confirming, name, x_max_length=1, x_overflow="reject-publish")
    send(confirming, name, b"a")
    first = take(confirming, name)
    send(confirming, name, b"b")
    confirming.basic_reject(first.tag)
    assert bodies(confirming, name) == [b"a", b"b"]


def test_overflow_that_quorum_queues_do_not_know(confirming: BlockingChannel, name: str) -> None:
    """A quorum queue takes reject-publish-dlx for drop-head."""
    arguments = {**QUORUM, "x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    confirming.queue_declare(name, durable=True, arguments=arguments)
    send(confirming, name, b"a", b"b", b"c")
    eventually(lambda: ready(confirming, name) == 1)
    assert bodies(confirming, name) == [b"c"]


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_limit_of_a_channel(broker: Broker, channel: BlockingChannel, name: str, kind: str) -> None:
    """Queues that are replicated do not support it; in RabbitMQ 4.3 there is none."""
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
    channel.basic_qos(prefetch_count=1)
    channel.basic_qos(prefetch_count=1, global_qos=True)
    if broker.version >= (4, 3):
        Inbox.on(channel, name)
        return
    with closes(540, f"queue '{name}' in vhost '/' does not support global qos"):
        Inbox.on(channel, name)
