"""What the tests of the web application share: messages, archives, and time that passes quickly."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fedora_messaging.archive.entry import Entry, entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.message import INFO, Message
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from fedora_messaging.archive.archive import Archive

Result = TypeVar("Result")

#: When a message was sent of which a test does not care when.
NOON: Final = 1_764_504_000.0

_numbers = itertools.count(1)


class Telling(Message):
    """A message whose body tells what it says of itself."""

    @property
    def summary(self) -> str:
        return str(self.body.get("summary", self.topic))

    @property
    def app_name(self) -> str | None:
        app: str | None = self.body.get("app")
        return app

    @property
    def usernames(self) -> list[str]:
        return [*self.body.get("users", ())]

    @property
    def packages(self) -> list[str]:
        return [*self.body.get("packages", ())]


def entry(
    topic: str = "org.example.thing",
    *,
    id: str | None = None,
    sent: float = NOON,
    severity: int = INFO,
    **body: Any,
) -> Entry:
    """A message to store, with an id that no other one has unless it is given."""
    properties = BasicProperties(headers={}, message_id=id or f"message-{next(_numbers)}")
    return entry_of(Telling(body=body, topic=topic, properties=properties, severity=severity), sent)


@contextmanager
def archive_in(directory: Path, name: str = "archive.db") -> Iterator[Archive]:
    """An archive in a new file."""
    archive = open_archive(str(directory / name))
    try:
        yield archive
    finally:
        archive.close()


#: Seconds of the quick loop that pass in one.
_QUICKER: Final = 50


class _QuickSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout and timeout / _QUICKER)


class _QuickLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_QuickSelector())

    def time(self) -> float:
        return super().time() * _QUICKER


def run_quickly(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a loop whose sleeps and timeouts take a fraction of their time.

    Threads are as quick as ever, so timeouts end early: only what is right after a timeout, too, can be
    tested so.
    """
    with asyncio.Runner(loop_factory=_QuickLoop) as runner:
        return runner.run(main)
