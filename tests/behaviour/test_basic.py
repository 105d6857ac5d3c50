"""Publishing, fetching, consuming and acknowledging."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands
from tests.behaviour.support import (
    Delivery,
    Inbox,
    bodies,
    closes,
    consumers,
    get,
    ready,
    roundtrip,
    send,
    since,
    take,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp import base
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names
    from tests.support.brokers import Broker

# --- publish


@pytest.mark.parametrize("confirms", [False, True])
def test_publish_to_missing_exchange(channel: BlockingChannel, name: str, confirms: bool) -> None:
    """The broker closes the channel with 404, in confirm mode too."""
    with closes(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        if confirms:
            channel.confirm_delivery()
        channel.basic_publish(name, "", b"x")
        roundtrip(channel)


def test_publish_unroutable_is_dropped(channel: BlockingChannel, name: str) -> None:
    """The broker drops the message, and the channel stays open."""
    send(channel, name, b"x")
    roundtrip(channel)
    assert channel.is_open


@pytest.mark.parametrize("exchange", ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"])
def test_mandatory_unroutable_is_returned(peer: Peer, name: str, exchange: str) -> None:
    """The broker returns the message with 312, exchange, key, properties and body."""
    properties = b"\x80\x00\x0atext/plain"
    peer.publish(b"body", exchange=exchange, routing_key=name, property_bytes=properties, mandatory=True)
    returned = peer.expect(commands.Basic.Return)
    content = peer.read_content()
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert (returned.exchange, returned.routing_key) == (exchange, name)
    assert (content.property_bytes, content.body) == (properties, b"body")


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"x" * 100_000] * 3], ids=["empty", "one byte", "large"])
def test_returned_body(peer: Peer, name: str, pieces: list[bytes]) -> None:
    """The body comes back whole, be it of several frames, of one, or of none."""
    peer.publish(pieces, routing_key=name, mandatory=True)
    peer.expect(commands.Basic.Return)
    assert peer.read_content().body == b"".join(pieces)


def test_mandatory_routed_is_not_returned(peer: Peer, queue: str) -> None:
    """Mandatory asks for a queue, not for a consumer."""
    peer.publish(b"x", routing_key=queue, mandatory=True)
    peer.roundtrip()
    assert peer.get(queue).body == b"x"


def test_immediate(peer: Peer, queue: str) -> None:
    """The broker closes the connection with 540: it knows no immediate publish."""
    peer.publish(b"x", routing_key=queue, immediate=True)
    with closes(540, "NOT_IMPLEMENTED - immediate=true"):
        peer.roundtrip()


def test_own_user_id(channel: BlockingChannel, queue: str) -> None:
    """A publisher may put its own login into the user-id property."""
    send(channel, queue, b"x", user_id="guest")
    assert take(channel, queue).properties.user_id == "guest"


def test_foreign_user_id(channel: BlockingChannel, queue: str) -> None:
    """The broker closes the channel with 406 when the user-id is not the publisher's login."""
    send(channel, queue, b"x", user_id="bob")
    with closes(406, "user_id property set to 'bob' but authenticated user was 'guest'"):
        roundtrip(channel)


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 1_000_000])
def test_body_is_kept(channel: BlockingChannel, queue: str, size: int) -> None:
    """Bodies of sizes around one frame arrive unchanged."""
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    channel.basic_publish("", queue, body)
    assert take(channel, queue).body == body


# --- qos


@pytest.mark.parametrize("global_qos", [False, True])
def test_prefetch_size_is_not_implemented(peer: Peer, global_qos: bool) -> None:
    """The broker limits the count of messages only: a prefetch size closes the connection with 540."""
    with closes(540, "prefetch_size!=0 (10)"):
        peer.call(commands.Basic.Qos(prefetch_size=10, global_=global_qos), commands.Basic.QosOk)


@pytest.mark.parametrize(("prefetch", "delivered"), [(1, 1), (3, 3), (5, 5), (10, 5), (0, 5), (65535, 5)])
@pytest.mark.parametrize("global_qos", [False, True])
def test_prefetch_limits_unacked(
    confirming: BlockingChannel, queue: str, prefetch: int, delivered: int, global_qos: bool
) -> None:
    """A consumer gets as many messages as may be unacknowledged; 0 is no limit."""
    confirming.basic_qos(prefetch_count=prefetch, global_qos=global_qos)
    send(confirming, queue, *[b"x"] * 5)
    Inbox.on(confirming, queue).wait(delivered)
    assert ready(confirming, queue) == 5 - delivered


