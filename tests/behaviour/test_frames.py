"""Framing, content assembly and field tables."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pika
import pytest
from pamqp import commands, constants, frame
from tests.behaviour.peer import ClosedByBrokerError, Peer, content_header, raw_frame, shortstr, table
from tests.behaviour.support import closes, since, smallest_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.brokers import Broker

PROBE = frame.marshal(commands.Exchange.Declare(exchange="amq.direct", passive=True), 1)
PUBLISH = frame.marshal(commands.Basic.Publish(routing_key="behaviour.nowhere"), 1)
LARGEST_BODY = 134217728

FIELDS = {
    "bool": b"t\x01",
    "signed byte": b"b\x80",
    "unsigned byte": b"B\xff",
    "signed short": b"s\x80\x01",
    "unsigned short": b"u\xff\xfe",
    "signed int": b"I\x80\x00\x00\x01",
    "unsigned int": b"i\xff\xff\xff\xfe",
    "signed long": b"l\x80\x00\x00\x00\x00\x00\x00\x01",
    "signed long as L": b"L\xff\xff\xff\xff\xff\xff\xff\xfe",
    "float": b"f" + struct.pack(">f", 1.1),
    "double": b"d" + struct.pack(">d", 1.1),
    "decimal": b"D\x02\x00\x00\x01\x3a",
    "text": b"S\x00\x00\x00\x04\xc3\xa4\xf0\x9f",
    "array": b"A\x00\x00\x00\x07t\x00I\x00\x00\x00\x05",
    "timestamp": b"T\x00\x00\x00\x00\x65\x00\x00\x00",
    "table": b"F\x00\x00\x00\x03\x01aV",
    "void": b"V",
    "bytes": b"x\x00\x00\x00\x03\x00\xff\xfe",
}


EVERY_FIELD = table(*((key.encode(), value) for key, value in FIELDS.items()))

PROPERTIES = {
    "none": b"\x00\x00",
    "content-type": b"\x80\x00\x03a/b",
    "empty content-type": b"\x80\x00\x00",
    "content-type not in UTF-8": b"\x80\x00\x02\xff\xfe",
    "content-encoding": b"\x40\x00\x04gzip",
    "headers": b"\x20\x00" + EVERY_FIELD,
    "empty headers": b"\x20\x00\x00\x00\x00\x00",
    "unsorted headers": b"\x20\x00" + table((b"z", b"V"), (b"a", b"V"), (b"m", b"V")),
    "repeated header": b"\x20\x00" + table((b"k", b"t\x01"), (b"k", b"t\x00")),
    "nested headers": b"\x20\x00" + table((b"k", b"F" + table((b"l", b"F" + EVERY_FIELD)))),
    "delivery-mode": b"\x10\x00\x01",
    "priority": b"\x08\x00\x09",
    "correlation-id": b"\x04\x00\x03id1",
    "reply-to": b"\x02\x00\x05reply",
    "expiration": b"\x01\x00\x0560000",
    "message-id": b"\x00\x80\x03id2",
    "timestamp": b"\x00\x40" + struct.pack(">Q", 1_700_000_000),
    "far timestamp": b"\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff",
    "type": b"\x00\x20\x04kind",
    "user-id": b"\x00\x10\x05guest",
    "app-id": b"\x00\x08\x03app",
    "cluster-id": b"\x00\x04\x07cluster",
    "all": b"\xff\xfc"
    + shortstr("text/plain")
    + shortstr("utf-8")
    + EVERY_FIELD
    + b"\x02\x05"
    + shortstr("correlation")
    + shortstr("reply")
    + shortstr("90000")
    + shortstr("message")
    + struct.pack(">Q", 1)
    + shortstr("kind")
    + shortstr("guest")
    + shortstr("app")
    + shortstr("cluster"),
}


# RabbitMQ 4 reads the headers of a message and writes them anew: those of the message itself in order of
# their names, of two with one name the first, and signed 64-bit integers always as "l".
REWRITTEN_FIELDS = {
    key.encode(): b"l" + value[1:] if value[:1] == b"L" else value for key, value in FIELDS.items()
}
SORTED_FIELDS = table(*sorted(REWRITTEN_FIELDS.items()))
REWRITTEN = {
    "headers": b"\x20\x00" + SORTED_FIELDS,
    "unsorted headers": b"\x20\x00" + table((b"a", b"V"), (b"m", b"V"), (b"z", b"V")),
    "repeated header": b"\x20\x00" + table((b"k", b"t\x01")),
    "nested headers": b"\x20\x00"
    + table((b"k", b"F" + table((b"l", b"F" + table(*REWRITTEN_FIELDS.items()))))),
    "all": PROPERTIES["all"].replace(EVERY_FIELD, SORTED_FIELDS),
}


def passed_through(broker: Broker, key: str) -> bytes:
    """How properties arrive: the very bytes that were sent, or rewritten ones."""
    return since(broker, (4, 0), REWRITTEN.get(key, PROPERTIES[key]), PROPERTIES[key])


@pytest.fixture(params=["smallest", "largest"])
def frame_max(broker: Broker, request: pytest.FixtureRequest) -> int:
    """The frame-max that the client asks for."""
    return smallest_frame(broker) if request.param == "smallest" else 131072


def declare(peer: Peer) -> str:
    """Declare an exclusive queue with a name made by the broker."""
    name = peer.call(commands.Queue.Declare(exclusive=True), commands.Queue.DeclareOk).queue
    assert name
    return name


def assert_connection_ends(peer: Peer) -> None:
    """The connection ends, with a connection error or without a word."""
    with suppress(EOFError):
        with pytest.raises(ClosedByBrokerError) as caught:
            peer.roundtrip()
        assert not caught.value.on_channel
        assert caught.value.reply_code >= 500


@pytest.mark.parametrize(
    ("payload", "octets"),
    [
        (b"", "all octets = <<>>"),
        (b"\0\x3c\0\x46", "all octets = <<0,60,0,70>>"),
        (b'a"\\b', r'all octets = <<"a\"\\b">>'),
        (b"a" * 17, 'first 16 octets = <<"aaaaaaaaaaaaaaaa">>'),
    ],
)
def test_frame_end_is_checked(peer: Peer, payload: bytes, octets: str) -> None:
    """A frame that does not end with its end octet closes the connection with 501."""
    peer.write(raw_frame(constants.FRAME_METHOD, 1, payload)[:-1] + b"\xcd")
    with closes(501, f"FRAME_ERROR - type 1, {octets}: {{invalid_frame_end_marker,"):
        peer.roundtrip()


@pytest.mark.parametrize("payload", [b"", b"\0\x3c"])
def test_method_frame_without_a_method(peer: Peer, payload: bytes) -> None:
    """A frame too short to name a method closes the connection with 501."""
    peer.write(raw_frame(constants.FRAME_METHOD, 1, payload))
    octets = ",".join(map(str, payload))
    with closes(501, f"FRAME_ERROR - type 1, all octets = <<{octets}>>: unknown_frame"):
        peer.roundtrip()


def test_heartbeat_with_a_payload(peer: Peer) -> None:
    peer.write(raw_frame(constants.FRAME_HEARTBEAT, 0, b"abc"))
    with closes(501, 'FRAME_ERROR - type 8, all octets = <<"abc">>: unknown_frame'):
        peer.roundtrip()


def test_heartbeat_on_a_channel(peer: Peer) -> None:
    peer.write(raw_frame(constants.FRAME_HEARTBEAT, 1, b""))
    with closes(505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"):
        peer.roundtrip()


def test_content_on_channel_0(peer: Peer) -> None:
    peer.write(raw_frame(constants.FRAME_BODY, 0, b"abc"))
    with closes(505, 'UNEXPECTED_FRAME - type 3, all octets = <<"abc">>'):
        peer.roundtrip()


@pytest.mark.parametrize("size", [3000, 7000, 9000])
def test_long_properties_of_a_client(broker: Broker, size: int) -> None:
    """Before the two sides agree on a size, the smallest one holds."""
    parameters = pika.URLParameters(broker.url)
    parameters.client_properties = {"long": "x" * size}
    if size < smallest_frame(broker):
        pika.BlockingConnection(parameters).close()
    else:
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(parameters)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_frame_larger_than_tuned(peers: Callable[[], Peer], kind: int, frame_max: int) -> None:
    """The broker refuses the frame from its header alone. It bears with eight bytes too many."""
    peer = peers().login(frame_max=frame_max).open_channel()
    peer.write(struct.pack(">BHI", kind, 1, frame_max + 1))
    octets = f"type {kind}, all octets = <<>>"
    with closes(501, f"FRAME_ERROR - {octets}: {{frame_too_large,{frame_max + 1},{frame_max - 8}}}"):
        peer.roundtrip()


@pytest.mark.parametrize("more", [0, 1, 8])
def test_largest_frame_is_taken(peers: Callable[[], Peer], frame_max: int, more: int) -> None:
    """By the specification a payload is eight bytes smaller than a frame; the broker takes eight more."""
    peer = peers().login(frame_max=frame_max).open_channel()
    queue = declare(peer)
    peer.publish([b"x" * (frame_max - 8 + more)], routing_key=queue)
    whole, rest = b"x" * (frame_max - 8), b"x" * more
    assert peer.get(queue).frames == ((whole, rest) if rest else (whole,))


@pytest.mark.parametrize("kind", [0, 4, 5, 9, 255])
@pytest.mark.parametrize("channel", [0, 1])
def test_unknown_frame_type(peer: Peer, kind: int, channel: int) -> None:
    """A frame of an unknown type closes the connection with 501."""
    peer.write(raw_frame(kind, channel, b"abc"))
    with closes(501, f'FRAME_ERROR - type {kind}, all octets = <<"abc">>: unknown_frame'):
        peer.roundtrip()


@pytest.mark.parametrize(
    "spoilt",
    [raw_frame(constants.FRAME_HEADER, 1, content_header(0)), raw_frame(constants.FRAME_BODY, 1, b"x")],
    ids=["header", "body"],
)
def test_content_where_a_method_is_expected(peer: Peer, spoilt: bytes) -> None:
    """A content frame without its method closes the connection with 505."""
    peer.write(spoilt)
    with closes(505, "expected method frame, got non method frame instead"):
        peer.roundtrip()


@pytest.mark.parametrize(
    ("spoilt", "text"),
    [
        (PROBE, "expected content header for class 60, got non content header frame instead"),
        (
            raw_frame(constants.FRAME_BODY, 1, b"x"),
            "expected content header for class 60, got non content header frame instead",
        ),
        (
            raw_frame(constants.FRAME_HEADER, 1, content_header(0, class_id=50)),
            "expected content header for class 60, got one for class 50 instead",
        ),
    ],
    ids=["method", "body", "other class"],
)
def test_content_header_is_expected(peer: Peer, spoilt: bytes, text: str) -> None:
    """Anything but a content header of class basic after a publish closes the connection with 505."""
    peer.write(PUBLISH + spoilt)
    with closes(505, text):
        peer.roundtrip()


@pytest.mark.parametrize(
    "spoilt",
    [PROBE, raw_frame(constants.FRAME_HEADER, 1, content_header(3))],
    ids=["method", "header"],
)
def test_content_body_is_expected(peer: Peer, spoilt: bytes) -> None:
    """Anything but a body frame within a body closes the connection with 505."""
    peer.write(PUBLISH + raw_frame(constants.FRAME_HEADER, 1, content_header(3)) + spoilt)
    with closes(505, "expected content body, got non content body frame instead"):
        peer.roundtrip()


def test_content_weight_must_be_zero(peer: Peer) -> None:
    """A content header whose unused weight field is not zero closes the connection with 505."""
    header = struct.pack(">HHQ", 60, 1, 0) + b"\x00\x00"
    peer.write(PUBLISH + raw_frame(constants.FRAME_HEADER, 1, header))
    with closes(505):
        peer.roundtrip()


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"]], ids=["one frame", "two frames"])
def test_body_longer_than_announced(peer: Peer, pieces: list[bytes]) -> None:
    """A body longer than its header says closes the connection with 501 or 505."""
    header = raw_frame(constants.FRAME_HEADER, 1, content_header(3))
    peer.write(PUBLISH + header + b"".join(raw_frame(constants.FRAME_BODY, 1, piece) for piece in pieces))
    with pytest.raises(ClosedByBrokerError) as caught:
        peer.roundtrip()
    assert caught.value.reply_code in {501, 505}


def test_body_frame_after_an_empty_body(peer: Peer) -> None:
    """After a header with size 0 no body frame may follow."""
    peer.publish(b"", routing_key="behaviour.nowhere")
    peer.write(raw_frame(constants.FRAME_BODY, 1, b""))
    with closes(505):
        peer.roundtrip()


def test_empty_body(peer: Peer) -> None:
    """The broker sends an empty body as a header without body frames."""
    queue = declare(peer)
    peer.publish(b"", routing_key=queue)
    assert peer.get(queue).frames == ()
    peer.roundtrip()


def test_consumed_empty_bodies_have_no_body_frames(peer: Peer) -> None:
    """After the header of an empty body the next delivery follows."""
    queue = declare(peer)
    for body in (b"", b"", b"x"):
        peer.publish(body, routing_key=queue)
    peer.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
    found = []
    for _ in range(3):
        peer.expect(commands.Basic.Deliver)
        found.append(peer.read_content().frames)
    assert found == [(), (), (b"x",)]


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([byte]) for byte in b"one byte per frame"],
        [b"", b"empty", b"", b"", b"frames", b""],
        [b"a" * 4088, b"b", b"c" * 100_000, b"d" * 131_064],
    ],
    ids=["single bytes", "empty frames", "odd sizes"],
)
def test_any_split_of_a_body_is_accepted(peer: Peer, pieces: list[bytes]) -> None:
    """A publisher may split a body into frames of any size, even empty ones."""
    queue = declare(peer)
    if not pieces[-1]:
        pieces = pieces[:-1]
    peer.publish(pieces, routing_key=queue)
    assert peer.get(queue).body == b"".join(pieces)


@pytest.mark.parametrize(("whole", "rest"), [(0, [1]), (1, []), (1, [1]), (2, [1824])])
def test_body_is_split_to_the_tuned_frame_size(
    broker: Broker, peers: Callable[[], Peer], whole: int, rest: list[int]
) -> None:
    """Frames hold at most frame-max - 8 bytes of the reader's limit; the publisher's does not matter."""
    frame_max = smallest_frame(broker)
    sizes = [frame_max - 8] * whole + rest
    reader = peers().login(frame_max=frame_max).open_channel()
    writer = peers().login().open_channel()
    queue = reader.call(commands.Queue.Declare(auto_delete=True), commands.Queue.DeclareOk).queue
    assert queue
    reader.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
    writer.publish(b"x" * sum(sizes), routing_key=queue)
    reader.expect(commands.Basic.Deliver)
    assert [len(piece) for piece in reader.read_content().frames] == sizes


def test_body_above_the_limit(peer: Peer) -> None:
    """A body one byte above the limit closes the channel with 406."""
    whole, rest = divmod(LARGEST_BODY + 1, 131_064)
    peer.publish([b"x" * 131_064] * whole + [b"x" * rest], routing_key="behaviour.nowhere")
    with closes(406):
        peer.roundtrip()


def test_channels_interleave_their_content(peer: Peer) -> None:
    """Frames of one channel may come between those of another channel's content."""
    peer.open_channel(2)
    queue = declare(peer)
    publish = commands.Basic.Publish(routing_key=queue)
    for channel in (1, 2):
        peer.send(publish, channel=channel)
    for channel in (2, 1):
        peer.write(raw_frame(constants.FRAME_HEADER, channel, content_header(2)))
    for piece in (b"a", b"b"):
        for channel in (1, 2):
            peer.write(raw_frame(constants.FRAME_BODY, channel, piece))
    peer.roundtrip(2)
    assert [peer.get(queue).body for _ in range(2)] == [b"ab", b"ab"]


