"""Quorum queues: arguments, delivery limit, priorities, where a message comes back to, length limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pika.exceptions import NackError
from tests.behaviour.support import Delivery, Inbox, bodies, closes, get, ready, send, since, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.management import Management

QUORUM = {"x-queue-type": "quorum"}


def make(channel: BlockingChannel, name: str, **arguments: Any) -> str:
    """Declare a quorum queue; arguments are written with _ for -."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments={**QUORUM, **named})
    return name


def counts(message: Delivery) -> tuple[object, object]:
    """Return how often a message was delivered before, and how often that failed, as its headers say."""
    return message.headers.get("x-acquired-count"), message.headers.get("x-delivery-count")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"durable": False}, "invalid property 'non-durable' for queue"),
        ({"exclusive": True}, "invalid property 'exclusive-owner' for queue"),
        ({"auto_delete": True}, "invalid property 'auto-delete' for queue"),
    ],
)
def test_quorum_queue_is_durable_and_lasting(
    channel: BlockingChannel, name: str, settings: dict[str, bool], text: str
) -> None:
    """The broker refuses a quorum queue that is transient, exclusive or auto-delete with 406."""
    with closes(406, text):
        channel.queue_declare(name, **{"durable": True, "arguments": QUORUM, **settings})


@pytest.mark.parametrize(
    ("argument", "value"), [("x-max-priority", 5), ("x-queue-mode", "lazy"), ("x-queue-version", 2)]
)
def test_classic_arguments_on_a_quorum_queue(
    channel: BlockingChannel, name: str, argument: str, value: object
) -> None:
    """The broker refuses arguments of classic queues with 406."""
    with closes(406, f"invalid arg '{argument}' for queue '{name}' in vhost '/' of queue type "):
        channel.queue_declare(name, durable=True, arguments={**QUORUM, argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-delivery-limit", 5),
        ("x-message-ttl", 60_000),
        ("x-expires", 60_000),
        ("x-max-length", 5),
        ("x-overflow", "reject-publish"),
        ("x-single-active-consumer", True),
        ("x-dead-letter-exchange", ""),
        ("x-max-in-memory-length", 5),
        ("x-max-in-memory-bytes", 5),
        ("x-quorum-initial-group-size", 1),
        ("x-queue-leader-locator", "client-local"),
        ("x-behaviour", "any"),
    ],
)
def test_arguments_of_a_quorum_queue(
    channel: BlockingChannel, name: str, argument: str, value: object
) -> None:
    """The broker accepts the arguments of quorum queues, and unknown ones."""
    channel.queue_declare(name, durable=True, arguments={**QUORUM, argument: value})