@pytest.mark.parametrize("how", ["ack", "reject", "nack"])
@pytest.mark.parametrize("global_qos", [False, True])
def test_settling_makes_room(confirming: BlockingChannel, queue: str, how: str, global_qos: bool) -> None:
    """Each settled message is followed by one more."""
    confirming.basic_qos(prefetch_count=1, global_qos=global_qos)
    send(confirming, queue, b"1", b"2", b"3")
    inbox = Inbox.on(confirming, queue)
    for count in (1, 2, 3):
        tag = inbox.wait(count)[-1].tag
        settle = {
            "ack": confirming.basic_ack,
            "reject": confirming.basic_reject,
            "nack": confirming.basic_nack,
        }
        settle[how](tag, **({} if how == "ack" else {"requeue": False}))
    assert inbox.bodies == [b"1", b"2", b"3"]


def test_multiple_ack_makes_room(confirming: BlockingChannel, queue: str) -> None:
    """An ack of three messages lets three more come."""
    confirming.basic_qos(prefetch_count=3)
    send(confirming, queue, *[b"x"] * 7)
    inbox = Inbox.on(confirming, queue)
    confirming.basic_ack(inbox.wait(3)[-1].tag, multiple=True)
    inbox.wait(6)
    assert ready(confirming, queue) == 1


def test_no_ack_consumers_have_no_limit(confirming: BlockingChannel, queue: str) -> None:
    """With no-ack no message is unacknowledged, so nothing counts against the prefetch."""
    confirming.basic_qos(prefetch_count=1)
    send(confirming, queue, *[b"x"] * 5)
    Inbox.on(confirming, queue, auto_ack=True).wait(5)


def test_consumer_prefetch_is_each_consumers_own(confirming: BlockingChannel, queue: str) -> None:
    """Without global, two consumers with a prefetch of 3 get 3 messages each."""
    confirming.basic_qos(prefetch_count=3)
    send(confirming, queue, *[b"x"] * 10)
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, queue, log, consumer_tag=tag) for tag in "ab"]
    inboxes[0].wait(6)
    assert sorted(delivery.consumer for delivery in log) == ["a"] * 3 + ["b"] * 3


# RabbitMQ 4.3 takes global=true for global=false: the limit is that of each new consumer.


def test_channel_prefetch_is_shared(broker: Broker, confirming: BlockingChannel, queue: str) -> None:
    """With global, two consumers with a prefetch of 3 get 3 messages together."""
    confirming.basic_qos(prefetch_count=3, global_qos=True)
    send(confirming, queue, *[b"x"] * 10)
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, queue, log, consumer_tag=tag) for tag in "ab"]
    delivered = since(broker, (4, 3), 3 + 3, 3)
    inboxes[0].wait(delivered)
    assert ready(confirming, queue) == 10 - delivered


def test_channel_prefetch_counts_all_queues(
    broker: Broker, confirming: BlockingChannel, queue: str, names: Names
) -> None:
    """A global prefetch counts for all consumers of the channel together, whatever their queues."""
    other = names("other")
    confirming.queue_declare(other)
    confirming.basic_qos(prefetch_count=3, global_qos=True)
    send(confirming, queue, b"1", b"2")
    send(confirming, other, b"1", b"2", b"3", b"4")
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, one, log) for one in (queue, other)]
    delivered = since(broker, (4, 3), 2 + 3, 3)
    inboxes[0].wait(delivered)
    assert ready(confirming, queue) + ready(confirming, other) == 6 - delivered


def test_queues_share_the_channel_prefetch_in_turn(
    broker: Broker, confirming: BlockingChannel, names: Names
) -> None:
    """No queue keeps the only place for itself as long as it has messages."""
    confirming.basic_qos(prefetch_count=1, global_qos=True)
    queues = [names(label) for label in "abc"]
    for one in queues:
        confirming.queue_declare(one)
        send(confirming, one, *[b"x"] * 30)
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, one, log) for one in queues]
    at_once = since(broker, (4, 3), 3, 1)
    for number in range(45):
        inboxes[0].wait(number + at_once)
        confirming.basic_ack(log[number].tag)
    assert {delivery.consumer for delivery in log} == {inbox.tag for inbox in inboxes}


def test_channel_prefetch_is_the_channels_own(
    connection: BlockingConnection, confirming: BlockingChannel, queue: str
) -> None:
    """A global prefetch is the channel's limit, not the connection's."""
    confirming.basic_qos(prefetch_count=1, global_qos=True)
    send(confirming, queue, *[b"x"] * 5)
    Inbox.on(confirming, queue).wait(1)
    Inbox.on(connection.channel(), queue).wait(4)


