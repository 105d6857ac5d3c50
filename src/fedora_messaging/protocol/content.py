"""Putting a content back together from its header and body frames (AMQP 0-9-1 section 4.2.6)."""

import struct
from typing import Final

from ..wire.frames import BODY, HEADER
from ..wire.methods import Method
from .errors import FRAME_ERROR, SYNTAX_ERROR, UNEXPECTED_FRAME, ConnectionError
from .events import ContentReceived

_CONTENT_HEADER = struct.Struct(">HHQ")
_HEADER_SIZE: Final = 12


class Assembly:
    """One content that is arriving on one channel.

    It takes memory for the bytes that have arrived, not for the announced size: announcing petabytes costs us
    nothing. A body above ``max_body`` is read and discarded, so that the channel remains usable after it.

    Attributes:
        size: Bytes that have arrived and are kept.
    """

    __slots__ = (
        "_discarded",
        "_header_seen",
        "_max_body",
        "_method",
        "_missing",
        "_properties",
        "_received",
        "size",
    )

    def __init__(self, method: Method, max_body: int) -> None:
        self._method = method
        self._max_body = max_body
        self._properties = b""
        # Most bodies come in one frame, which is kept as it is; several are gathered in a bytearray.
        self._received: bytes | bytearray = b""
        self._missing = 0
        self._header_seen = False
        # Announced size of a body that is too large to be kept; otherwise 0.
        # The announced size of a body that is too large to be kept; 0 for any other.
        self._discarded = 0
        self.size: int = 0

    def frame(self, kind: int, channel: int, payload: bytes) -> ContentReceived | None:
        """Process a header or body frame; returns the content once it is complete.

        Raises:
            ConnectionError: Another frame has to come next.
        """
        if not self._header_seen:
            if kind != HEADER:
                raise ConnectionError(
                    UNEXPECTED_FRAME,
                    "expected content header for class 60, got non content header frame instead",
                    type(self._method),
                )
            self._header(payload)
        else:
            if kind != BODY:
                raise ConnectionError(
                    UNEXPECTED_FRAME,
                    "expected content body, got non content body frame instead",
                    type(self._method),
                )
            self._body(payload)
        if self._missing:
            return None
        body = None if self._discarded else bytes(self._received)
        return ContentReceived(channel, self._method, self._properties, body, self._discarded)

    def _header(self, payload: bytes) -> None:
        if len(payload) < _HEADER_SIZE + 2:
            raise ConnectionError(SYNTAX_ERROR, "content header too short", type(self._method))
        class_id, weight, size = _CONTENT_HEADER.unpack_from(payload)
        if class_id != self._method.key[0]:
            raise ConnectionError(
                UNEXPECTED_FRAME,
                f"expected content header for class {self._method.key[0]}, "
                f"got one for class {class_id} instead",
                type(self._method),
            )
        if weight:
            raise ConnectionError(UNEXPECTED_FRAME, f"content weight {weight} is not 0", type(self._method))
        self._header_seen = True
        self._missing = size
        self._discarded = size if size > self._max_body else 0
        self._properties = payload[_HEADER_SIZE:]
        self.size = len(self._properties)

    def _body(self, payload: bytes) -> None:
        self._missing -= len(payload)
        if self._missing < 0:
            raise ConnectionError(FRAME_ERROR, "content body longer than its header says", type(self._method))
        if self._discarded:
            return
        self.size += len(payload)
        if not self._received:
            self._received = payload
        else:
            if isinstance(self._received, bytes):
                self._received = bytearray(self._received)
            self._received += payload