def test_quorum_queue_behaves_as_a_durable_queue(confirming: BlockingChannel, name: str) -> None:
    """A quorum queue takes publishes, acks and requeues like any durable queue."""
    confirming.queue_declare(name, durable=True, arguments=QUORUM)
    send(confirming, name, b"a", b"b", delivery_mode=2)
    first = take(confirming, name)
    confirming.basic_ack(first.tag)
    second = take(confirming, name)
    confirming.basic_nack(second.tag)
    again = take(confirming, name, auto_ack=True)
    assert (first.body, second.body, again.body, again.redelivered) == (b"a", b"b", b"b", True)


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_delivery_limit(
    broker: Broker, confirming: BlockingChannel, queue: str, names: Names, how: str
) -> None:
    """The count of deliveries is in a header; at x-delivery-limit the message is dead-lettered.

    In RabbitMQ 4.3 a nack counts no longer.
    """
    limited = names("limited")
    arguments = {
        **QUORUM,
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    confirming.queue_declare(limited, durable=True, arguments=arguments)
    send(confirming, limited, b"x", delivery_mode=2)
    counts = []
    for _ in range(3):
        message = take(confirming, limited)
        counts.append(message.headers.get("x-delivery-count", 0))
        getattr(confirming, f"basic_{how}")(message.tag)
    if how == "nack" and broker.version >= (4, 3):
        assert counts == [0, 0, 0]
        assert take(confirming, limited).redelivered
        return
    assert counts == [0, 1, 2]
    assert take(confirming, queue).headers["x-death"][0]["reason"] == "delivery_limit"


# --- How deliveries are counted


def give_back(channel: BlockingChannel, message: Delivery, how: str) -> None:
    """Put a message back."""
    if how == "recover":
        channel.basic_recover(requeue=True)
    else:
        getattr(channel, f"basic_{how}")(message.tag, requeue=True)


@pytest.mark.parametrize(
    ("how", "new"),
    [
        ("nack", [(None, None), (1, None), (2, None)]),
        ("recover", [(None, None), (1, None), (2, None)]),
        ("reject", [(None, None), (1, 1), (2, 2)]),
    ],
)
def test_counts(
    broker: Broker,
    confirming: BlockingChannel,
    name: str,
    how: str,
    new: list[tuple[int | None, int | None]],
) -> None:
    """RabbitMQ 4.3 tells deliveries from those that failed; RabbitMQ 3.10 counts all alike."""
    make(confirming, name)
    send(confirming, name, b"x")
    found = []
    for _ in range(3):
        message = take(confirming, name)
        found.append(counts(message))
        give_back(confirming, message, how)
    assert found == since(broker, (4, 3), new, [(None, 0), (None, 1), (None, 2)])


def test_closed_channel_counts_as_a_failure(
    broker: Broker, confirming: BlockingChannel, connection: BlockingConnection, name: str
) -> None:
    """A consumer that goes away may have failed."""
    make(confirming, name)
    send(confirming, name, b"x")
    other = connection.channel()
    take(other, name)
    other.close()
    assert counts(take(confirming, name)) == since(broker, (4, 3), (1, 1), (None, 1))


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_failures_go_on_through_a_queue_that_delays(
    broker: Broker, confirming: BlockingChannel, names: Names, kind: str
) -> None:
    """Messages that come back by way of a queue where they expire have failed as often as before."""
    work, delay = names("work"), names("delay")
    make(confirming, work, x_dead_letter_exchange="", x_dead_letter_routing_key=delay)
    make(
        confirming,
        delay,
        x_queue_type=kind,
        x_message_ttl=1,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=work,
    )
    send(confirming, work, b"x", delivery_mode=2)
    found = []
    for _ in range(3):
        message = take(confirming, work)
        found.append((message.redelivered, *counts(message)))
        confirming.basic_reject(message.tag, requeue=False)
    new = [(False, None, None), (True, 1, 1), (True, 2, 2)]
    assert found == since(broker, (4, 3), new, [(False, None, 0)] * 3)


@pytest.mark.parametrize(
    ("limit", "deliveries"), [(0, 1), (1, 2), (3, 4), (None, 21)], ids=["0", "1", "3", "default"]
)
def test_deliveries_that_fail(
    broker: Broker, confirming: BlockingChannel, queue: str, names: Names, limit: int | None, deliveries: int
) -> None:
    """A message is delivered once more often than may fail; RabbitMQ 3.10 has no limit by default."""
    if limit is None and broker.version < (4, 0):
        deliveries = 30
    limits = {} if limit is None else {"x_delivery_limit": limit}
    name = make(
        confirming,
        names("limited"),
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
        **limits,
    )
    send(confirming, name, b"x")
    for _ in range(deliveries):
        confirming.basic_reject(take(confirming, name).tag)
    if deliveries == 30:
        assert take(confirming, name).headers["x-delivery-count"] == 30
    else:
        assert take(confirming, queue).headers["x-death"][0]["reason"] == "delivery_limit"


def test_negative_limit_is_none(
    broker: Broker, confirming: BlockingChannel, queue: str, names: Names
) -> None:
    """In RabbitMQ 4, that is; in RabbitMQ 3.10 the first failure is the last one."""
    name = make(
        confirming,
        names("limited"),
        x_delivery_limit=-1,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=queue,
    )
    send(confirming, name, b"x")
    for _ in range(since(broker, (4, 3), 25, 1)):
        confirming.basic_reject(take(confirming, name).tag)
    assert take(confirming, since(broker, (4, 3), name, queue)).body == b"x"


def test_limit_of_a_policy(
    management: Management, confirming: BlockingChannel, queue: str, names: Names
) -> None:
    """The smaller one counts."""
    name = names("limited")
    management.policy(f"^{name}$", delivery_limit=1, dead_letter_exchange="", dead_letter_routing_key=queue)
    make(confirming, name, x_delivery_limit=5)
    send(confirming, name, b"x")
    for _ in range(2):
        confirming.basic_reject(take(confirming, name).tag)
    assert take(confirming, queue).body == b"x"


def test_message_without_a_dead_letter_exchange_is_dropped(confirming: BlockingChannel, name: str) -> None:
    """At its limit it is gone."""
    make(confirming, name, x_delivery_limit=0)
    send(confirming, name, b"x", b"next")
    confirming.basic_reject(take(confirming, name).tag)
    assert take(confirming, name).body == b"next"


# --- Order


def test_place_of_a_message_that_comes_back(broker: Broker, confirming: BlockingChannel, name: str) -> None:
    """RabbitMQ 3.10 puts it behind all others, RabbitMQ 4.3 back to the head."""
    make(confirming, name)
    send(confirming, name, b"0", b"1", b"2")
    first, _ = take(confirming, name), take(confirming, name)
    confirming.basic_nack(first.tag)
    eventually(lambda: ready(confirming, name) == 2)
    found = [take(confirming, name).body for _ in range(2)]
    assert found == since(broker, (4, 3), [b"0", b"2"], [b"2", b"0"])


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 1, 2)])
@pytest.mark.parametrize("how", ["nack", "reject"])
def test_order_of_messages_that_come_back(
    broker: Broker, confirming: BlockingChannel, name: str, how: str, order: tuple[int, ...]
) -> None:
    """They keep the order of their return, whatever their priority."""
    make(confirming, name)
    for number in range(5):
        send(confirming, name, str(number), priority=9 - number)
    out = [take(confirming, name) for _ in range(3)]
    for place in order:
        getattr(confirming, f"basic_{how}")(out[place].tag)
    eventually(lambda: ready(confirming, name) == 5)
    found = [int(take(confirming, name).body) for _ in range(5)]
    assert found == since(broker, (4, 3), [*order, 3, 4], [3, 4, *order])