def test_heartbeat_between_content_frames(peer: Peer) -> None:
    """Channel 0 is another channel, so heartbeats may come between content frames."""
    queue = declare(peer)
    heartbeat = raw_frame(constants.FRAME_HEARTBEAT, 0, b"")
    header = raw_frame(constants.FRAME_HEADER, 1, content_header(1))
    publish = frame.marshal(commands.Basic.Publish(routing_key=queue), 1)
    peer.write(publish + heartbeat + header + heartbeat + raw_frame(constants.FRAME_BODY, 1, b"x"))
    assert peer.get(queue).body == b"x"


def test_many_frames_in_one_write(peer: Peer) -> None:
    """Frames need not match the packets of the network."""
    peer.write(PROBE * 500)
    for _ in range(500):
        peer.expect(commands.Exchange.DeclareOk)


def test_frame_in_single_bytes(peer: Peer) -> None:
    """Frames need not match the packets of the network."""
    for byte in PROBE:
        peer.write(bytes([byte]))
    peer.expect(commands.Exchange.DeclareOk)


@pytest.mark.parametrize("key", PROPERTIES)
def test_property_bytes_are_kept_by_get(broker: Broker, peer: Peer, key: str) -> None:
    """The broker passes a message's properties through byte by byte."""
    queue = declare(peer)
    peer.publish(b"body", routing_key=queue, property_bytes=PROPERTIES[key])
    message = peer.get(queue)
    assert (message.property_bytes, message.body) == (passed_through(broker, key), b"body")