def test_prefetch_applies_to_new_consumers(confirming: BlockingChannel, queue: str, names: Names) -> None:
    """A prefetch without global is for new consumers; those already there keep theirs."""
    other = names("other")
    confirming.queue_declare(other)
    confirming.basic_qos(prefetch_count=1)
    old = Inbox.on(confirming, queue)
    confirming.basic_qos(prefetch_count=3)
    new = Inbox.on(confirming, other)
    for one in (queue, other):
        send(confirming, one, *[b"x"] * 5)
    old.wait(1)
    new.wait(3)
    assert (ready(confirming, queue), ready(confirming, other)) == (4, 2)


def test_later_prefetch_ends_that_of_the_channel(
    broker: Broker, confirming: BlockingChannel, queue: str
) -> None:
    """In RabbitMQ 4.3 a global prefetch was one of new consumers, and each keeps its own."""
    confirming.basic_qos(prefetch_count=1, global_qos=True)
    send(confirming, queue, *[b"x"] * 5)
    inbox = Inbox.on(confirming, queue)
    inbox.wait(1)
    confirming.basic_qos(prefetch_count=2)
    delivered = since(broker, (4, 3), 1, 5)
    inbox.wait(delivered)
    assert ready(confirming, queue) == 5 - delivered


def test_channel_prefetch_applies_at_once(broker: Broker, confirming: BlockingChannel, queue: str) -> None:
    """A global prefetch that is raised later is for existing consumers, too."""
    confirming.basic_qos(prefetch_count=1, global_qos=True)
    send(confirming, queue, *[b"x"] * 5)
    inbox = Inbox.on(confirming, queue)
    inbox.wait(1)
    confirming.basic_qos(prefetch_count=3, global_qos=True)
    delivered = since(broker, (4, 3), 1, 3)
    inbox.wait(delivered)
    assert ready(confirming, queue) == 5 - delivered


@pytest.mark.parametrize(
    ("consumer", "whole", "both", "last"), [(2, 3, 3, 6), (5, 3, 3, 6), (1, 3, 2, 6), (1, 0, 2, 10)]
)
def test_both_prefetch_limits(
    broker: Broker, confirming: BlockingChannel, queue: str, consumer: int, whole: int, both: int, last: int
) -> None:
    """Both limits count at once, here for two consumers. In RabbitMQ 4.3 the last one counts."""
    delivered = since(broker, (4, 3), last, both)
    confirming.basic_qos(prefetch_count=consumer)
    confirming.basic_qos(prefetch_count=whole, global_qos=True)
    send(confirming, queue, *[b"x"] * 10)
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, queue, log) for _ in range(2)]
    inboxes[0].wait(delivered)
    assert ready(confirming, queue) == 10 - delivered


def test_get_is_not_limited(confirming: BlockingChannel, queue: str) -> None:
    """Messages that get takes never count against the prefetch."""
    confirming.basic_qos(prefetch_count=1, global_qos=True)
    send(confirming, queue, b"1", b"2", b"3", b"4")
    for _ in range(3):
        assert get(confirming, queue)
    Inbox.on(confirming, queue).wait(1)


# --- get


def test_get(confirming: BlockingChannel, queue: str) -> None:
    """The answer holds exchange, key, tag, body, and how many messages are left ready."""
    send(confirming, queue, b"1", b"2", b"3")
    message = get(confirming, queue)
    assert message
    assert (message.exchange, message.routing_key, message.body) == ("", queue, b"1")
    assert (message.tag, message.redelivered, message.left) == (1, False, 2)


def test_get_empty(channel: BlockingChannel, queue: str) -> None:
    """The answer get-empty has no data."""
    assert channel.basic_get(queue) == (None, None, None)


def test_get_missing(channel: BlockingChannel, name: str) -> None:
    """The broker closes the channel with 404 when the queue is missing."""
    with closes(404, f"no queue '{name}' in vhost '/'"):
        channel.basic_get(name)


def test_get_with_no_ack_settles(channel: BlockingChannel, queue: str) -> None:
    """A message taken with no-ack does not come back."""
    send(channel, queue, b"x")
    take(channel, queue, auto_ack=True)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue) == []


