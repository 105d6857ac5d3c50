"""Streams: declaring, where consumers begin, credit, filters, retention, and what streams do not support."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands
from tests.behaviour.peer import shortstr
from tests.behaviour.support import Inbox, closes, exists, roundtrip, send, since, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names
    from tests.support.brokers import Broker

STREAM = {"x-queue-type": "stream"}


def make(channel: BlockingChannel, name: str, **arguments: Any) -> None:
    """Declare a stream; arguments are written with _ for -."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments={**STREAM, **named})


def fill(channel: BlockingChannel, stream: str, count: int, start: int = 0) -> None:
    """Publish messages that bear the numbers from one on."""
    send(channel, stream, *(str(number) for number in range(start, start + count)))


def numbers(inbox: Inbox) -> list[int]:
    """Return the numbers of the messages that have come."""
    return [int(body) for body in inbox.bodies]


@pytest.fixture
def stream(confirming: BlockingChannel, name: str) -> str:
    """A stream with the messages 0 to 4; each was confirmed before the next one was published."""
    make(confirming, name)
    fill(confirming, name, 5)
    return name


@pytest.fixture
def read(connection: BlockingConnection, stream: str) -> Callable[..., Inbox]:
    """Opens a consumer."""

    def consume(offset: object = None, prefetch: int = 100, **arguments: Any) -> Inbox:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=prefetch)
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        if offset is not None:
            named["x-stream-offset"] = offset
        return Inbox.on(channel, stream, arguments=named)

    return consume


# --- Declaring


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"durable": False}, "invalid property 'non-durable' for queue"),
        ({"exclusive": True}, "invalid property 'exclusive-owner' for queue"),
        ({"auto_delete": True}, "invalid property 'auto-delete' for queue"),
    ],
)
def test_stream_is_durable_and_lasting(
    channel: BlockingChannel, name: str, settings: dict[str, bool], text: str
) -> None:
    """The broker refuses one that is transient, exclusive or auto-delete with 406."""
    with closes(406, f"{text} '{name}' in vhost '/'"):
        channel.queue_declare(name, **{"durable": True, "arguments": STREAM, **settings})


def test_stream_has_a_name_from_its_client(channel: BlockingChannel) -> None:
    """The broker does not choose one."""
    with closes(406, "Cannot declare a server-named queue for type rabbit_stream_queue"):
        channel.queue_declare("", durable=True, arguments=STREAM)


@pytest.mark.parametrize(
    "argument",
    [
        "x-max-length",
        "x-message-ttl",
        "x-expires",
        "x-max-priority",
        "x-delivery-limit",
        "x-max-in-memory-length",
        "x-quorum-initial-group-size",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-mode",
        "x-queue-version",
    ],
)
def test_arguments_of_other_types(channel: BlockingChannel, name: str, argument: str) -> None:
    """The broker refuses them, whatever their values."""
    text = f"invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type rabbit_stream_queue"
    with closes(406, text):
        channel.queue_declare(name, durable=True, arguments={**STREAM, argument: "1"})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-max-age", "1h"),
        ("x-max-age", "01h"),
        ("x-max-age", "9999999999Y"),
        ("x-max-length-bytes", 0),
        ("x-stream-max-segment-size-bytes", 3_000_000_000),
        ("x-initial-cluster-size", 1),
        ("x-queue-leader-locator", "client-local"),
        ("x-stream-filter-size-bytes", 16),
        ("x-behaviour", "any"),
    ],
)
def test_good_arguments(channel: BlockingChannel, name: str, argument: str, value: object) -> None:
    """The broker accepts its own, and unknown ones."""
    channel.queue_declare(name, durable=True, arguments={**STREAM, argument: value})


@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        *(("x-max-age", age, ": invalid_max_age") for age in ("1h30m", "1", "0s", "1.5h", "1H", "1w", "1ms")),
        ("x-max-age", 5, ": {unacceptable_type,signedint}"),
        ("x-max-length-bytes", -1, ": {value_negative,-1}"),
        ("x-max-length-bytes", "5", ': "expected integer, got longstr"'),
        ("x-stream-max-segment-size-bytes", -1, ": {value_negative,-1}"),
        ("x-initial-cluster-size", 0, ": {value_zero,0}"),
        ("x-queue-leader-locator", "foo", ": invalid_queue_locator_arg"),
    ],
)
def test_bad_arguments(channel: BlockingChannel, name: str, argument: str, value: object, text: str) -> None:
    """The broker closes the channel with 406, which names argument and reason."""
    with closes(406, f"invalid arg '{argument}' for queue '{name}' in vhost '/'{text}"):
        channel.queue_declare(name, durable=True, arguments={**STREAM, argument: value})


