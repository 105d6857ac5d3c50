"""What a process of a test writes down: a line for each event, in a file that survives ``kill -9``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: What a process writes behind the half line that its predecessor has left.
_TORN: Final = b"~\n"


class JournalError(Exception):
    """A journal has a line that nobody writes."""


class Event(NamedTuple):
    """A line of a journal.

    Attributes:
        time: When it was written, in seconds since 1970.
        name: What happened.
        arguments: What it happened to.
    """

    time: float
    name: str
    arguments: tuple[str, ...] = ()


class Journal:
    """Appends lines to a file, from any thread and any forked child."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            # A half line must not be taken for a whole one: half of a number is a number.
            os.write(self._file, _TORN)

    def write(self, event: str, *arguments: object) -> None:
        """Write a line, by one call: a process that is killed leaves it whole, or the last of its lines."""
        line = " ".join((f"{time.time():.6f}", event, *map(str, arguments)))
        os.write(self._file, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class JournalReader:
    """Reads a journal while it is written.

    Args:
        path: The journal.
        events: Names of the events that may be in it, and how many arguments each has.
    """

    def __init__(self, path: Path, events: Mapping[str, int]) -> None:
        self._path = path
        self._events = events
        self._offset = 0
        self._number = 0

    def read(self) -> Iterator[Event]:
        """Give the events that were written since the last call, whole lines only.

        Raises:
            JournalError: There is a line that nobody writes.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                self._number += 1
                if not line.endswith(_TORN):
                    yield self._parse(line)

    def _parse(self, line: bytes) -> Event:
        try:
            when, name, *arguments = line.decode().split(" ")
            event = Event(float(when), name.rstrip("\n"), tuple(word.rstrip("\n") for word in arguments))
        except ValueError:
            event = None
        if event is None or len(event.arguments) != self._events.get(event.name):
            raise JournalError(f"{self._path.name}, line {self._number}: {line!r}")
        return event


def read(path: Path, events: Mapping[str, int]) -> list[Event]:
    """Read a whole journal; empty if there is none.

    Raises:
        JournalError: There is a line that nobody writes.
    """
    return list(JournalReader(path, events).read())