@pytest.mark.parametrize("mode", [b"\x00", b"\x07"])
def test_unknown_delivery_mode(broker: Broker, peer: Peer, mode: bytes) -> None:
    """Only 1 and 2 are known: RabbitMQ 4 passes others through, and older ones answer 406."""
    queue = declare(peer)
    peer.publish(b"", routing_key=queue, property_bytes=b"\x10\x00" + mode)
    if broker.version < (4, 0):
        with closes(406, "delivery_mode_unknown"):
            peer.roundtrip()
    else:
        assert peer.get(queue).property_bytes == b"\x10\x00" + mode


@pytest.mark.parametrize("key", ["none", "headers", "repeated header", "all"])
def test_property_bytes_are_kept_by_deliver(broker: Broker, peer: Peer, key: str) -> None:
    """The broker passes a message's properties through byte by byte."""
    queue = declare(peer)
    peer.call(commands.Basic.Consume(queue=queue, no_ack=True), commands.Basic.ConsumeOk)
    peer.publish(b"body", routing_key=queue, property_bytes=PROPERTIES[key])
    peer.expect(commands.Basic.Deliver)
    assert peer.read_content().property_bytes == passed_through(broker, key)


@pytest.mark.parametrize("key", ["none", "headers", "repeated header", "all"])
def test_property_bytes_are_kept_by_return(broker: Broker, peer: Peer, key: str) -> None:
    """The broker passes a message's properties through byte by byte."""
    peer.publish(b"", routing_key="behaviour.nowhere", property_bytes=PROPERTIES[key], mandatory=True)
    peer.expect(commands.Basic.Return)
    assert peer.read_content().property_bytes == passed_through(broker, key)