def test_tags_are_shared_by_get_and_consume(channel: BlockingChannel, queue: str) -> None:
    """Delivery tags begin at 1, and no-ack deliveries take one, too."""
    send(channel, queue, b"1", b"2", b"3")
    tags = [take(channel, queue).tag, take(channel, queue, auto_ack=True).tag]
    inbox = Inbox.on(channel, queue, auto_ack=True)
    tags.append(inbox.wait(1)[0].tag)
    assert tags == [1, 2, 3]


def test_tags_are_the_channels_own(connection: BlockingConnection, queue: str) -> None:
    """Each channel counts its own delivery tags."""
    channels = [connection.channel() for _ in range(2)]
    send(channels[0], queue, b"1", b"2")
    assert [take(channel, queue).tag for channel in channels] == [1, 1]


# --- consume and cancel


def test_consume_missing(channel: BlockingChannel, name: str) -> None:
    """The broker closes the channel with 404 when the queue is missing."""
    with closes(404, f"no queue '{name}' in vhost '/'"):
        Inbox.on(channel, name)


def test_consumer_tag_in_use(peer: Peer, queue: str) -> None:
    """A consumer tag that the channel uses already closes the connection with 530."""
    consume = commands.Basic.Consume(queue=queue, consumer_tag="t")
    peer.call(consume, commands.Basic.ConsumeOk)
    with closes(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"):
        peer.call(consume, commands.Basic.ConsumeOk)


def test_consumer_tag_on_another_channel(connection: BlockingConnection, queue: str) -> None:
    """Consumer tags belong to the channel: another one may use the same."""
    for _ in range(2):
        assert Inbox.on(connection.channel(), queue, consumer_tag="t").tag == "t"


def test_consumer_tag_after_cancel(peer: Peer, queue: str) -> None:
    """After a cancel the consumer tag is free again."""
    for _ in range(2):
        peer.call(commands.Basic.Consume(queue=queue, consumer_tag="t"), commands.Basic.ConsumeOk)
        peer.call(commands.Basic.Cancel(consumer_tag="t"), commands.Basic.CancelOk)


def test_empty_consumer_tag(peer: Peer, queue: str) -> None:
    """The broker makes a consumer tag for an empty one, a new tag each time."""
    made = set()
    for _ in range(2):
        reply = peer.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        assert re.fullmatch(r"amq\.ctag-.{22}", reply.consumer_tag or "")
        made.add(reply.consumer_tag)
    assert len(made) == 2


def test_consume_ok_comes_before_the_first_delivery(peer: Peer, queue: str) -> None:
    """The broker sends consume-ok before the first delivery to that consumer."""
    for body in (b"1", b"2"):
        peer.publish(body, routing_key=queue)
    peer.call(commands.Basic.Consume(queue=queue, consumer_tag="t"), commands.Basic.ConsumeOk)
    for body in (b"1", b"2"):
        assert peer.expect(commands.Basic.Deliver).consumer_tag == "t"
        assert peer.read_content().body == body


@pytest.mark.parametrize("first", [False, True])
def test_exclusive_consumer(
    connections: Callable[..., BlockingConnection], channel: BlockingChannel, queue: str, first: bool
) -> None:
    """An exclusive consumer tolerates no other: the broker refuses whichever comes second with 403."""
    Inbox.on(channel, queue, exclusive=first)
    with closes(403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"):
        Inbox.on(connections().channel(), queue, exclusive=not first)


def test_exclusive_consumer_on_the_same_channel(channel: BlockingChannel, queue: str) -> None:
    """An exclusive consumer is alone on its queue, on its own channel too."""
    Inbox.on(channel, queue, exclusive=True)
    with closes(403, "in exclusive use"):
        Inbox.on(channel, queue)


def test_exclusive_consumer_leaves(connection: BlockingConnection, queue: str) -> None:
    """After the exclusive consumer's cancel others may consume."""
    channel = connection.channel()
    channel.basic_cancel(Inbox.on(channel, queue, exclusive=True).tag)
    Inbox.on(connection.channel(), queue)


def test_get_beside_an_exclusive_consumer(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """A get is no consumer, so an exclusive one does not hinder it."""
    Inbox.on(channel, queue, exclusive=True)
    assert get(connection.channel(), queue) is None


def test_no_local_is_ignored(peer: Peer, queue: str) -> None:
    """The broker ignores no-local: a consumer gets its own connection's messages."""
    consume = commands.Basic.Consume(queue=queue, no_local=True, no_ack=True)
    peer.call(consume, commands.Basic.ConsumeOk)
    peer.publish(b"own", routing_key=queue)
    peer.expect(commands.Basic.Deliver)
    assert peer.read_content().body == b"own"


def test_deliveries_name_exchange_and_key(channel: BlockingChannel, queue: str) -> None:
    """A delivery names exchange, routing key, consumer and tag."""
    channel.queue_bind(queue, "amq.topic", queue + ".#")
    inbox = Inbox.on(channel, queue)
    channel.basic_publish("amq.topic", queue + ".a.b", b"x")
    (delivery,) = inbox.wait(1)
    assert (delivery.exchange, delivery.routing_key) == ("amq.topic", queue + ".a.b")
    assert (delivery.consumer, delivery.redelivered, delivery.tag) == (inbox.tag, False, 1)


def test_round_robin(confirming: BlockingChannel, queue: str) -> None:
    """Consumers get the messages in turn, in the order in which they subscribed."""
    log: list[Delivery] = []
    inboxes = [Inbox.on(confirming, queue, log, consumer_tag=tag, auto_ack=True) for tag in "abc"]
    for number in range(9):
        send(confirming, queue, str(number))
    inboxes[0].wait(9)
    assert "".join(delivery.consumer for delivery in log) == "abcabcabc"


def test_round_robin_after_a_new_consumer(confirming: BlockingChannel, queue: str) -> None:
    """A consumer that leaves loses its turn."""
    log: list[Delivery] = []
    inboxes = {tag: Inbox.on(confirming, queue, log, consumer_tag=tag, auto_ack=True) for tag in "abc"}
    send(confirming, queue, b"1")
    confirming.basic_cancel("b")
    send(confirming, queue, b"2", b"3", b"4")
    inboxes["a"].wait(4)
    assert "".join(delivery.consumer for delivery in log) == "acac"


def test_full_consumer_is_passed_over(confirming: BlockingChannel, queue: str) -> None:
    """The broker passes over a consumer whose prefetch window is full."""
    log: list[Delivery] = []
    confirming.basic_qos(prefetch_count=1)
    Inbox.on(confirming, queue, log, consumer_tag="full")
    confirming.basic_qos(prefetch_count=0)
    open_inbox = Inbox.on(confirming, queue, log, consumer_tag="open")
    send(confirming, queue, *[b"x"] * 5)
    open_inbox.wait(5)
    assert sorted(delivery.consumer for delivery in log) == ["full"] + ["open"] * 4


def test_consumer_priority(confirming: BlockingChannel, queue: str) -> None:
    """Consumers of the highest x-priority get all they can take, by turns; the others get nothing."""
    log: list[Delivery] = []
    tags = {"low": -1, "none": None, "high": 10, "high too": 10}
    for tag, priority in tags.items():
        arguments = {} if priority is None else {"x-priority": priority}
        inbox = Inbox.on(confirming, queue, log, consumer_tag=tag, arguments=arguments, auto_ack=True)
    send(confirming, queue, *[b"x"] * 4)
    inbox.wait(4)
    assert [delivery.consumer for delivery in log] == ["high", "high too"] * 2


def test_lower_priority_gets_what_higher_cannot_take(confirming: BlockingChannel, queue: str) -> None:
    """The prefetch limits what consumers of a higher x-priority take first."""
    log: list[Delivery] = []
    confirming.basic_qos(prefetch_count=2)
    for tag, priority in (("low", 1), ("middle", 5), ("high", 10)):
        inbox = Inbox.on(confirming, queue, log, consumer_tag=tag, arguments={"x-priority": priority})
    for _ in range(6):
        send(confirming, queue, b"x")
    inbox.wait(6)
    assert [delivery.consumer for delivery in log] == ["high"] * 2 + ["middle"] * 2 + ["low"] * 2


@pytest.mark.parametrize("priority", ["5", True, [1]])
def test_consumer_priority_must_be_a_number(channel: BlockingChannel, queue: str, priority: object) -> None:
    """The broker refuses an x-priority that is not an integer with 406."""
    with closes(406):
        Inbox.on(channel, queue, arguments={"x-priority": priority})


def test_unknown_consume_arguments(channel: BlockingChannel, queue: str) -> None:
    """The broker accepts arguments of consume that it does not know."""
    assert Inbox.on(channel, queue, arguments={"x-behaviour": 1, "other": "y"}).tag


def test_cancel_unknown_tag(peer: Peer) -> None:
    """The broker answers cancel-ok to a consumer tag that it does not know."""
    reply = peer.call(commands.Basic.Cancel(consumer_tag="unknown"), commands.Basic.CancelOk)
    assert reply.consumer_tag == "unknown"


def test_no_deliveries_after_cancel_ok(peer: Peer, queue: str) -> None:
    """After cancel-ok the broker delivers nothing to that consumer."""
    peer.call(commands.Basic.Consume(queue=queue, consumer_tag="t"), commands.Basic.ConsumeOk)
    peer.call(commands.Basic.Cancel(consumer_tag="t"), commands.Basic.CancelOk)
    peer.publish(b"x", routing_key=queue)
    peer.roundtrip()
    assert peer.get(queue).body == b"x"


def test_cancel_leaves_messages_unacked(confirming: BlockingChannel, queue: str) -> None:
    """A cancelled consumer's messages stay unacknowledged on the channel, which may still settle them."""
    send(confirming, queue, b"1", b"2")
    inbox = Inbox.on(confirming, queue)
    first, second = inbox.wait(2)
    confirming.basic_cancel(inbox.tag)
    assert (ready(confirming, queue), consumers(confirming, queue)) == (0, 0)
    confirming.basic_ack(first.tag)
    confirming.basic_nack(second.tag)
    assert bodies(confirming, queue) == [b"2"]


def test_cancel_ok_of_the_client(broker: Broker, peer: Peer) -> None:
    """Our broker ignores a client's cancel-ok; RabbitMQ does not know that method."""
    peer.send(commands.Basic.CancelOk(consumer_tag="t"))
    if broker.kind == "embedded":
        peer.roundtrip()
    else:
        with closes(since(broker, (4, 3), 541, 503)):
            peer.roundtrip()


# --- ack, nack, reject, recover


RECOVER_ASYNC = (60, 100)
"""Class and method id; pamqp warns about the deprecated method."""

BAD_TAGS: dict[str, base.Frame] = {
    "ack unknown": commands.Basic.Ack(delivery_tag=99),
    "ack unknown multiple": commands.Basic.Ack(delivery_tag=99, multiple=True),
    "ack zero": commands.Basic.Ack(delivery_tag=0),
    "nack unknown": commands.Basic.Nack(delivery_tag=99),
    "nack unknown multiple": commands.Basic.Nack(delivery_tag=99, multiple=True),
    "nack zero": commands.Basic.Nack(delivery_tag=0),
    "reject unknown": commands.Basic.Reject(delivery_tag=99),
    "reject zero": commands.Basic.Reject(delivery_tag=0),
}


@pytest.mark.parametrize("bad", BAD_TAGS)
@pytest.mark.parametrize("outstanding", [False, True])
def test_unknown_tag(peer: Peer, queue: str, bad: str, outstanding: bool) -> None:
    """An ack, nack or reject of an unknown tag or of 0 closes the channel with 406."""
    if outstanding:
        peer.publish(b"x", routing_key=queue)
        peer.call(commands.Basic.Get(queue=queue), commands.Basic.GetOk)
        peer.read_content()
    peer.send(BAD_TAGS[bad])
    with closes(406, f"PRECONDITION_FAILED - unknown delivery tag {99 if 'unknown' in bad else 0}"):
        peer.roundtrip()


@pytest.mark.parametrize("first", ["ack", "nack", "reject"])
@pytest.mark.parametrize("second", ["ack", "nack", "reject"])
def test_used_tag(channel: BlockingChannel, queue: str, first: str, second: str) -> None:
    """An ack, nack or reject of a tag that is settled already closes the channel with 406."""
    send(channel, queue, b"x")
    tag = take(channel, queue).tag
    for how in (first, second):
        getattr(channel, f"basic_{how}")(tag)
    with closes(406, f"unknown delivery tag {tag}"):
        roundtrip(channel)


def test_tag_of_a_no_ack_delivery(channel: BlockingChannel, queue: str) -> None:
    """With no-ack there is nothing to acknowledge, so an ack closes the channel with 406."""
    send(channel, queue, b"x")
    channel.basic_ack(take(channel, queue, auto_ack=True).tag)
    with closes(406, "unknown delivery tag 1"):
        roundtrip(channel)


def test_tag_of_another_channel(connection: BlockingConnection, channel: BlockingChannel, queue: str) -> None:
    """Delivery tags belong to the channel: an ack on another one closes that one with 406."""
    send(channel, queue, b"x")
    other = connection.channel()
    other.basic_ack(take(channel, queue).tag)
    with closes(406, "unknown delivery tag 1"):
        roundtrip(other)


@pytest.mark.parametrize("how", ["ack", "nack"])
def test_tag_zero_multiple_without_outstanding(channel: BlockingChannel, how: str) -> None:
    """Tag 0 with multiple means all, and there may be none."""
    getattr(channel, f"basic_{how}")(0, multiple=True)
    roundtrip(channel)


SETTLED = [
    ("ack", 2, False, [b"0", b"2", b"3"]),
    ("ack", 2, True, [b"2", b"3"]),
    ("ack", 4, True, []),
    ("ack", 0, True, []),
    ("nack", 2, False, [b"0", b"1", b"2", b"3"]),
    ("nack", 0, True, [b"0", b"1", b"2", b"3"]),
]


@pytest.mark.parametrize(("how", "tag", "multiple", "left"), SETTLED)
def test_what_is_settled(
    connection: BlockingConnection, queue: str, how: str, tag: int, multiple: bool, left: list[bytes]
) -> None:
    """Ack and nack settle one message, all up to a tag, or all; the rest comes back on close."""
    settling = connection.channel()
    send(settling, queue, b"0", b"1", b"2", b"3")
    for _ in range(4):
        take(settling, queue)
    getattr(settling, f"basic_{how}")(tag, multiple=multiple)
    settling.close()
    channel = connection.channel()
    eventually(lambda: ready(channel, queue) == len(left))
    assert bodies(channel, queue) == left


@pytest.mark.parametrize("multiple", [False, True])
def test_nack_without_requeue_drops(channel: BlockingChannel, queue: str, multiple: bool) -> None:
    """Without a dead-letter exchange the broker drops the message."""
    send(channel, queue, b"0", b"1", b"2")
    for _ in range(2):
        last = take(channel, queue)
    channel.basic_nack(last.tag, multiple=multiple, requeue=False)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue) == ([b"2"] if multiple else [b"0", b"2"])


def test_acks_in_any_order(channel: BlockingChannel, queue: str) -> None:
    """Acks may come in any order, and leave gaps below."""
    send(channel, queue, *[str(number) for number in range(6)])
    tags = [take(channel, queue).tag for _ in range(6)]
    for tag in (tags[4], tags[1], tags[5]):
        channel.basic_ack(tag)
    channel.basic_ack(tags[3], multiple=True)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue) == []


def test_ack_settles_consumed_and_fetched_messages(channel: BlockingChannel, queue: str) -> None:
    """Consume and get share one series of tags, so an ack with multiple settles both kinds."""
    send(channel, queue, b"1", b"2", b"3")
    take(channel, queue)
    inbox = Inbox.on(channel, queue)
    last = inbox.wait(2)[-1].tag
    channel.basic_cancel(inbox.tag)
    channel.basic_ack(last, multiple=True)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue) == []


