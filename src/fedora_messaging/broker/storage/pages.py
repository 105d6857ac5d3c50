"""Bodies that wait for their consumers in files instead of memory."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from weakref import WeakSet

from ...logs import logger

_log = logger(__name__)

#: Bytes after which another file is begun. The space of one comes back when all its messages are gone.
_PAGE_SIZE: Final = 32 * 1024 * 1024
#: Bytes that are written at once.
_WRITTEN_AT_ONCE: Final = 256 * 1024


class FilePage:
    """A file without a name, which ends with the last message that refers to it.

    Args:
        directory: Where the file is; ``None`` for that of temporary files.

    Attributes:
        end: Bytes that were put.

    Raises:
        OSError: There can be no file.
    """

    __slots__ = ("__weakref__", "_fd", "_tail", "end")

    def __init__(self, directory: Path | None) -> None:
        self._fd = -1
        self._fd, name = tempfile.mkstemp(prefix="bodies-", dir=directory)
        # So that a broker that is killed leaves nothing behind.
        Path(name).unlink()
        self.end: int = 0
        # What is not in the file yet, and where it begins there: one write for many messages takes a third of
        # the time. A pair, because the thread that stores messages reads it while it changes.
        self._tail = (0, bytearray())

    def read(self, place: int, size: int) -> bytes:
        """Return what begins at a place.

        Raises:
            OSError: The disk is broken, or the file was closed.
        """
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        parts = []
        begin, tail = self._tail
        while size and place < begin:
            part = os.pread(self._fd, min(size, begin - place), place)
            if not part:
                raise OSError(f"the file of bodies has ended {size} bytes before it should")
            parts.append(part)
            place += len(part)
            size -= len(part)
        if size:
            parts.append(bytes(tail[place - begin : place - begin + size]))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, *parts: bytes) -> int:
        """Append bytes, and return their place.

        Raises:
            OSError: There is no space. Nothing is lost of what was put before.
        """
        place = self.end
        begin, tail = self._tail
        for part in parts:
            tail += part
        if len(tail) >= _WRITTEN_AT_ONCE:
            try:
                self._write(begin, tail)
            except OSError:
                self._tail = (begin, tail[: place - begin])
                raise
            self._tail = (begin + len(tail), bytearray())
        self.end = begin + len(tail)
        return place

    def _write(self, place: int, data: bytearray) -> None:
        with memoryview(data) as left:
            written = 0
            while written < len(left):
                written += os.pwrite(self._fd, left[written:], place + written)

    def close(self) -> None:
        """Give the space back; nothing can be read any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close


class FilePages:
    """Puts bodies into files.

    Args:
        directory: Where the files are; ``None`` for that of temporary files.
        has_room: Whether there is space for more.
    """

    def __init__(self, directory: Path | None, has_room: Callable[[], bool]) -> None:
        self._directory = directory
        self._has_room = has_room
        self._has_failed = False
        self._page: FilePage | None = None
        self._open: WeakSet[FilePage] = WeakSet()

    def put(self, *parts: bytes) -> tuple[FilePage, int] | None:
        """Write bytes; returns their page and their place there, or ``None`` if that is not possible now."""
        if not self._has_room():
            return None
        try:
            if self._page is None or self._page.end >= _PAGE_SIZE:
                self._page = FilePage(self._directory)
                self._open.add(self._page)
            place = self._page.write(*parts)
        except OSError as error:
            if not self._has_failed:
                _log.warning(
                    "Bodies stay in memory: they cannot be written to a file in %s: %s",
                    self._directory or tempfile.gettempdir(),
                    error.strerror or error,
                )
            self._has_failed = True
            return None
        self._has_failed = False
        return self._page, place

    def close(self) -> None:
        """Close all files, also those that messages refer to: the broker has stopped."""
        self._page = None
        for page in list(self._open):
            page.close()