@pytest.mark.parametrize("field", FIELDS)
def test_field_in_arguments(peer: Peer, field: str) -> None:
    """The broker reads every field type that RabbitMQ reads."""
    exclusive = b"\x04"
    arguments = table((b"x-behaviour", FIELDS[field]))
    peer.send_fields((50, 10), b"\x00\x00\x00" + exclusive + arguments)
    peer.expect(commands.Queue.DeclareOk)


@pytest.mark.parametrize("field", ["unsigned byte", "double", "decimal", "timestamp", "void", "bytes"])
def test_field_in_binding_arguments(broker: Broker, peer: Peer, field: str) -> None:
    """A message with the same header is routed, save for a timestamp since RabbitMQ 4.0."""
    queue = declare(peer)
    arguments = table((b"k", FIELDS[field]))
    binding = b"\x00\x00" + shortstr(queue) + shortstr("amq.headers") + b"\x00\x00" + arguments
    peer.send_fields((50, 20), binding)
    peer.expect(commands.Queue.BindOk)
    peer.publish(b"", exchange="amq.headers", property_bytes=b"\x20\x00" + arguments)
    routed = since(broker, (4, 0), field != "timestamp", True)
    assert peer.call(commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk).message_count == routed


@pytest.mark.parametrize(
    "arguments",
    [table((b"k", b"Z\x00")), table((b"k", b"S\x00\x00\x00\x09ab")), b"\x00\x00\x00\x09\x01a"],
    ids=["unknown type", "text beyond the table", "table beyond the frame"],
)
def test_malformed_table_ends_the_connection(peer: Peer, arguments: bytes) -> None:
    """The connection ends; RabbitMQ closes it without a word."""
    peer.send_fields((50, 10), b"\x00\x00\x00\x04" + arguments)
    assert_connection_ends(peer)


