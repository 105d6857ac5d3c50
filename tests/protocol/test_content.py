"""Contents put together from their frames, and what a machine holds of them."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.machines import (
    PUBLISH,
    Pair,
    body,
    closing,
    cut,
    frame,
    header,
    raw,
    sent,
    with_channel,
)

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.events import ContentReceived, MethodReceived
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import BODY, HEADER
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.wire.methods import Method

CARRIERS: dict[Role, list[Method]] = {
    Role.SERVER: [PUBLISH],
    Role.CLIENT: [m.BasicDeliver("c", 1, False, "e", "k"), m.BasicReturn(312, "NO_ROUTE", "e", "k")],
}
EACH_CARRIER = pytest.mark.parametrize(
    ("role", "method"), [(role, method) for role, methods in CARRIERS.items() for method in methods]
)
SMALL = Limits(max_body=10)


def content(machine: Machine) -> ContentReceived:
    (event,) = machine.events()
    assert isinstance(event, ContentReceived)
    return event


@EACH_CARRIER
def test_method_header_and_body(role: Role, method: Method) -> None:
    machine = with_channel(role)
    machine.receive_data(frame(1, method) + header(1, 6, b"\x08\x00\x05"), 0)
    machine.receive_data(body(1, b"abc"), 0)
    assert machine.events() == []
    machine.receive_data(body(1, b"def"), 0)
    event = content(machine)
    assert (event.channel, event.method, event.properties, event.body) == (
        1,
        method,
        b"\x08\x00\x05",
        b"abcdef",
    )


@EACH_CARRIER
def test_size_0_has_no_body_frame(role: Role, method: Method) -> None:
    machine = with_channel(role)
    machine.receive_data(frame(1, method) + header(1, 0), 0)
    assert content(machine).body == b""
    # The channel goes on with methods.
    machine.receive_data(frame(1, m.BasicAck(1)), 0)
    assert isinstance(machine.events()[0], MethodReceived)


def test_the_answer_to_get_has_a_content() -> None:
    client = with_channel(Role.CLIENT)
    client.send_method(1, m.BasicGet("q"))
    client.receive_data(frame(1, m.BasicGetOk(1, False, "e", "k", 0)) + header(1, 1) + body(1, b"a"), 0)
    assert content(client).method == m.BasicGetOk(1, False, "e", "k", 0)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_split_anywhere_empty_pieces_included(payload: bytes, cuts: list[int]) -> None:
    machine = with_channel(Role.SERVER)
    edges = [0, *sorted(cuts), len(payload)]
    pieces = [payload[start:end] for start, end in itertools.pairwise(edges)]
    data = frame(1, PUBLISH) + header(1, len(payload))
    if payload:
        # What follows the last byte would not belong to the content any more.
        while not pieces[-1]:
            pieces.pop()
        data += b"".join(body(1, piece) for piece in pieces)
    machine.receive_data(data, 0)
    assert content(machine).body == payload


def test_contents_of_several_channels_may_be_mixed() -> None:
    machine = with_channel(Role.SERVER)
    machine.receive_data(frame(2, m.ChannelOpen()), 0)
    machine.events()
    machine.receive_data(
        frame(1, PUBLISH)
        + frame(2, PUBLISH)
        + header(2, 2)
        + header(1, 2)
        + body(1, b"a")
        + body(2, b"A")
        + body(2, b"B")
        + body(1, b"b"),
        0,
    )
    assert [(e.channel, e.body) for e in machine.events() if isinstance(e, ContentReceived)] == [
        (2, b"AB"),
        (1, b"ab"),
    ]


def test_client_sends_and_server_receives_bodies_of_many_frames() -> None:
    pair = Pair({"limits": Limits(frame_max=8192)}).opened(1)
    properties = encode_properties(BasicProperties(app_id="a", headers={"n": 1}))
    for size in (0, 1, 8184, 8185, 30_000):
        payload = bytes(index % 251 for index in range(size))
        pair.client.send_content(1, PUBLISH.encode(), properties, payload)
        assert all(len(seen.payload) <= 8184 for seen in cut(pair.client.data_to_send(0)))
        pair.client.send_content(1, PUBLISH.encode(), properties, payload)
        _, server = pair.take()
        (event,) = server
        assert isinstance(event, ContentReceived)
        assert (event.method, event.properties, event.body) == (PUBLISH, properties, payload)


def test_broken_properties_end_nothing() -> None:
    machine = with_channel(Role.SERVER)
    machine.receive_data(frame(1, PUBLISH) + header(1, 0, b"\xff\xff\xff"), 0)
    assert content(machine).properties == b"\xff\xff\xff"
    assert machine.state is State.OPEN


# Too large


@pytest.mark.parametrize(("size", "kept"), [(9, True), (10, True), (11, False), (5000, False)])
def test_a_body_above_the_limit_is_thrown_away(size: int, kept: bool) -> None:
    machine = with_channel(Role.SERVER, SMALL)
    machine.receive_data(frame(1, PUBLISH) + header(1, size), 0)
    for start in range(0, size, 1000):
        machine.receive_data(body(1, b"x" * min(1000, size - start)), 0)
    event = content(machine)
    assert event.body == (b"x" * size if kept else None)
    assert event.method == PUBLISH
    # The channel goes on behind it.
    machine.receive_data(frame(1, PUBLISH) + header(1, 1) + body(1, b"y"), 0)
    assert content(machine).body == b"y"


# Mistakes


def ends(machine: Machine, data: bytes, code: int, offender: Method | None = PUBLISH) -> str:
    machine.receive_data(data, 0)
    end = closing(machine.events())
    assert end.reply_code == code
    ((_, close),) = sent(machine)
    assert isinstance(close, m.ConnectionClose)
    assert (close.class_id, close.method_id) == (offender.key if offender is not None else (0, 0))
    return end.reply_text


@pytest.mark.parametrize("before", [b"", body(1, b"abc")])
def test_a_body_longer_than_announced(before: bytes) -> None:
    machine = with_channel(Role.SERVER)
    machine.receive_data(frame(1, PUBLISH) + header(1, 5) + before, 0)
    assert "longer than its header says" in ends(machine, body(1, b"abcdef"), 501)


def test_a_body_longer_than_announced_that_would_be_thrown_away() -> None:
    machine = with_channel(Role.SERVER, SMALL)
    machine.receive_data(frame(1, PUBLISH) + header(1, 11), 0)
    ends(machine, body(1, b"x" * 12), 501)


@pytest.mark.parametrize("payload", [b"a", b""])
def test_a_body_frame_after_the_whole_body(payload: bytes) -> None:
    machine = with_channel(Role.SERVER)
    machine.receive_data(frame(1, PUBLISH) + header(1, 3) + body(1, b"abc"), 0)
    assert content(machine).body == b"abc"
    ends(machine, body(1, payload), 505, None)


@pytest.mark.parametrize("size", range(14))
def test_p18_header_too_short(size: int) -> None:
    machine = with_channel(Role.SERVER)
    payload = (b"\x00\x3c" + bytes(12))[:size]
    ends(machine, frame(1, PUBLISH) + raw(HEADER, 1, payload), 502)


@pytest.mark.parametrize("class_id", [0, 10, 61])
def test_header_of_another_class(class_id: int) -> None:
    machine = with_channel(Role.SERVER)
    text = ends(machine, frame(1, PUBLISH) + header(1, 0, class_id=class_id), 505)
    assert f"got one for class {class_id}" in text


def test_header_with_a_weight() -> None:
    machine = with_channel(Role.SERVER)
    ends(machine, frame(1, PUBLISH) + header(1, 0, weight=1), 505)


def test_body_where_the_header_belongs() -> None:
    machine = with_channel(Role.SERVER)
    ends(machine, frame(1, PUBLISH) + body(1, b"abc"), 505)


def test_second_header() -> None:
    machine = with_channel(Role.SERVER)
    ends(machine, frame(1, PUBLISH) + header(1, 3) + header(1, 3), 505)


@pytest.mark.parametrize("kind", [HEADER, BODY])
def test_content_frames_on_channel_0(kind: int) -> None:
    machine = with_channel(Role.SERVER)
    ends(machine, raw(kind, 0, b"abc"), 505, None)


@pytest.mark.parametrize("frame_max", [8192, 131072])
def test_client_sends_no_header_that_is_larger_than_a_frame(frame_max: int) -> None:
    """The peer would end the connection for it."""
    machine = with_channel(Role.CLIENT, Limits(frame_max=frame_max))
    room = frame_max - 8 - 12
    machine.send_content(1, PUBLISH.encode(), bytes(room), b"")
    sent(machine)
    with pytest.raises(EncodingError, match=f"frame_max is {frame_max}"):
        machine.send_content(1, PUBLISH.encode(), bytes(room + 1), b"")
    assert sent(machine) == []
    # A channel that the peer has closed takes anything.
    machine.send_content(2, PUBLISH.encode(), bytes(room + 1), b"")


def test_client_sends_no_method_that_is_larger_than_a_frame() -> None:
    machine = with_channel(Role.CLIENT, Limits(frame_max=8192))
    with pytest.raises(EncodingError, match=r"queue\.declare take"):
        machine.send_method(1, m.QueueDeclare("q", arguments={"x": "y" * 8200}))
    assert sent(machine) == []
    machine.send_method(1, m.QueueDeclare("q", arguments={"x": "y" * 8000}))
    assert len(sent(machine)) == 1


def unfinished(channel: int, size: int) -> bytes:
    """All of a content but its last byte."""
    frames = [frame(channel, PUBLISH), header(channel, size)]
    return b"".join((*frames, body(channel, bytes(5000)), body(channel, bytes(size - 5001))))


def test_p18_unfinished_contents_of_all_channels_are_bounded() -> None:
    """Those that are complete, or that their channel's end has made void, are not counted."""
    limits = {"limits": Limits(frame_max=8192, max_body=10_000)}
    pair = Pair(limits, limits).opened(1, 2, 3, 4, 5, 6)
    server = pair.server
    for channel in (1, 2, 3):
        server.receive_data(unfinished(channel, 10_000), 0)
    server.close_channel(3, 404, "gone")
    server.receive_data(body(2, b"x") + unfinished(4, 10_000) + unfinished(5, 10_000), 0)
    assert server.state is State.OPEN
    assert server.buffered == 3 * (9_999 + 2)
    server.receive_data(unfinished(6, 10_000), 0)
    assert closing(server.events()).reply_code == 506


