"""The headers exchange."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pamqp import commands
from tests.behaviour.peer import shortstr, table
from tests.behaviour.support import bodies, closes, since

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.behaviour.peer import Peer
    from tests.support.brokers import Broker

ALL: dict[str, Any] = {"x-match": "all"}
ANY: dict[str, Any] = {"x-match": "any"}
ALL_X: dict[str, Any] = {"x-match": "all-with-x"}
ANY_X: dict[str, Any] = {"x-match": "any-with-x"}

TABLE: list[tuple[dict[str, Any], dict[str, Any] | None, bool]] = [
    # x-match all, the default
    ({**ALL, "a": "1", "b": "2"}, {"a": "1", "b": "2"}, True),
    ({**ALL, "a": "1", "b": "2"}, {"b": "2", "a": "1", "c": "3"}, True),
    ({**ALL, "a": "1", "b": "2"}, {"a": "1"}, False),
    ({**ALL, "a": "1", "b": "2"}, {"a": "1", "b": "3"}, False),
    ({**ALL, "a": "1"}, {}, False),
    ({**ALL, "a": "1"}, None, False),
    ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, True),
    ({"a": "1", "b": "2"}, {"a": "1"}, False),
    # x-match any
    ({**ANY, "a": "1", "b": "2"}, {"a": "1"}, True),
    ({**ANY, "a": "1", "b": "2"}, {"b": "2", "c": "3"}, True),
    ({**ANY, "a": "1", "b": "2"}, {"a": "2", "b": "1"}, False),
    ({**ANY, "a": "1", "b": "2"}, {"c": "1"}, False),
    ({**ANY, "a": "1"}, None, False),
    # nothing to compare
    ({}, None, True),
    ({}, {}, True),
    ({}, {"a": "1"}, True),
    (ALL, None, True),
    (ALL, {"a": "1"}, True),
    (ANY, None, False),
    (ANY, {"a": "1"}, False),
    # arguments that begin with x- are skipped, unless asked for
    ({**ALL, "x-a": "1"}, {}, True),
    ({**ALL, "x-a": "1", "b": "2"}, {"b": "2"}, True),
    ({**ANY, "x-a": "1"}, {"x-a": "1"}, False),
    ({**ANY, "x-a": "1", "b": "2"}, {"x-a": "1"}, False),
    ({**ALL_X, "x-a": "1"}, {"x-a": "1"}, True),
    ({**ALL_X, "x-a": "1", "b": "2"}, {"b": "2"}, False),
    ({**ALL_X, "x-a": "1", "b": "2"}, {"x-a": "1", "b": "2"}, True),
    ({**ANY_X, "x-a": "1", "b": "2"}, {"x-a": "1"}, True),
    ({**ANY_X, "x-a": "1", "b": "2"}, {"b": "2"}, True),
    ({**ANY_X, "x-a": "1", "b": "2"}, {"x-a": "2"}, False),
    # a void argument asks for the header alone
    ({**ALL, "a": None}, {"a": "anything"}, True),
    ({**ALL, "a": None}, {"a": 5}, True),
    ({**ALL, "a": None}, {"a": None}, True),
    ({**ALL, "a": None}, {"b": "1"}, False),
    ({**ANY, "a": None, "b": "2"}, {"a": "anything"}, True),
    ({**ANY, "a": None}, {}, False),
    ({**ALL, "a": "1"}, {"a": None}, False),
    # values must be equal: text and bytes may be, text and numbers never are
    ({**ALL, "a": 1}, {"a": 1}, True),
    ({**ALL, "a": 1}, {"a": 2}, False),
    ({**ALL, "a": 1}, {"a": "1"}, False),
    ({**ALL, "a": "1"}, {"a": 1}, False),
    ({**ALL, "a": "1"}, {"a": b"1"}, True),
    ({**ALL, "a": b"1"}, {"a": "1"}, True),
    ({**ALL, "a": b"1"}, {"a": b"1"}, True),
    ({**ALL, "a": True}, {"a": True}, True),
    ({**ALL, "a": True}, {"a": False}, False),
    ({**ALL, "a": True}, {"a": 1}, False),
    ({**ALL, "a": True}, {"a": "true"}, False),
    ({**ALL, "a": Decimal("1.5")}, {"a": Decimal("1.5")}, True),
    ({**ALL, "a": ["1", 2]}, {"a": ["1", 2]}, True),
    ({**ALL, "a": ["1", 2]}, {"a": [2, "1"]}, False),
    ({**ALL, "a": {"b": "1"}}, {"a": {"b": "1"}}, True),
    ({**ALL, "a": {"b": "1"}}, {"a": {"b": "2"}}, False),
    # so must be what is inside of lists and tables
    ({**ALL, "a": [True]}, {"a": [True]}, True),
    ({**ALL, "a": [True]}, {"a": [1]}, False),
    ({**ALL, "a": [0]}, {"a": [False]}, False),
    ({**ALL, "a": {"b": True}}, {"a": {"b": 1}}, False),
    ({**ALL, "a": [{"b": [1]}]}, {"a": [{"b": [True]}]}, False),
    ({**ALL, "a": ["1"]}, {"a": [b"1"]}, False),
    ({**ALL, "a": [Decimal("1.5")]}, {"a": [Decimal("1.5")]}, True),
    ({**ALL, "a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, False),
    # names and values are compared exactly
    ({**ALL, "a": "x"}, {"A": "x"}, False),
    ({**ALL, "a": "x"}, {"a": "X"}, False),
    ({**ALL, "a": ""}, {"a": ""}, True),
    ({**ALL, "a": ""}, {}, False),
    ({**ALL, "ä": "€"}, {"ä": "€"}, True),
    ({**ALL, "": "x"}, {"": "x"}, True),
    ({**ALL, "a": "*"}, {"a": "x"}, False),
]


UNTIL_4 = "until RabbitMQ 4"


def describe(value: object) -> str:
    return str(value).replace(" ", "").replace("'", "")


@pytest.fixture
def exchange(channel: BlockingChannel, name: str) -> str:
    """A headers exchange."""
    channel.exchange_declare(name, "headers")
    return name


@pytest.mark.parametrize(("arguments", "headers", "routed"), TABLE, ids=describe)
def test_match(
    channel: BlockingChannel,
    exchange: str,
    queue: str,
    arguments: dict[str, Any],
    headers: dict[str, Any] | None,
    routed: bool,
) -> None:
    """A message is routed or not, as one row of the table says."""
    channel.queue_bind(queue, exchange, arguments=arguments)
    channel.basic_publish(exchange, "", b"x", pika.BasicProperties(headers=headers))
    assert bodies(channel, queue) == [b"x"] * routed


@pytest.mark.parametrize(
    ("bound", "sent", "routed"),
    [
        (b"I" + struct.pack(">i", 5), b"l" + struct.pack(">q", 5), True),
        (b"l" + struct.pack(">q", 5), b"b\x05", True),
        (b"b\x05", b"s" + struct.pack(">h", 5), True),
        (b"B\x05", b"I" + struct.pack(">i", 5), True),
        (b"u" + struct.pack(">H", 5), b"i" + struct.pack(">I", 5), True),
        (b"I" + struct.pack(">i", -5), b"l" + struct.pack(">q", -5), True),
        (b"d" + struct.pack(">d", 1.5), b"d" + struct.pack(">d", 1.5), True),
        (b"f" + struct.pack(">f", 1.5), b"d" + struct.pack(">d", 1.5), True),
        (b"I" + struct.pack(">i", 1), b"d" + struct.pack(">d", 1.0), UNTIL_4),
        (b"T" + struct.pack(">Q", 5), b"l" + struct.pack(">q", 5), True),
        (b"T" + struct.pack(">Q", 5), b"T" + struct.pack(">Q", 5), UNTIL_4),
        (b"l" + struct.pack(">q", 5), b"T" + struct.pack(">Q", 5), UNTIL_4),
        (b"D\x01\x00\x00\x00\x0f", b"D\x02\x00\x00\x00\x96", False),
    ],
    ids=describe,
)
def test_number_types(
    broker: Broker, peer: Peer, name: str, bound: bytes, sent: bytes, routed: bool | str
) -> None:
    """The broker compares numbers of all widths and kinds by value, even timestamps.

    RabbitMQ 4 tells integers from fractions, and timestamps in a message from both.
    """
    if routed == UNTIL_4:
        routed = since(broker, (4, 0), False, True)
    queue = peer.call(commands.Queue.Declare(exclusive=True), commands.Queue.DeclareOk).queue
    assert queue
    peer.call(commands.Exchange.Declare(exchange=name, exchange_type="headers"), commands.Exchange.DeclareOk)
    binding = b"\x00\x00" + shortstr(queue) + shortstr(name) + b"\x00\x00" + table((b"k", bound))
    peer.send_fields((50, 20), binding)
    peer.expect(commands.Queue.BindOk)
    peer.publish(b"", exchange=name, property_bytes=b"\x20\x00" + table((b"k", sent)))
    declared = peer.call(commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk)
    assert declared.message_count == int(routed)


@pytest.mark.parametrize("value", ["some", "", "ALL", "all ", "none"])
def test_unknown_x_match(channel: BlockingChannel, exchange: str, queue: str, value: str) -> None:
    """The broker closes the channel with 406 when x-match is none of its four words."""
    shown = f'<<"{value}">>' if value else "<<>>"
    with closes(406, f"Invalid x-match field value {shown}; expected all, any, all-with-x, or any-with-x"):
        channel.queue_bind(queue, exchange, arguments={"x-match": value})


@pytest.mark.parametrize("value", [1, True, None, ["all"]])
def test_x_match_must_be_text(channel: BlockingChannel, exchange: str, queue: str, value: object) -> None:
    """The broker closes the channel with 406 when x-match is not a text."""
    with closes(406, "x-match"):
        channel.queue_bind(queue, exchange, arguments={"x-match": value})


def test_x_match_on_an_exchange_binding(channel: BlockingChannel, exchange: str) -> None:
    """The broker checks x-match also for a binding towards an exchange."""
    with closes(406, 'Invalid x-match field value <<"some">>'):
        channel.exchange_bind("amq.fanout", exchange, arguments={"x-match": "some"})


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic"])
def test_other_exchanges_do_not_care_for_x_match(channel: BlockingChannel, queue: str, kind: str) -> None:
    """On exchanges of other types x-match means nothing."""
    channel.exchange_declare(queue, kind)
    channel.queue_bind(queue, queue, "k", arguments={"x-match": "some"})
    channel.basic_publish(queue, "k", b"x")
    assert bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("key", ["", "bound", "other"])
def test_routing_key_is_ignored(channel: BlockingChannel, exchange: str, queue: str, key: str) -> None:
    """Only the headers count, not the keys."""
    channel.queue_bind(queue, exchange, "bound", arguments={"a": "1"})
    channel.basic_publish(exchange, key, b"x", pika.BasicProperties(headers={"a": "1"}))
    assert bodies(channel, queue) == [b"x"]


def test_bindings_differ_by_arguments(channel: BlockingChannel, exchange: str, queue: str) -> None:
    """A queue may have several bindings, and an unbind removes that with its arguments."""
    for value in ("1", "2"):
        channel.queue_bind(queue, exchange, "", arguments={"a": value})
    channel.queue_unbind(queue, exchange, "", arguments={"a": "1"})
    for value in ("1", "2"):
        channel.basic_publish(exchange, "", value.encode(), pika.BasicProperties(headers={"a": value}))
    assert bodies(channel, queue) == [b"2"]


def test_several_matches_deliver_once(channel: BlockingChannel, exchange: str, queue: str) -> None:
    """The queue gets one copy of a message that several bindings match."""
    for arguments in ({"a": "1"}, {"b": "2"}, {**ANY, "a": "1", "b": "2"}, {}):
        channel.queue_bind(queue, exchange, arguments=arguments)
    channel.basic_publish(exchange, "", b"once", pika.BasicProperties(headers={"a": "1", "b": "2"}))
    assert bodies(channel, queue) == [b"once"]


def test_headers_through_an_exchange_binding(channel: BlockingChannel, exchange: str, queue: str) -> None:
    """Arguments count on bindings between exchanges, too."""
    channel.exchange_bind(exchange, "amq.match", arguments={"behaviour": exchange})
    channel.queue_bind(queue, exchange, arguments={"a": "1"})
    for headers in ({"behaviour": exchange, "a": "1"}, {"behaviour": exchange}, {"a": "1"}):
        body = ",".join(headers).encode()
        channel.basic_publish("amq.match", "", body, pika.BasicProperties(headers=headers))
    assert bodies(channel, queue) == [b"behaviour,a"]
