"""Lets a test record published messages, which are not sent then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..message import Message

#: Functions of tests that take messages instead of a broker; the last one, the innermost, is used.
_recorders: list[Callable[[Message], None]] = []


@contextmanager
def recording(record: Callable[[Message], None]) -> Iterator[None]:
    """Record all messages that this process publishes in this block, instead of sending them."""
    _recorders.append(record)
    try:
        yield
    finally:
        _recorders.remove(record)


def recorded(message: Message) -> bool:
    """Let a test record a message; return whether one did, in which case it must not be sent."""
    if not _recorders:
        return False
    _recorders[-1](message)
    return True


def is_recording() -> bool:
    """Return whether a test records messages, so that no broker is needed."""
    return bool(_recorders)
