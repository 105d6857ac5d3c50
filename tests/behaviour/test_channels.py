"""Opening, closing and numbering of channels, and the rules for all methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pamqp import commands
from tests.behaviour.peer import ClosedByBrokerError, Peer, shortstr, table
from tests.behaviour.support import bodies, closes, ready, roundtrip, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp import base
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker

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
    """A method on a channel that is not open closes the connection with 504."""
    with closes(504, "CHANNEL_ERROR - expected 'channel.open'"):
        peer.call(method, commands.Channel.OpenOk, channel=2)


def test_content_on_unopened_channel(peer: Peer) -> None:
    """A publish on a channel that is not open closes the connection with 504."""
    peer.publish(b"x", routing_key="q", channel=2)
    with closes(504, "CHANNEL_ERROR - expected 'channel.open'"):
        peer.read_method()


def test_second_channel_open(peer: Peer) -> None:
    """A second channel.open on the same number closes the connection with 504."""
    with closes(504, "second 'channel.open' seen"):
        peer.open_channel()


@pytest.mark.parametrize("numbers", [(1, 2), (65535, 1), (2, 3)])
def test_more_channels_than_tuned(peers: Callable[[], Peer], numbers: tuple[int, int]) -> None:
    """One channel too many closes the connection with 530; the broker counts, and minds no numbers."""
    first, second = numbers
    peer = peers().login(channel_max=1).open_channel(first)
    text = "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)"
    with closes(530, text):
        peer.open_channel(second)


def test_highest_channel_number(peer: Peer) -> None:
    """Any number may be used, whatever the broker proposes."""
    peer.open_channel(65535).roundtrip(65535)


def test_channel_closed_by_the_broker_does_not_count(peers: Callable[[], Peer]) -> None:
    """Even before the client has confirmed its end."""
    peer = peers().login(channel_max=1).open_channel(1)
    with closes(404):
        peer.call(commands.Queue.Declare(queue="behaviour.missing", passive=True), commands.Queue.DeclareOk)
    peer.open_channel(2).roundtrip(2)


def test_closed_channels_do_not_count(peers: Callable[[], Peer]) -> None:
    """With a limit of one, a client may open one channel after the other."""
    peer = peers().login(channel_max=1)
    for _ in range(5):
        peer.open_channel()
        peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)


def test_channel_error_leaves_connection_and_other_channels(connection: BlockingConnection) -> None:
    """A channel error costs the channel only."""
    other = connection.channel()
    with closes(404):
        connection.channel().queue_declare("behaviour.missing", passive=True)
    roundtrip(other)


def test_close_names_the_offending_method(peer: Peer) -> None:
    """The broker's close holds class and method id of the method that it refuses."""
    with pytest.raises(ClosedByBrokerError) as caught:
        peer.call(MISSING, commands.Queue.DeclareOk)
    assert caught.value.offender == (50, 10)


def test_error_text_begins_with_the_name_of_the_code(channel: BlockingChannel) -> None:
    """The reply text is the code's name, a dash, and an explanation."""
    with closes(404, "NOT_FOUND - no queue 'behaviour.missing' in vhost '/'"):
        channel.queue_declare("behaviour.missing", passive=True)


def test_long_error_text_is_cut(channel: BlockingChannel) -> None:
    """A reply text has 255 bytes at most, also if the name in it takes them all."""
    with closes(404, "NOT_FOUND - no queue 'xxx"):
        channel.queue_declare("x" * 255, passive=True)


def test_channel_number_is_reusable_after_close_ok(peer: Peer) -> None:
    """After the client's close-ok the number is free again."""
    with closes(404):
        peer.call(MISSING, commands.Queue.DeclareOk)
    peer.open_channel().roundtrip()


def test_channel_number_is_reusable_after_clients_close(peer: Peer) -> None:
    """After the broker's close-ok the number is free again."""
    peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
    peer.open_channel().roundtrip()


def test_methods_are_discarded_between_close_and_close_ok(peer: Peer, queue: str) -> None:
    """Publishing on a channel that the broker has closed does nothing."""
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
    """If both sides close at once, each still answers close-ok."""
    peer.answer_close = False
    with closes(404):
        peer.call(MISSING, commands.Queue.DeclareOk)
    peer.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
    peer.send(commands.Channel.CloseOk())
    peer.open_channel().roundtrip()


def test_flow_on_is_confirmed(peer: Peer) -> None:
    """The broker answers channel.flow(active=true) with flow-ok."""
    assert peer.call(commands.Channel.Flow(active=True), commands.Channel.FlowOk).active is True


def test_flow_off_is_not_implemented(peer: Peer) -> None:
    """A client cannot stop the flow: channel.flow(active=false) closes the connection with 540."""
    with closes(540):
        peer.call(commands.Channel.Flow(active=False), commands.Channel.FlowOk)