@pytest.mark.parametrize(
    "property_bytes",
    [b"\x20\x00\x00\x00\x00\x09abc", b"\x00\x01\x00\x00", b"\x00\x00abc", b"\x80\x00\x09abc"],
    ids=["table beyond the frame", "more flags", "trailing bytes", "text beyond the frame"],
)
def test_malformed_properties_end_the_connection(peer: Peer, property_bytes: bytes) -> None:
    """The connection ends; RabbitMQ closes it with 541."""
    peer.publish(b"", routing_key="behaviour.nowhere", property_bytes=property_bytes)
    assert_connection_ends(peer)


@pytest.mark.parametrize(
    ("index", "fields"),
    [((50, 10), b"\x00\x00\x05ab"), ((50, 10), b""), ((20, 10), b"\x00trailing")],
    ids=["cut name", "no arguments", "trailing bytes"],
)
def test_malformed_method(broker: Broker, peer: Peer, index: tuple[int, int], fields: bytes) -> None:
    """Our broker closes the connection with the specification's 502, and RabbitMQ with 501."""
    peer.send_fields(index, fields, channel=2 if index == (20, 10) else 1)
    with closes(502 if broker.kind == "embedded" else 501):
        peer.roundtrip()


@pytest.mark.parametrize("index", [(61, 10), (50, 99), (10, 99)])
@pytest.mark.parametrize("channel", [0, 1])
def test_unknown_method(broker: Broker, peer: Peer, index: tuple[int, int], channel: int) -> None:
    """Our broker closes the connection with 540; RabbitMQ closes the socket without a word."""
    peer.send_fields(index, b"", channel)
    if broker.kind == "embedded":
        with closes(540):
            peer.roundtrip()
    else:
        assert peer.read_until_closed() == []