@pytest.mark.parametrize(
    ("returned", "order"),
    [
        ([1, 0], [0, 1, 3, 4]),
        ([0, 1], [0, 1, 3, 4]),
        ([2], [2, 3, 4]),
        ([2, 0, 1], [0, 1, 2, 3, 4]),
        ([], [3, 4]),
    ],
)
@pytest.mark.parametrize("how", ["nack", "reject"])
def test_requeue_order(
    channel: BlockingChannel, queue: str, how: str, returned: list[int], order: list[int]
) -> None:
    """A requeued message goes back to its old position, by the original order."""
    send(channel, queue, *[str(number) for number in range(5)])
    tags = [take(channel, queue).tag for _ in range(3)]
    for position in returned:
        getattr(channel, f"basic_{how}")(tags[position], requeue=True)
    assert bodies(channel, queue) == [str(number).encode() for number in order]


def test_requeue_multiple_keeps_the_order(channel: BlockingChannel, queue: str) -> None:
    """Messages that one nack requeues keep their order."""
    sent = [str(number).encode() for number in range(10)]
    send(channel, queue, *sent)
    for _ in range(5):
        take(channel, queue)
    channel.basic_nack(0, multiple=True)
    assert bodies(channel, queue) == sent


@pytest.mark.parametrize("how", ["nack", "reject", "recover", "recover async"])
def test_requeue_marks_redelivered(peer: Peer, queue: str, how: str) -> None:
    """The redelivered flag is true for the message that came back, and false for the other."""
    for body in (b"back", b"fresh"):
        peer.publish(body, routing_key=queue)
    get_first = peer.call(commands.Basic.Get(queue=queue), commands.Basic.GetOk)
    peer.read_content()
    if how == "nack":
        peer.send(commands.Basic.Nack(delivery_tag=1))
    elif how == "reject":
        peer.send(commands.Basic.Reject(delivery_tag=1))
    elif how == "recover":
        peer.call(commands.Basic.Recover(requeue=True), commands.Basic.RecoverOk)
    else:
        peer.send_fields(RECOVER_ASYNC, b"\x01")
    found = []
    for _ in range(2):
        reply = peer.call(commands.Basic.Get(queue=queue), commands.Basic.GetOk)
        found.append((peer.read_content().body, reply.redelivered))
    assert get_first.redelivered is False
    assert found == [(b"back", True), (b"fresh", False)]


