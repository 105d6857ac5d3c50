"""Transports without sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedora_messaging.transport.link import Link

#: Bytes in the buffer above which a transport pauses its protocol, and below which it goes on; asyncio's.
HIGH, LOW = 65536, 16384


class NarrowPipe(asyncio.Transport):
    """A transport with a buffer like asyncio's, whose peer reads only when the test says so."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.buffer = bytearray()
        self.largest = 0
        self.is_over = False
        self.reads = True
        self._paused = False
        self._link = link

    def write(self, data: Any) -> None:
        """Take the bytes, and have the link pause above the high mark."""
        self.buffer += data
        self.largest = max(self.largest, len(self.buffer))
        if len(self.buffer) > HIGH and not self._paused:
            self._paused = True
            self._link.pause_writing()

    def take(self, size: int) -> bytes:
        """Read as the peer."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        if self._paused and len(self.buffer) <= LOW:
            self._paused = False
            self._link.resume_writing()
        return data

    def take_all(self) -> bytes:
        """Read as the peer until nothing comes any more."""
        data = b""
        while self.buffer:
            data += self.take(100_000)
        return data

    def get_write_buffer_size(self) -> int:
        """Return how much the peer has not read."""
        return len(self.buffer)

    def is_closing(self) -> bool:
        """Whether the link has ended the connection."""
        return self.is_over

    def close(self) -> None:
        """Note the end; what is in the buffer can still be read."""
        self.is_over = True

    def abort(self) -> None:
        """Note the end, and lose what was not read."""
        self.is_over = True
        self.buffer.clear()

    def pause_reading(self) -> None:
        """Note that the link reads no more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Note that the link reads again."""
        self.reads = True