def test_buffered_counts_what_has_come_and_what_is_to_go() -> None:
    server = Pair().opened(1, 2).server
    assert server.buffered == 0
    server.receive_data(frame(1, m.BasicPublish("", "q")), 0.0)
    assert server.buffered == 0
    properties = b"\x00\x00"
    server.receive_data(header(1, 1000, properties), 0.0)
    server.receive_data(body(1, b"x" * 300), 0.0)
    assert server.buffered == len(properties) + 300
    server.send_content(2, m.BasicDeliver("c", 1).encode(), properties, b"y" * 50)
    assert server.buffered >= len(properties) + 350
    server.data_to_send(0.0)
    assert server.buffered == len(properties) + 300


# Piece by piece


def deliver(machine: Machine, payload: bytes) -> None:
    machine.send_content(1, m.BasicDeliver("c", 1, False, "e", "k").encode(), b"\0\0", payload)


def bodies_in(data: bytes) -> bytes:
    return b"".join(seen.payload for seen in cut(data) if seen.kind == BODY)


def test_what_is_sent_may_leave_in_pieces() -> None:
    machine = with_channel(Role.SERVER)
    payload = bytes(index % 251 for index in range(3_000_000))
    deliver(machine, payload)
    machine.send_method(1, m.ChannelFlowOk(True))
    sizes, data = [], b""
    while machine.has_more:
        before = machine.waiting
        piece = machine.data_to_send(0, 1_000_000)
        sizes.append(len(piece))
        data += piece
        assert machine.waiting == before - len(piece)
    # A piece ends with a whole part of a frame.
    assert all(1_000_000 <= size < 1_000_000 + machine.frame_max for size in sizes[:-1])
    assert len(sizes) == 3
    assert machine.unsent == 0
    first, head, *_, last = cut(data)
    assert isinstance(first.method, m.BasicDeliver)
    assert head.kind == HEADER
    assert bodies_in(data) == payload
    assert last.method == m.ChannelFlowOk(True)
    assert machine.data_to_send(0, 1_000_000) == b""