def test_requeued_message_goes_to_another_consumer(confirming: BlockingChannel, queue: str) -> None:
    """The next consumer in turn gets the requeued message, marked as redelivered."""
    log: list[Delivery] = []
    first = Inbox.on(confirming, queue, log, consumer_tag="first")
    send(confirming, queue, b"x")
    (delivery,) = first.wait(1)
    second = Inbox.on(confirming, queue, log, consumer_tag="second")
    confirming.basic_cancel(first.tag)
    confirming.basic_nack(delivery.tag)
    second.wait(2)
    assert [(each.consumer, each.redelivered) for each in log] == [("first", False), ("second", True)]


@pytest.mark.parametrize("end", ["channel close", "channel error", "connection close"])
def test_end_requeues_all_unacked(
    connections: Callable[..., BlockingConnection], channel: BlockingChannel, queue: str, end: str
) -> None:
    """When a channel or connection ends, its unacknowledged messages come back in order, as redelivered."""
    send(channel, queue, *[str(number) for number in range(5)])
    connection = connections()
    holding = connection.channel()
    for _ in range(3):
        take(holding, queue)
    if end == "connection close":
        connection.close()
    elif end == "channel close":
        holding.close()
    else:
        with closes(404):
            holding.queue_declare("behaviour.missing", passive=True)
    eventually(lambda: ready(channel, queue) == 5)
    found = [take(channel, queue) for _ in range(5)]
    assert [message.body for message in found] == [b"0", b"1", b"2", b"3", b"4"]
    assert [message.redelivered for message in found] == [True, True, True, False, False]


