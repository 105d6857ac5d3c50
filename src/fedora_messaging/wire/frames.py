"""Frames (AMQP 0-9-1 section 4.2.3): type octet, channel, size, payload, end octet."""

import struct
from enum import Enum
from typing import Final, Literal

from .errors import FRAME_ERROR, WireError

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
END: Final = 0xCE

#: The client sends this before anything else (AMQP 0-9-1 section 4.2.2).
PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
#: Bytes of a frame around its payload.
OVERHEAD: Final = 8
#: Bytes of a content header before the property flags: class, weight and size of the body.
CONTENT_HEADER_SIZE: Final = 12
#: Largest frame that a peer may send before the two sides negotiate a size (AMQP 0-9-1 section 4.2.3 demands
#: 4096; RabbitMQ's server properties are well below this).
FRAME_MIN: Final = 4096
HEARTBEAT_FRAME: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"

_FRAME = struct.Struct(">BHI")
_CONTENT_HEADER = struct.Struct(">BHIHHQ")
_CLASS_BASIC: Final = 60
_TYPES: Final = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
_END_BYTE: Final = b"\xce"
#: What an error text says of a frame that is none of AMQP 0-9-1.
UNKNOWN_FRAME: Final = "unknown_frame"
#: How many octets of a payload an error text shows.
_SHOWN: Final = 16

Frame = tuple[int, int, bytes]


class NeedData(Enum):
    """Its only member means that the bytes of a frame are not complete yet."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA


class FrameReader:
    """Cuts a byte stream into frames.

    The reader checks a frame's size as soon as the first seven bytes have arrived. So a hostile peer
    cannot make us wait for, or store, more than one frame of ``frame_max`` bytes (promise P18).

    As RabbitMQ does, it bears with a *payload* of ``frame_max`` bytes, although the frame is then larger:
    some clients send such frames. Content headers must keep to the limit: they are passed on whole, to peers
    that may not bear with larger ones.
    """

    __slots__ = ("_buffer", "_chunks", "_missing", "_offset", "frame_max")

    def __init__(self, frame_max: int = FRAME_MIN) -> None:
        self.frame_max: int = frame_max
        self._buffer = b""
        self._offset = 0
        # The pieces of a frame are joined once, when the frame is complete.
        self._chunks: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they come from the network."""
        if self._missing > len(data):
            self._chunks.append(data)
            self._missing -= len(data)
            return
        self._missing = 0
        if self._chunks:
            self._chunks.append(data)
            self._buffer = b"".join(self._chunks)
            self._chunks = []
        elif self._offset < len(self._buffer):
            self._buffer = self._buffer[self._offset :] + data
        else:
            self._buffer = data
        self._offset = 0

    def next_frame(self) -> Frame | Literal[NeedData.NEED_DATA]:
        """Return (type, channel, payload) of the next complete frame.

        Raises:
            WireError: 501 for an unknown type, a payload above ``frame_max`` or a wrong end octet; the texts
                are RabbitMQ's.
        """
        if self._missing:
            return NEED_DATA
        buffer, offset = self._buffer, self._offset
        have = len(buffer) - offset
        if have < 7:
            return self._keep(7 - have)
        kind, channel, size = _FRAME.unpack_from(buffer, offset)
        if size > self.frame_max - OVERHEAD and (kind == HEADER or size > self.frame_max):
            raise frame_error(kind, b"", f"{{frame_too_large,{size},{self.frame_max - OVERHEAD}}}")
        start = offset + 7
        end = start + size
        if kind not in _TYPES:
            # The rest of the frame, if it is to come, would be of no use.
            raise frame_error(kind, buffer[start:end], UNKNOWN_FRAME)
        if end >= len(buffer):
            return self._keep(end + 1 - len(buffer))
        if buffer[end] != END:
            raise frame_error(kind, buffer[start:end], f"{{invalid_frame_end_marker,{buffer[end]}}}")
        self._offset = end + 1
        return kind, channel, buffer[start:end]

    def _keep(self, missing: int) -> Literal[NeedData.NEED_DATA]:
        self._missing = missing
        rest = self._buffer[self._offset :]
        self._buffer = b""
        self._offset = 0
        if rest:
            self._chunks.append(rest)
        return NEED_DATA


def frame_error(kind: int, payload: bytes, what: str) -> WireError:
    """Make the error for a frame that cannot be understood; the text is RabbitMQ's."""
    return WireError(FRAME_ERROR, f"{describe(kind, payload)}: {what}")


def describe(kind: int, payload: bytes) -> str:
    """Describe a frame as RabbitMQ does: its type, and the beginning of its payload in Erlang's notation."""
    how_many = "all" if len(payload) <= _SHOWN else f"first {_SHOWN}"
    shown = payload[:_SHOWN]
    if all(0x20 <= octet < 0x7F for octet in shown):
        text = shown.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        notation = f'"{text}"' if text else ""
    else:
        notation = ",".join(map(str, shown))
    return f"type {kind}, {how_many} octets = <<{notation}>>"


def encode_method(channel: int, payload: bytes) -> bytes:
    """Wrap the payload of a method frame."""
    return b"".join((_FRAME.pack(METHOD, channel, len(payload)), payload, _END_BYTE))


def room_for_properties(frame_max: int) -> int:
    """Return how many bytes of property flags and values fit into a frame; they are never split."""
    return frame_max - OVERHEAD - CONTENT_HEADER_SIZE


def encode_content(channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Write a method with its content header and body frames as one buffer.

    Args:
        channel: Channel number.
        method: Payload of the method frame.
        properties: Property flags and values, at most what :func:`room_for_properties` says.
        body: The body; if it is empty, no body frame follows.
        frame_max: Negotiated maximum size of a frame.
    """
    size = len(body)
    parts = _head(channel, method, properties, size)
    if size <= frame_max - OVERHEAD:
        if size:
            parts += (_FRAME.pack(BODY, channel, size), body, _END_BYTE)
        return b"".join(parts)
    return b"".join(split_content(channel, method, properties, body, frame_max))


def split_content(
    channel: int, method: bytes, properties: bytes, body: bytes, frame_max: int
) -> list[bytes | memoryview]:
    """Write the same as :func:`encode_content`, as pieces of which those of the body are no copies."""
    room = frame_max - OVERHEAD
    pieces: list[bytes | memoryview] = [b"".join(_head(channel, method, properties, len(body)))]
    view = memoryview(body)
    for start in range(0, len(body), room):
        piece = view[start : start + room]
        pieces += (_FRAME.pack(BODY, channel, len(piece)), piece, _END_BYTE)
    return pieces


def _head(channel: int, method: bytes, properties: bytes, size: int) -> list[bytes]:
    """Return the method and the content header of a body of this size."""
    return [
        _FRAME.pack(METHOD, channel, len(method)),
        method,
        _END_BYTE,
        _CONTENT_HEADER.pack(HEADER, channel, CONTENT_HEADER_SIZE + len(properties), _CLASS_BASIC, 0, size),
        properties,
        _END_BYTE,
    ]