def test_too_large_segments(channel: BlockingChannel, name: str) -> None:
    """A segment has at most 3 GB."""
    with closes(406, "Exceeded max value for x-stream-max-segment-size-bytes"):
        make(channel, name, x_stream_max_segment_size_bytes=3_000_000_001)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-max-age", "1h"),
        ("x-max-length-bytes", 5),
        ("x-stream-max-segment-size-bytes", 5),
        ("x-queue-leader-locator", "client-local"),
        ("x-initial-cluster-size", 1),
    ],
)
def test_redeclare(channel: BlockingChannel, name: str, argument: str, value: object) -> None:
    """The broker compares its arguments, and no others."""
    make(channel, name, x_behaviour=1)
    make(channel, name, x_behaviour=2)
    with closes(406, f"inequivalent arg '{argument}' for queue '{name}' in vhost '/': received "):
        channel.queue_declare(name, durable=True, arguments={**STREAM, argument: value})


@pytest.mark.parametrize(("age", "same"), [("1h", True), ("60m", False), ("2h", False)])
def test_redeclare_with_another_age(
    broker: Broker, channel: BlockingChannel, name: str, age: str, same: bool
) -> None:
    """RabbitMQ 4.3 knows that an hour has 60 minutes."""
    make(channel, name, x_max_age="1h")
    fits = same or (age == "60m" and broker.version >= (4, 3))
    with nullcontext() if fits else closes(406, f"inequivalent arg 'x-max-age' for queue '{name}'"):
        make(channel, name, x_max_age=age)


@pytest.mark.parametrize("kind", [None, "classic", "quorum"])
def test_redeclare_with_another_type(channel: BlockingChannel, stream: str, kind: str | None) -> None:
    """A stream stays one."""
    with closes(406, f"inequivalent arg 'x-queue-type' for queue '{stream}' in vhost '/': received "):
        channel.queue_declare(stream, durable=True, arguments={"x-queue-type": kind} if kind else {})


# --- Consuming


@pytest.mark.parametrize("auto_ack", [False, True])
def test_prefetch_is_needed(channel: BlockingChannel, stream: str, auto_ack: bool) -> None:
    """A consumer without one is refused with 406."""
    with closes(406, "PRECONDITION_FAILED - consumer prefetch count is not set for "):
        channel.basic_consume(stream, print, auto_ack=auto_ack)


def test_acknowledgements_are_needed(channel: BlockingChannel, stream: str) -> None:
    """A consumer that does not acknowledge costs the connection."""
    channel.basic_qos(prefetch_count=5)
    with closes(540, "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queue"):
        channel.basic_consume(stream, print, auto_ack=True)


def test_priority_is_refused(read: Callable[..., Inbox], stream: str) -> None:
    """Consumers of a stream do not compete."""
    with closes(
        406, f"invalid arg 'x-priority' for queue '{stream}' in vhost '/' of queue type rabbit_stream"
    ):
        read(x_priority=1)


@pytest.mark.parametrize("offset", ["0", "3", "0s", "1.5h"])
def test_bad_offset(read: Callable[..., Inbox], stream: str, offset: str) -> None:
    """It is told."""
    text = f"invalid arg 'x-stream-offset' for queue '{stream}' in vhost '/': {{invalid_stream_offset_arg,"
    with closes(406, f'{text}{{longstr,<<"{offset}">>}}}}'):
        read(offset)


@pytest.mark.parametrize(
    ("offset", "old"),
    [
        ("first", [0, 1, 2, 3, 4]),
        ("last", [4]),
        ("next", []),
        (None, []),
        (0, [0, 1, 2, 3, 4]),
        (3, [3, 4]),
        (-1, [0, 1, 2, 3, 4]),
        (5, []),
        ("1h", [0, 1, 2, 3, 4]),
        (datetime(2000, 1, 1, tzinfo=UTC), [0, 1, 2, 3, 4]),
        (datetime.now(UTC) + timedelta(days=1), []),
    ],
)
def test_offset(
    confirming: BlockingChannel, stream: str, read: Callable[..., Inbox], offset: object, old: list[int]
) -> None:
    """A consumer begins where it wants to, and gets all that follows."""
    inbox = read(offset)
    fill(confirming, stream, 2, start=5)
    inbox.wait(len(old) + 2)
    assert numbers(inbox) == [*old, 5, 6]


def test_offset_to_come(confirming: BlockingChannel, stream: str, read: Callable[..., Inbox]) -> None:
    """A consumer may wait for an offset; what comes before is not for it."""
    inbox = read(7)
    fill(confirming, stream, 4, start=5)
    inbox.wait(2)
    assert numbers(inbox) == [7, 8]