def test_recover_without_requeue(peer: Peer) -> None:
    """Recover without requeue closes the connection with 540."""
    with closes(540):
        peer.call(commands.Basic.Recover(requeue=False), commands.Basic.RecoverOk)


def test_recover_returns_all_unacked(channel: BlockingChannel, queue: str) -> None:
    """Recover with requeue brings all unacknowledged messages back into the queue."""
    send(channel, queue, b"1", b"2", b"3")
    for _ in range(2):
        take(channel, queue)
    channel.basic_recover(requeue=True)
    assert bodies(channel, queue) == [b"1", b"2", b"3"]


def test_recover_redelivers_to_the_consumer(channel: BlockingChannel, queue: str) -> None:
    """Recover delivers the message to the consumer again, with a new tag."""
    send(channel, queue, b"x")
    inbox = Inbox.on(channel, queue)
    inbox.wait(1)
    channel.basic_recover(requeue=True)
    inbox.wait(2)
    assert [(each.tag, each.redelivered) for each in inbox.into] == [(1, False), (2, True)]


# --- together


def test_consumers_on_several_connections_share(
    connections: Callable[..., BlockingConnection], confirming: BlockingChannel, queue: str
) -> None:
    """Consumers on several connections take turns, and each message arrives once."""
    inboxes = [Inbox.on(connections().channel(), queue, auto_ack=True) for _ in range(3)]
    sent = [str(number).encode() for number in range(30)]
    send(confirming, queue, *sent)
    for inbox in inboxes:
        inbox.wait(10)
    assert sorted(body for inbox in inboxes for body in inbox.bodies) == sorted(sent)


def test_publishers_at_the_same_time(
    connections: Callable[..., BlockingConnection], channel: BlockingChannel, queue: str
) -> None:
    """Each publisher's messages keep their order, and none is lost."""

    def publish(connection: BlockingConnection, mark: str) -> None:
        publishing: Any = connection.channel()
        publishing.confirm_delivery()
        send(publishing, queue, *[f"{mark}{number:03}" for number in range(50)])

    threads = [threading.Thread(target=publish, args=(connections(), mark)) for mark in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [body.decode() for body in bodies(channel, queue)]
    assert sorted(found) == [f"{mark}{number:03}" for mark in "abcd" for number in range(50)]
    for mark in "abcd":
        own = [body for body in found if body.startswith(mark)]
        assert own == sorted(own)
