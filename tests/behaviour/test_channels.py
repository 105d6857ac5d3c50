"""Opening, closing and numbering of channels, and the rules for all methods (BROKER_SPEC 0 and 1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pamqp import commands
from tests.behaviour.peer import ClosedByBrokerError, Peer, shortstr, table
from tests.behaviour.support import Broker, bodies, closes, ready, roundtrip, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp import base
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.support import Names

MISSING = commands.Queue.Declare(queue="behaviour.missing", passive=True)


@pytest.mark.parametrize(
    "method",
    [
        commands.Queue.Declare(queue="q"),
        commands.Basic.Get(queue="q"),
        commands.Channel.Close(200, "", 0, 0),
        commands.Channel.CloseOk(),
    ],
    ids=lambda method: method.name,
)
def test_method_on_unopened_channel(peer: Peer, method: base.Frame) -> None:
    """Section 1.2, method on unopened channel."""
    with closes(504, "CHANNEL_ERROR - expected 'channel.open'"):
        peer.call(method, commands.Channel.OpenOk, channel=2)


def test_content_on_unopened_channel(peer: Peer) -> None:
    """Section 1.2, method on unopened channel."""
    peer.publish(b"x", routing_key="q", channel=2)
    with closes(504, "CHANNEL_ERROR - expected 'channel.open'"):
        peer.read_method()


def test_second_channel_open(peer: Peer) -> None:
    """Section 1.2, channel.open twice."""
    with closes(504, "second 'channel.open' seen"):
        peer.open_channel()


def test_more_channels_than_tuned(peers: Callable[[], Peer]) -> None:
    """Section 1.2, channel-max; RabbitMQ counts open channels rather than compare numbers."""
    peer = peers().login(channel_max=1).open_channel(1)
    with closes(530):
        peer.open_channel(2)


def test_highest_channel_number(peer: Peer) -> None:
    """Section 1.2, channel-max."""
    peer.open_channel(2047).roundtrip(2047)


def test_closed_channels_do_not_count(peers: Callable[[], Peer]) -> None:
    """Section 1.2, channel-max: one channel at a time, again and again."""
    peer = peers().login(channel_max=1)
    for _ in range(5):
        peer.open_channel()
        peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)


def test_channel_error_leaves_connection_and_other_channels(connection: BlockingConnection) -> None:
    """Rule 0.2: a channel error costs the channel only."""
    other = connection.channel()
    with closes(404):
        connection.channel().queue_declare("behaviour.missing", passive=True)
    roundtrip(other)


def test_close_names_the_offending_method(peer: Peer) -> None:
    """Rule 0.1: class and method id."""
    with pytest.raises(ClosedByBrokerError) as caught:
        peer.call(MISSING, commands.Queue.DeclareOk)
    assert caught.value.offender == (50, 10)


def test_error_text_begins_with_the_name_of_the_code(channel: BlockingChannel) -> None:
    """Rule 0.1."""
    with closes(404, "NOT_FOUND - no queue 'behaviour.missing' in vhost '/'"):
        channel.queue_declare("behaviour.missing", passive=True)


def test_long_error_text_is_cut(channel: BlockingChannel) -> None:
    """Rule 0.1: a reply text has 255 bytes at most, also if the name in it takes them all."""
    with closes(404, "NOT_FOUND - no queue 'xxx"):
        channel.queue_declare("x" * 255, passive=True)


def test_channel_number_is_reusable_after_close_ok(peer: Peer) -> None:
    """Rule 0.3."""
    with closes(404):
        peer.call(MISSING, commands.Queue.DeclareOk)
    peer.open_channel().roundtrip()


def test_channel_number_is_reusable_after_clients_close(peer: Peer) -> None:
    """Section 1.3, close by either side."""
    peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
    peer.open_channel().roundtrip()


def test_methods_are_discarded_between_close_and_close_ok(peer: Peer, queue: str) -> None:
    """Rule 0.3: publishing on a channel that the broker has closed does nothing."""
    peer.answer_close = False
    with closes(404):
        peer.call(MISSING, commands.Queue.DeclareOk)
    peer.publish(b"lost", routing_key=queue)
    peer.send(commands.Queue.Declare(queue=queue))
    peer.send(commands.Channel.CloseOk())
    peer.open_channel()
    peer.publish(b"kept", routing_key=queue)
    assert peer.get(queue).body == b"kept"


def test_both_sides_close_the_channel(peer: Peer) -> None:
    """Rule 0.3: each still answers close-ok."""
    peer.answer_close = False
    with closes(404):
        peer.call(MISSING, commands.Queue.DeclareOk)
    peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
    peer.send(commands.Channel.CloseOk())
    peer.open_channel().roundtrip()


def test_flow_on_is_confirmed(peer: Peer) -> None:
    """Section 1.3, channel.flow(active=true)."""
    assert peer.call(commands.Channel.Flow(active=True), commands.Channel.FlowOk).active is True


def test_flow_off_is_not_implemented(peer: Peer) -> None:
    """Section 1.3, channel.flow(active=false)."""
    with closes(540):
        peer.call(commands.Channel.Flow(active=False), commands.Channel.FlowOk)


def test_success_with_no_wait_is_silent(peer: Peer, names: Names) -> None:
    """Rule 0.5: the first answer is that of the roundtrip."""
    queue, exchange = names(), names()
    peer.send(commands.Queue.Declare(queue=queue, nowait=True))
    peer.send(commands.Exchange.Declare(exchange=exchange, exchange_type="fanout", nowait=True))
    peer.send(commands.Queue.Bind(queue=queue, exchange=exchange, nowait=True))
    peer.send(commands.Exchange.Bind(destination=exchange, source="amq.fanout", nowait=True))
    peer.send(commands.Basic.Consume(queue=queue, consumer_tag="c", nowait=True))
    peer.send(commands.Basic.Cancel(consumer_tag="c", nowait=True))
    peer.send(commands.Exchange.Unbind(destination=exchange, source="amq.fanout", nowait=True))
    peer.send(commands.Queue.Purge(queue=queue, nowait=True))
    peer.send(commands.Queue.Delete(queue=queue, nowait=True))
    peer.send(commands.Exchange.Delete(exchange=exchange, nowait=True))
    peer.roundtrip()


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (commands.Queue.Declare(queue="behaviour.missing", passive=True, nowait=True), 404),
        (commands.Queue.Declare(queue="amq.behaviour", nowait=True), 403),
        (commands.Queue.Bind(queue="behaviour.missing", exchange="amq.fanout", nowait=True), 404),
        (commands.Queue.Purge(queue="behaviour.missing", nowait=True), 404),
        (commands.Exchange.Delete(exchange="amq.fanout", nowait=True), 403),
        (commands.Basic.Consume(queue="behaviour.missing", nowait=True), 404),
    ],
)
def test_error_with_no_wait_closes_the_channel(peer: Peer, method: base.Frame, code: int) -> None:
    """Rule 0.5."""
    peer.send(method)
    with closes(code):
        peer.roundtrip()


@pytest.mark.parametrize(
    "method",
    [
        commands.Queue.Bind(queue="", exchange="amq.fanout"),
        commands.Basic.Consume(queue=""),
        commands.Basic.Get(queue=""),
        commands.Queue.Purge(queue=""),
        commands.Queue.Delete(queue=""),
    ],
    ids=lambda method: method.name,
)
def test_empty_queue_name_without_a_declared_queue(peer: Peer, method: base.Frame) -> None:
    """Rule 0.6."""
    with closes(404, "no previously declared queue"):
        peer.call(method, commands.Queue.BindOk)


def test_passive_declare_of_the_empty_name(peer: Peer) -> None:
    """Rule 0.6."""
    with closes(404, "no queue ''"):
        peer.call(commands.Queue.Declare(queue="", passive=True), commands.Queue.DeclareOk)


def test_empty_queue_name_is_the_last_declared(channel: BlockingChannel, names: Names) -> None:
    """Rule 0.6."""
    first, last = names("first"), names("last")
    channel.queue_declare(first)
    channel.queue_declare(last)
    channel.queue_bind("", "amq.direct", routing_key=first)
    channel.basic_publish("amq.direct", first, b"through the binding")
    assert bodies(channel, "") == [b"through the binding"]
    assert ready(channel, first) == 0


def test_last_declared_queue_belongs_to_the_channel(connection: BlockingConnection, queue: str) -> None:
    """Rule 0.6."""
    with closes(404, "no previously declared queue"):
        connection.channel().queue_purge("")


def test_empty_key_and_queue_bind_with_the_queue_name(channel: BlockingChannel, name: str) -> None:
    """Rule 0.6: both empty mean the queue's name as the key."""
    channel.queue_declare(name)
    channel.queue_bind("", "amq.direct", routing_key="")
    channel.basic_publish("amq.direct", name, b"by name")
    assert bodies(channel, name) == [b"by name"]