@pytest.mark.parametrize("payload", [b"", b"\x00\x32", b"\x00\x32\x00"])
def test_method_frame_without_method_id(peer: Peer, payload: bytes) -> None:
    """A method frame holds at least class and method id; a shorter one closes the connection with 501."""
    peer.write(raw_frame(constants.FRAME_METHOD, 1, payload))
    with closes(501):
        peer.roundtrip()


@pytest.mark.parametrize(
    "method",
    [
        commands.Queue.DeclareOk(queue="q", message_count=0, consumer_count=0),
        commands.Queue.BindOk(),
        commands.Basic.QosOk(),
        commands.Exchange.DeclareOk(),
    ],
    ids=lambda method: method.name,
)
def test_methods_of_the_broker_are_refused(peer: Peer, method: commands.Queue.BindOk) -> None:
    """A client cannot answer what the broker did not ask: the connection closes with 503."""
    peer.send(method)
    with closes(503):
        peer.roundtrip()


def test_broker_survives_bad_clients(peers: Callable[[], Peer], channel: BlockingChannel) -> None:
    """One client's bytes never reach another's connection."""
    for spoilt in (b"\x00" * 8, b"\x01\x00\x01\xff\xff\xff\xff", PROBE[:-1], PUBLISH):
        peer = peers().login().open_channel()
        peer.write(spoilt)
        peer.drop()
    assert channel.queue_declare("", exclusive=True).method.queue