def test_priorities(broker: Broker, confirming: BlockingChannel, name: str) -> None:
    """RabbitMQ 4.3 has 32 levels, and 4 for a message without one; RabbitMQ 3.10 has none."""
    make(confirming, name)
    for priority in (0, 31, None, 4, 5, 200, 3, 0):
        properties = {} if priority is None else {"priority": priority}
        send(confirming, name, str(priority), **properties)
    found = [take(confirming, name).body.decode() for _ in range(8)]
    in_levels = ["31", "200", "5", "None", "4", "3", "0", "0"]
    assert found == since(broker, (4, 3), in_levels, ["0", "31", "None", "4", "5", "200", "3", "0"])


# --- Length


def test_dropped_heads(broker: Broker, confirming: BlockingChannel, name: str) -> None:
    """A queue that is too long loses what would come next, in RabbitMQ 4.3 the most urgent message."""
    make(confirming, name, x_max_length=3)
    for number, priority in enumerate((9, 1, 9, 1, 5)):
        send(confirming, name, f"{number}:{priority}", priority=priority)
    found = [take(confirming, name).body for _ in range(3)]
    assert found == since(broker, (4, 3), [b"4:5", b"1:1", b"3:1"], [b"2:9", b"3:1", b"4:5"])
    assert get(confirming, name) is None


def test_rejected_publishes(confirming: BlockingChannel, name: str) -> None:
    """One message more than the limit is taken, because the queue looks at its length afterwards."""
    make(confirming, name, x_max_length=3, x_overflow="reject-publish")
    taken = 0
    with pytest.raises(NackError):
        for number in range(10):
            send(confirming, name, str(number))
            taken += 1
    assert taken == 4
    assert bodies(confirming, name) == [b"0", b"1", b"2", b"3"]


def test_messages_that_are_out_do_not_count(confirming: BlockingChannel, name: str) -> None:
    """Ready messages do."""
    make(confirming, name, x_max_length=3)
    send(confirming, name, b"0", b"1", b"2")
    for _ in range(3):
        take(confirming, name)
    send(confirming, name, b"3", b"4", b"5")
    eventually(lambda: ready(confirming, name) == 3)
    assert bodies(confirming, name) == [b"3", b"4", b"5"]


def test_expired_message_behind_a_live_head(confirming: BlockingChannel, name: str) -> None:
    """It is counted until it is at the head."""
    make(confirming, name)
    send(confirming, name, b"live")
    send(confirming, name, b"expired", expiration="0")
    assert take(confirming, name, auto_ack=True).body == b"live"
    assert get(confirming, name) is None


# --- Single active consumer


@pytest.mark.parametrize(("priority", "takes_over"), [(1, True), (0, False), (-1, False)])
def test_more_important_consumer_takes_over(
    broker: Broker, confirming: BlockingChannel, name: str, priority: int, takes_over: bool
) -> None:
    """In RabbitMQ 4.3 the consumer of highest priority is active; before, it is the first one."""
    make(confirming, name, x_single_active_consumer=True)
    log: list[Delivery] = []
    Inbox.on(confirming, name, log, consumer_tag="first", auto_ack=True)
    second = Inbox.on(
        confirming, name, log, consumer_tag="second", auto_ack=True, arguments={"x-priority": priority}
    )
    send(confirming, name, b"a")
    second.wait(1)
    expected = "second" if takes_over else "first"
    assert log[0].consumer == since(broker, (4, 3), expected, "first")


def test_more_important_consumer_waits_for_what_is_out(
    broker: Broker, confirming: BlockingChannel, name: str
) -> None:
    """The one that was active gets nothing more, and may settle what it has in peace."""
    make(confirming, name, x_single_active_consumer=True)
    log: list[Delivery] = []
    first = Inbox.on(confirming, name, log, consumer_tag="first")
    send(confirming, name, b"a")
    first.wait(1)
    second = Inbox.on(confirming, name, log, consumer_tag="second", arguments={"x-priority": 5})
    send(confirming, name, b"b")
    assert ready(confirming, name) == since(broker, (4, 3), 1, 0)
    confirming.basic_ack(log[0].tag)
    second.wait(2)
    assert [delivery.consumer for delivery in log] == ["first", since(broker, (4, 3), "second", "first")]