def test_empty_key_with_a_named_queue_stays_empty(channel: BlockingChannel, queue: str) -> None:
    """Rule 0.6: only both empty have the special meaning."""
    channel.exchange_declare(queue, "direct")
    channel.queue_bind(queue, queue, routing_key="")
    channel.basic_publish(queue, queue, b"by name")
    channel.basic_publish(queue, "", b"by empty key")
    assert bodies(channel, queue) == [b"by empty key"]


@pytest.mark.parametrize(
    "suffix",
    ["ä€😀", " a b\t ", "'\"\\%/#*", "\x01\x7f", "x" * 200],
    ids=["unicode", "spaces", "quotes", "control", "long"],
)
def test_names_hold_any_character(channel: BlockingChannel, names: Names, suffix: str) -> None:
    """Rule 0.7: queues, exchanges and keys."""
    made = names(suffix)
    channel.queue_declare(made)
    channel.exchange_declare(made, "direct")
    channel.queue_bind(made, made, routing_key=suffix)
    channel.basic_publish(made, suffix, b"found")
    assert bodies(channel, made) == [b"found"]


def test_line_ends_are_left_out_of_queue_names(peer: Peer, name: str) -> None:
    """Rule 0.7, exception: RabbitMQ declares the name without carriage returns and line feeds."""
    broken = shortstr(f"\r{name[:9]}\r\n{name[9:]}\n")
    peer.send_fields((50, 10), b"\x00\x00" + broken + b"\x00" + table())
    assert peer.expect(commands.Queue.DeclareOk).queue == name