def test_what_is_less_than_the_most_leaves_together() -> None:
    machine = with_channel(Role.SERVER)
    assert not machine.has_more
    for size in (1000, 300_000, 400_000):
        deliver(machine, bytes(size))
    assert machine.has_more
    assert bodies_in(machine.data_to_send(0, 1_000_000)) == bytes(701_000)
    assert not machine.has_more
    assert machine.unsent == 0


def test_without_a_limit_all_leaves() -> None:
    machine = with_channel(Role.SERVER)
    deliver(machine, bytes(3_000_000))
    machine.data_to_send(0, 1_000_000)
    assert 1_900_000 < machine.unsent <= 2_100_000
    assert len(machine.data_to_send(0)) > 1_900_000
    assert not machine.has_more
    assert machine.unsent == 0


def test_large_bodies_that_wait_are_no_copies() -> None:
    machine = with_channel(Role.SERVER)
    payload = bytes(4_000_000)
    tracemalloc.start()
    try:
        for _ in range(20):
            deliver(machine, payload)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert machine.unsent > 80_000_000
    assert taken < 1_000_000


def test_more_may_be_sent_before_all_has_left() -> None:
    machine = with_channel(Role.SERVER)
    data = b""
    for number in range(1, 6):
        deliver(machine, bytes([number]) * 700_000)
        data += machine.data_to_send(0, 300_000)
    assert machine.has_more
    data += machine.data_to_send(0)
    assert bodies_in(data) == b"".join(bytes([number]) * 700_000 for number in range(1, 6))
