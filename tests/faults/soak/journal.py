"""What a worker writes down: a line for each event, in a file of its own that survives ``kill -9``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARTED: Final = "started"
READY: Final = "ready"
#: A publish is about to begin; is confirmed; has failed; has failed, and nothing was sent.
INTENT: Final = "intent"
CONFIRMED: Final = "confirmed"
FAILED: Final = "failed"
UNSENT: Final = "unsent"
#: A callback has begun; has ended well; is about to raise; was handed something that nobody sent.
DELIVERED: Final = "delivered"
ACKED: Final = "acked"
RAISED: Final = "raised"
CORRUPT: Final = "corrupt"
#: A message was found in the dead-letter queue.
DEAD: Final = "dead"

_ARGUMENTS: Final = {
    STARTED: 1,
    READY: 0,
    INTENT: 1,
    CONFIRMED: 1,
    FAILED: 2,
    UNSENT: 2,
    DELIVERED: 2,
    ACKED: 1,
    RAISED: 2,
    CORRUPT: 1,
    DEAD: 1,
}
#: What a process writes behind the half line that its predecessor has left.
_TORN: Final = b"~\n"


class JournalError(Exception):
    """A journal has a line that no worker writes."""


class Key(NamedTuple):
    """Name of a message.

    Attributes:
        run: Name of the soak.
        publisher: Name of the publisher, which stays the same when it is started again.
        topic: Topic.
        number: Counts the messages that this publisher has published with this topic.
    """

    run: str
    publisher: str
    topic: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ValueError: It is something else.
        """
        run, publisher, topic, number = text.split("/")
        return cls(run, publisher, topic, int(number))

    def __str__(self) -> str:
        return "/".join(map(str, self))


class Event(NamedTuple):
    """A line of a journal.

    Attributes:
        time: When it was written, in seconds since 1970.
        name: One of the constants above.
        arguments: What it happened to.
    """

    time: float
    name: str
    arguments: tuple[str, ...] = ()


class Journal:
    """Appends lines to a file, from any thread."""

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
    """Reads a journal while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> Iterator[Event]:
        """Give the events that were written since the last call, whole lines only.

        Raises:
            JournalError: There is a line that no worker writes.
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
        if event is None or len(event.arguments) != _ARGUMENTS.get(event.name):
            raise JournalError(f"{self._path.name}, line {self._number}: {line!r}")
        return event


def read(path: Path) -> list[Event]:
    """Read a whole journal."""
    return list(JournalReader(path).read())