def test_empty_stream(confirming: BlockingChannel, connection: BlockingConnection, names: Names) -> None:
    """Wherever a consumer wants to begin, it gets what comes."""
    name = names()
    make(confirming, name)
    confirming.basic_qos(prefetch_count=10)
    inboxes = [
        Inbox.on(confirming, name, arguments={"x-stream-offset": offset}) for offset in ("first", "last", 0)
    ]
    fill(confirming, name, 2)
    for inbox in inboxes:
        inbox.wait(2)


def test_consumers_have_the_same_messages(read: Callable[..., Inbox]) -> None:
    """Even an exclusive one does not keep others away, and acknowledged messages stay."""
    first = read("first")
    for delivery in first.wait(5):
        first.channel.basic_ack(delivery.tag)
    second = read("first")
    second.wait(5)
    assert first.bodies == second.bodies


def test_exclusive_consumer_is_not_alone(channel: BlockingChannel, stream: str) -> None:
    """The broker does not enforce it."""
    channel.basic_qos(prefetch_count=10)
    inboxes = [
        Inbox.on(channel, stream, exclusive=True, arguments={"x-stream-offset": "first"}) for _ in range(2)
    ]
    for inbox in inboxes:
        inbox.wait(5)


def test_header_with_the_offset(peer: Peer, stream: str) -> None:
    """It is a 64-bit integer, and replaces one that the publisher sent."""
    peer.send(
        commands.Basic.Qos(prefetch_count=10),
        commands.Basic.Consume(queue=stream, arguments={"x-stream-offset": 3}),
    )
    peer.expect(commands.Basic.QosOk)
    peer.expect(commands.Basic.ConsumeOk)
    deliver = peer.expect(commands.Basic.Deliver)
    assert (deliver.delivery_tag, deliver.redelivered, deliver.exchange, deliver.routing_key) == (
        1,
        False,
        "",
        stream,
    )
    assert shortstr("x-stream-offset") + b"l" + bytes([0] * 7 + [3]) in peer.read_content().header


def test_header_of_a_publisher_is_replaced(
    confirming: BlockingChannel, stream: str, read: Callable[..., Inbox]
) -> None:
    """What others say the offset is does not count; other headers and properties are kept."""
    headers = {"x-stream-offset": 99, "other": "kept"}
    send(confirming, stream, b"x", headers=headers, priority=3, expiration="1", message_id="id")
    (delivery,) = read(5).wait(1)
    assert delivery.headers == {"x-stream-offset": 5, "other": "kept"}
    kept = (delivery.properties.priority, delivery.properties.expiration, delivery.properties.message_id)
    assert kept == (3, "1", "id")


@pytest.mark.parametrize("multiple", [False, True])
def test_credit(read: Callable[..., Inbox], multiple: bool) -> None:
    """The prefetch is how many messages come unasked; each acknowledged one, in any order, brings another."""
    inbox = read("first", prefetch=2)
    second = inbox.wait(2)[1]
    inbox.channel.basic_ack(second.tag, multiple=multiple)
    inbox.wait(4 if multiple else 3)
    assert numbers(inbox) == list(range(4 if multiple else 3))


@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize("how", ["nack", "reject"])
def test_messages_do_not_come_back(
    broker: Broker, read: Callable[..., Inbox], how: str, requeue: bool
) -> None:
    """RabbitMQ 4.3 takes nack and reject for ack; RabbitMQ 3.10 closes the connection."""
    inbox = read("first", prefetch=2)
    inbox.wait(2)
    refusal = closes(540, "basic.nack and basic.reject not supported by stream queues")
    with nullcontext() if broker.version >= (4, 3) else refusal:
        getattr(inbox.channel, f"basic_{how}")(1, requeue=requeue)
        inbox.wait(3)
        assert numbers(inbox) == [0, 1, 2]


def test_unknown_delivery_tag(read: Callable[..., Inbox]) -> None:
    """As with other queues, it costs the channel."""
    inbox = read("first")
    inbox.wait(5)
    with closes(406, "unknown delivery tag 6"):
        inbox.channel.basic_ack(6)
        inbox.settle()


def test_cancelled_consumer(confirming: BlockingChannel, stream: str, read: Callable[..., Inbox]) -> None:
    """It gets nothing more, and may begin anew."""
    inbox = read("first", prefetch=2)
    inbox.wait(2)
    inbox.channel.basic_cancel(inbox.tag)
    inbox.channel.basic_ack(2, multiple=True)
    fill(confirming, stream, 1, start=5)
    inbox.wait(2)


def test_unacknowledged_messages_are_not_requeued(read: Callable[..., Inbox]) -> None:
    """A channel that ends leaves nothing behind."""
    inbox = read("first")
    inbox.wait(5)
    inbox.channel.close()
    again = read("first")
    assert [delivery.redelivered for delivery in again.wait(5)] == [False] * 5