def test_success_with_no_wait_is_silent(peer: Peer, names: Names) -> None:
    """With no-wait the broker answers no success: the first answer is that of the roundtrip."""
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
    """With no-wait an error closes the channel all the same."""
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
    """An empty name means the last declared queue; without one the broker closes the channel with 404."""
    with closes(404, "no previously declared queue"):
        peer.call(method, commands.Queue.BindOk)


def test_passive_declare_of_the_empty_name(peer: Peer) -> None:
    """The broker closes the channel with 404, and takes the empty name for a queue's name."""
    with closes(404, "no queue ''"):
        peer.call(commands.Queue.Declare(queue="", passive=True), commands.Queue.DeclareOk)


def test_empty_queue_name_is_the_last_declared(channel: BlockingChannel, names: Names) -> None:
    """An empty name means the queue that the channel declared last."""
    first, last = names("first"), names("last")
    channel.queue_declare(first)
    channel.queue_declare(last)
    channel.queue_bind("", "amq.direct", routing_key=first)
    channel.basic_publish("amq.direct", first, b"through the binding")
    assert bodies(channel, "") == [b"through the binding"]
    assert ready(channel, first) == 0


def test_last_declared_queue_belongs_to_the_channel(connection: BlockingConnection, queue: str) -> None:
    """What one channel declared is no last queue for another."""
    with closes(404, "no previously declared queue"):
        connection.channel().queue_purge("")


def test_empty_key_and_queue_bind_with_the_queue_name(channel: BlockingChannel, name: str) -> None:
    """An empty key with an empty queue name means the queue's name as the key."""
    channel.queue_declare(name)
    channel.queue_bind("", "amq.direct", routing_key="")
    channel.basic_publish("amq.direct", name, b"by name")
    assert bodies(channel, name) == [b"by name"]


def test_empty_key_with_a_named_queue_stays_empty(channel: BlockingChannel, queue: str) -> None:
    """The empty key has that special meaning only where the queue name is empty, too."""
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
    """Names of queues and exchanges, and keys, may hold any character."""
    made = names(suffix)
    channel.queue_declare(made)
    channel.exchange_declare(made, "direct")
    channel.queue_bind(made, made, routing_key=suffix)
    channel.basic_publish(made, suffix, b"found")
    assert bodies(channel, made) == [b"found"]


def test_line_ends_are_left_out_of_queue_names(peer: Peer, name: str) -> None:
    """The broker declares the name without its carriage returns and line feeds."""
    broken = shortstr(f"\r{name[:9]}\r\n{name[9:]}\n")
    peer.send_fields((50, 10), b"\x00\x00" + broken + b"\x00" + table())
    assert peer.expect(commands.Queue.DeclareOk).queue == name


def test_line_ends_are_left_out_of_exchange_names(peer: Peer, name: str) -> None:
    """The broker declares the name without its carriage returns and line feeds, as it does for queues."""
    broken = shortstr(f"\r{name[:9]}\r\n{name[9:]}\n")
    peer.send_fields((40, 10), b"\x00\x00" + broken + shortstr("fanout") + b"\x00" + table())
    peer.expect(commands.Exchange.DeclareOk)
    peer.call(commands.Exchange.Declare(exchange=name, passive=True), commands.Exchange.DeclareOk)


def test_longest_name(channel: BlockingChannel, names: Names) -> None:
    """A name may have 255 bytes."""
    made = names("x" * 212)
    assert len(made) == 255
    assert channel.queue_declare(made).method.queue == made


def test_one_channel_keeps_the_order_of_messages(channel: BlockingChannel, queue: str) -> None:
    """Messages from one channel to one queue keep their order."""
    sent = [str(number).encode() for number in range(500)]
    send(channel, queue, *sent)
    assert bodies(channel, queue) == sent


def test_methods_of_a_channel_take_effect_in_order(channel: BlockingChannel, queue: str) -> None:
    """A message that is published before a binding is made does not pass through it."""
    channel.exchange_declare(queue, "fanout")
    channel.basic_publish(queue, "", b"before")
    channel.queue_bind(queue, queue)
    channel.basic_publish(queue, "", b"bound")
    channel.queue_unbind(queue, queue)
    channel.basic_publish(queue, "", b"after")
    assert bodies(channel, queue) == [b"bound"]


def test_declare_counts_messages_published_before(confirming: BlockingChannel, queue: str) -> None:
    """Once the broker has confirmed a message, a declare counts it."""
    for count in range(1, 21):
        send(confirming, queue, b"x")
        assert ready(confirming, queue) == count


def test_declare_counts_unconfirmed_messages_too(
    broker: Broker, channel: BlockingChannel, queue: str
) -> None:
    """Our broker is strict; RabbitMQ 3.10 may answer before it has queued the message."""
    send(channel, queue, *[b"x"] * 20)
    count = ready(channel, queue)
    assert count == 20 if broker.kind == "embedded" else count in range(21)
