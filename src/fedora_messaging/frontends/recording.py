"""Recording what is published, instead of sending it, while a test watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..message import Message

#: What takes messages instead of a broker while a test watches; the innermost is the last.
_recorders: list[Callable[[Message], None]] = []


@contextmanager
def recording(record: Callable[[Message], None]) -> Iterator[None]:
    """Have all messages recorded that are published in this process, instead of sending them."""
    _recorders.append(record)
    try:
        yield
    finally:
        _recorders.remove(record)


def recorded(message: Message) -> bool:
    """Let a test record a message; returns whether one did, so that nothing is to be sent."""
    if not _recorders:
        return False
    _recorders[-1](message)
    return True


def is_recording() -> bool:
    """Whether a test records messages, so that there need not be a broker."""
    return bool(_recorders)