# --- Filters


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        ({"x_stream_filter": "a"}, [0, 4]),
        ({"x_stream_filter": ["a", "b"]}, [0, 1, 4]),
        ({"x_stream_filter": "a", "x_stream_match_unfiltered": True}, [0, 2, 4]),
        ({"x_stream_filter": "zz", "x_stream_match_unfiltered": True}, [2]),
        ({"x_stream_match_unfiltered": True}, [0, 1, 2, 3, 4]),
        ({}, [0, 1, 2, 3, 4]),
    ],
)
def test_filter(
    broker: Broker,
    confirming: BlockingChannel,
    connection: BlockingConnection,
    name: str,
    arguments: dict[str, Any],
    offsets: list[int],
) -> None:
    """RabbitMQ 4 passes over chunks without the wanted values; RabbitMQ 3.10 has no filters."""
    make(confirming, name)
    for value in ("a", "b", None, "c", "a"):
        send(confirming, name, b"x", headers={} if value is None else {"x-stream-filter-value": value})
    channel = connection.channel()
    channel.basic_qos(prefetch_count=10)
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    inbox = Inbox.on(channel, name, arguments={"x-stream-offset": "first", **named})
    wanted = since(broker, (4, 0), offsets, [0, 1, 2, 3, 4])
    assert [delivery.headers["x-stream-offset"] for delivery in inbox.wait(len(wanted))] == wanted


# --- Retention


def test_old_segments_are_forgotten(confirming: BlockingChannel, name: str) -> None:
    """A stream keeps about as much as it may, the newest messages in any case."""
    make(confirming, name, x_max_length_bytes=5000, x_stream_max_segment_size_bytes=1000)
    for number in range(60):
        send(confirming, name, str(number).rjust(200))
    confirming.basic_qos(prefetch_count=100)

    def kept() -> list[int]:
        inbox = Inbox.on(confirming, name, arguments={"x-stream-offset": "first"})

        def is_complete() -> bool:
            inbox.settle()
            return 59 in numbers(inbox)

        eventually(is_complete)
        confirming.basic_cancel(inbox.tag)
        return numbers(inbox)

    eventually(lambda: len(kept()) < 30)
    left = kept()
    assert left == list(range(left[0], 60))


def test_newest_segment_stays(confirming: BlockingChannel, name: str) -> None:
    """What is in it is kept, however much it is."""
    make(confirming, name, x_max_length_bytes=10)
    fill(confirming, name, 20)
    confirming.basic_qos(prefetch_count=100)
    inbox = Inbox.on(confirming, name, arguments={"x-stream-offset": "first"})
    inbox.wait(20)


# --- What else differs from other queues


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("basic.get", lambda channel, stream: channel.basic_get(stream)),
        ("queue.purge", lambda channel, stream: channel.queue_purge(stream)),
    ],
    ids=["get", "purge"],
)
def test_not_supported(
    channel: BlockingChannel, stream: str, what: str, call: Callable[[BlockingChannel, str], object]
) -> None:
    """It costs the connection."""
    with closes(
        540, f"NOT_IMPLEMENTED - {what} not supported by stream queues queue '{stream}' in vhost '/'"
    ):
        call(channel, stream)


@pytest.mark.parametrize("condition", ["if_empty", "if_unused"])
def test_delete(
    connection: BlockingConnection, stream: str, read: Callable[..., Inbox], condition: str
) -> None:
    """A stream is deleted whatever is in it, and whoever reads it; its consumers are cancelled."""
    inbox = read("first")
    cancelled: list[object] = []
    inbox.channel.add_on_cancel_callback(cancelled.append)
    inbox.wait(5)
    assert connection.channel().queue_delete(stream, **{condition: True}).method.message_count == 0
    assert not exists(connection, stream)
    eventually(lambda: connection.process_data_events(time_limit=0) or cancelled)


def test_dead_letters_may_go_to_a_stream(
    broker: Broker, confirming: BlockingChannel, stream: str, names: Names, read: Callable[..., Inbox]
) -> None:
    """They come with their history; RabbitMQ 3.10 loses them."""
    if broker.kind == "rabbitmq" and broker.version < (4, 0):
        pytest.skip("RabbitMQ 3.10 loses them")
    queue = names("queue")
    confirming.queue_declare(
        queue, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": stream}
    )
    send(confirming, queue, b"dead")
    inbox = read("next")
    confirming.basic_reject(take(confirming, queue).tag, requeue=False)
    (delivery,) = inbox.wait(1)
    assert (delivery.body, delivery.headers["x-first-death-queue"]) == (b"dead", queue)


def test_transaction(channel: BlockingChannel, stream: str, read: Callable[..., Inbox]) -> None:
    """Messages are in the stream when it is committed."""
    inbox = read("next")
    channel.tx_select()
    fill(channel, stream, 2, start=5)
    roundtrip(channel)
    inbox.wait(0)
    channel.tx_commit()
    inbox.wait(2)
    assert numbers(inbox) == [5, 6]
