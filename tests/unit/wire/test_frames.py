"""Cutting a stream into frames, and writing them."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as pamqp_body
from pamqp import commands as pamqp_commands
from pamqp import constants as pamqp_constants
from pamqp import frame as pamqp_frame
from pamqp import header as pamqp_header
from pamqp import heartbeat as pamqp_heartbeat

from fedora_messaging.wire.errors import FRAME_ERROR, WireError
from fedora_messaging.wire.frames import (
    BODY,
    END,
    FRAME_MIN,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    NEED_DATA,
    OVERHEAD,
    PROTOCOL_HEADER,
    Frame,
    FrameReader,
    describe,
    encode_content,
    encode_method,
    split_content,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def raw(kind: int, channel: int, payload: bytes, end: int = END) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes((end,))


def cut(data: bytes, frame_max: int = FRAME_MIN) -> list[Frame]:
    return read(FrameReader(frame_max), [data])


def read(reader: FrameReader, pieces: Iterable[bytes]) -> list[Frame]:
    frames = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next_frame()) is not NEED_DATA:
            frames.append(frame)
    return frames


def refused(reader: FrameReader, data: bytes) -> str:
    reader.feed(data)
    with pytest.raises(WireError) as caught:
        reader.next_frame()
    assert caught.value.reply_code == FRAME_ERROR
    return caught.value.text


FRAMES: list[Frame] = [
    (METHOD, 0, b"\x00\x0a\x00\x33"),
    (HEADER, 65535, bytes(range(30))),
    (BODY, 1, b""),
    (BODY, 1, b"\xce" * 40),
    (HEARTBEAT, 0, b""),
    (METHOD, 7, b"x"),
]
STREAM = b"".join(raw(*frame) for frame in FRAMES)


def test_constants_agree_with_pamqp() -> None:
    assert (METHOD, HEADER, BODY) == (
        pamqp_constants.FRAME_METHOD,
        pamqp_constants.FRAME_HEADER,
        pamqp_constants.FRAME_BODY,
    )
    assert pamqp_constants.FRAME_HEARTBEAT == HEARTBEAT
    assert pamqp_constants.FRAME_END == END
    assert pamqp_constants.FRAME_MIN_SIZE == FRAME_MIN
    assert pamqp_frame.marshal(pamqp_heartbeat.Heartbeat(), 0) == HEARTBEAT_FRAME
    assert pamqp_frame.marshal(pamqp_header.ProtocolHeader(0, 9, 1), 0) == PROTOCOL_HEADER
    assert len(raw(METHOD, 1, b"")) == OVERHEAD


def test_need_data_is_a_value() -> None:
    reader = FrameReader()
    assert reader.next_frame() is NEED_DATA
    assert reader.next_frame() is NEED_DATA
    reader.feed(b"")
    assert reader.next_frame() is NEED_DATA


def test_frames_in_one_piece() -> None:
    assert cut(STREAM) == FRAMES


@pytest.mark.parametrize("size", range(1, len(STREAM)))
def test_frames_in_pieces_of_any_size(size: int) -> None:
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert read(FrameReader(), pieces) == FRAMES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_frames_split_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in zip(edges, edges[1:], strict=False)]
    assert read(FrameReader(), pieces) == FRAMES


def test_p18_a_large_frame_in_small_pieces_is_joined_once() -> None:
    size = 1 << 20
    reader = FrameReader(size + OVERHEAD)
    data = raw(BODY, 1, bytes(size))
    begin = time.process_time()
    assert read(reader, (data[at : at + 8] for at in range(0, len(data), 8))) == [(BODY, 1, bytes(size))]
    # A tenth of a second; joined anew for every piece it would be several seconds.
    assert time.process_time() - begin < 1.0


def test_may_be_fed_again_before_it_is_read_out() -> None:
    reader = FrameReader()
    reader.feed(STREAM[:20])
    first = reader.next_frame()
    reader.feed(STREAM[20:50])
    reader.feed(STREAM[50:])
    assert [first, *read(reader, [b""])] == FRAMES


def test_payload_is_bytes_of_its_own() -> None:
    (_, _, payload), *_ = cut(raw(BODY, 1, b"abc"))
    assert type(payload) is bytes


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {METHOD, HEADER, BODY, HEARTBEAT}))
def test_p18_unknown_types_are_refused_before_their_payload_comes(kind: int) -> None:
    header = raw(kind, 0, b"abc")[:7]
    assert FrameReader().next_frame() is NEED_DATA
    assert refused(FrameReader(), header) == f"type {kind}, all octets = <<>>: unknown_frame"
    assert (
        refused(FrameReader(), raw(kind, 0, b"abc")) == f'type {kind}, all octets = <<"abc">>: unknown_frame'
    )


@pytest.mark.parametrize("end", [0, 0xCD, 0xCF, 0xFF])
def test_wrong_end_octet(end: int) -> None:
    why = f"{{invalid_frame_end_marker,{end}}}"
    assert refused(FrameReader(), raw(BODY, 1, b"abc", end)) == f'type 3, all octets = <<"abc">>: {why}'
    assert refused(FrameReader(), raw(BODY, 1, b"", end)) == f"type 3, all octets = <<>>: {why}"


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"a" * 16, 'all octets = <<"aaaaaaaaaaaaaaaa">>'),
        (b"a" * 17, 'first 16 octets = <<"aaaaaaaaaaaaaaaa">>'),
        (b"\x00\x3c\x7f", "all octets = <<0,60,127>>"),
        (b"a" * 16 + b"\x00", 'first 16 octets = <<"aaaaaaaaaaaaaaaa">>'),
        (b'\\"', r'all octets = <<"\\\"">>'),
        (b"\xe4", "all octets = <<228>>"),
    ],
)
def test_beginning_of_a_payload_that_a_text_shows(payload: bytes, shown: str) -> None:
    assert describe(METHOD, payload) == f"type 1, {shown}"


@pytest.mark.parametrize("frame_max", [FRAME_MIN, 8192, 131072])
def test_p18_payload_may_be_as_large_as_a_frame(frame_max: int) -> None:
    """The specification counts the whole frame; RabbitMQ and we bear with eight bytes more."""
    for kind in (METHOD, BODY):
        assert cut(raw(kind, 1, bytes(frame_max)), frame_max) == [(kind, 1, bytes(frame_max))]
    too_large = struct.pack(">BHI", BODY, 1, frame_max + 1)
    assert refused(FrameReader(frame_max), too_large) == (
        f"type 3, all octets = <<>>: {{frame_too_large,{frame_max + 1},{frame_max - OVERHEAD}}}"
    )


def test_p18_content_header_may_not_exceed_its_frame() -> None:
    """It is passed on whole, so what we took could be too large for the receiver."""
    largest = bytes(FRAME_MIN - OVERHEAD)
    assert cut(raw(HEADER, 1, largest), FRAME_MIN) == [(HEADER, 1, largest)]
    too_large = struct.pack(">BHI", HEADER, 1, FRAME_MIN - OVERHEAD + 1)
    assert "frame_too_large" in refused(FrameReader(FRAME_MIN), too_large)


def test_p18_frame_max_may_change_between_frames() -> None:
    reader = FrameReader(FRAME_MIN)
    large = raw(BODY, 1, bytes(FRAME_MIN + 1))
    reader.feed(raw(METHOD, 0, b"tune") + large)
    assert reader.next_frame() == (METHOD, 0, b"tune")
    reader.frame_max = 8192
    assert reader.next_frame() == (BODY, 1, bytes(FRAME_MIN + 1))
    assert reader.next_frame() is NEED_DATA
    reader.frame_max = FRAME_MIN
    assert "frame_too_large" in refused(reader, large)


@pytest.mark.parametrize("size", [2**31, 2**32 - 1])
def test_p18_sizes_have_no_sign(size: int) -> None:
    assert str(size) in refused(FrameReader(), struct.pack(">BHI", BODY, 1, size))


# Writing


def test_encode_method() -> None:
    payload = b"\x00\x0a\x00\x33"
    ours = encode_method(0, payload)
    assert ours == raw(METHOD, 0, payload)
    assert ours == pamqp_frame.marshal(pamqp_commands.Connection.CloseOk(), 0)


def content(body: bytes, frame_max: int) -> bytes:
    return encode_content(3, b"\x00\x3c\x00\x28rest", b"\x10\x00\x02", body, frame_max)


@pytest.mark.parametrize(
    ("size", "frames"),
    [(0, []), (1, [1]), (4088, [4088]), (4089, [4088, 1]), (8176, [4088, 4088]), (9000, [4088, 4088, 824])],
)
def test_encode_content_splits_the_body(size: int, frames: list[int]) -> None:
    body = bytes(index % 251 for index in range(size))
    method, header, *bodies = cut(content(body, FRAME_MIN))
    assert method == (METHOD, 3, b"\x00\x3c\x00\x28rest")
    assert header == (HEADER, 3, struct.pack(">HHQ", 60, 0, size) + b"\x10\x00\x02")
    assert [(kind, channel, len(payload)) for kind, channel, payload in bodies] == [
        (BODY, 3, size) for size in frames
    ]
    assert b"".join(payload for _, _, payload in bodies) == body


def test_encode_content_as_pamqp_does() -> None:
    publish = pamqp_commands.Basic.Publish(exchange="e", routing_key="k", mandatory=True)
    properties = pamqp_commands.Basic.Properties(delivery_mode=2, app_id="a")
    theirs = b"".join(
        pamqp_frame.marshal(part, 9)
        for part in (
            publish,
            pamqp_header.ContentHeader(0, 3, properties),
            pamqp_body.ContentBody(b"abc"),
        )
    )
    method = pamqp_frame.marshal(publish, 9)[7:-1]
    assert encode_content(9, method, properties.marshal(), b"abc", FRAME_MIN) == theirs


@given(st.integers(0, 65535), st.binary(max_size=300), st.integers(OVERHEAD + 1, 200))
def test_what_is_written_is_read(channel: int, body: bytes, frame_max: int) -> None:
    method, header, *bodies = cut(encode_content(channel, b"method", b"properties", body, frame_max))
    assert method == (METHOD, channel, b"method")
    assert header[2][12:] == b"properties"
    assert b"".join(payload for _, _, payload in bodies) == body
    assert all(0 < len(payload) <= frame_max - OVERHEAD for _, _, payload in bodies)


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 9000])
def test_split_content_writes_the_same_without_a_copy_of_the_body(size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    pieces = split_content(3, b"\x00\x3c\x00\x28rest", b"\x10\x00\x02", body, FRAME_MIN)
    assert b"".join(pieces) == content(body, FRAME_MIN)
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert sum(map(len, views)) == size
    assert all(view.obj is body for view in views)