def test_line_ends_are_left_out_of_exchange_names(peer: Peer, name: str) -> None:
    """Rule 0.7, exception: as for queues."""
    broken = shortstr(f"\r{name[:9]}\r\n{name[9:]}\n")
    peer.send_fields((40, 10), b"\x00\x00" + broken + shortstr("fanout") + b"\x00" + table())
    peer.expect(commands.Exchange.DeclareOk)
    peer.call(commands.Exchange.Declare(exchange=name, passive=True), commands.Exchange.DeclareOk)


def test_longest_name(channel: BlockingChannel, names: Names) -> None:
    """Rule 0.7: 255 bytes."""
    made = names("x" * 212)
    assert len(made) == 255
    assert channel.queue_declare(made).method.queue == made


def test_one_channel_keeps_the_order_of_messages(channel: BlockingChannel, queue: str) -> None:
    """Rule 0.8."""
    sent = [str(number).encode() for number in range(500)]
    send(channel, queue, *sent)
    assert bodies(channel, queue) == sent


def test_methods_of_a_channel_take_effect_in_order(channel: BlockingChannel, queue: str) -> None:
    """Rule 0.8: what is published before a binding is made does not profit from it."""
    channel.exchange_declare(queue, "fanout")
    channel.basic_publish(queue, "", b"before")
    channel.queue_bind(queue, queue)
    channel.basic_publish(queue, "", b"bound")
    channel.queue_unbind(queue, queue)
    channel.basic_publish(queue, "", b"after")
    assert bodies(channel, queue) == [b"bound"]


def test_declare_counts_messages_published_before(confirming: BlockingChannel, queue: str) -> None:
    """Rule 0.8: once confirmed, a message is counted."""
    for count in range(1, 21):
        send(confirming, queue, b"x")
        assert ready(confirming, queue) == count


def test_declare_counts_unconfirmed_messages_too(
    broker: Broker, channel: BlockingChannel, queue: str
) -> None:
    """Rule 0.8: ours is strict; RabbitMQ 3.10 may answer before it has queued the message."""
    send(channel, queue, *[b"x"] * 20)
    count = ready(channel, queue)
    assert count == 20 if broker.kind == "embedded" else count in range(21)
