"""The changes that gather between two commits."""

from typing import TYPE_CHECKING, Any, Final

from ..core.message import Entry
from ..core.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that a message takes in the file beside its body and properties, at most if its names are short.
_ROW: Final = 200


class Window:
    """Work between two commits.

    Args:
        first_message: Messages with a smaller number were told of before, and may be on the disk.
    """

    __slots__ = (
        "adds",
        "bytes",
        "callbacks",
        "delivered",
        "deliveries",
        "first_message",
        "gone",
        "removes",
        "statements",
    )

    def __init__(self, first_message: int) -> None:
        self.first_message = first_message
        # Statements about exchanges, queues and bindings; each remembers nothing but itself.
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.adds: dict[tuple[int, int], Entry] = {}
        self.removes: list[tuple[int, int, int | None]] = []
        self.delivered: dict[int, int] = {}
        # How often messages were delivered, of queues that count it.
        self.deliveries: dict[tuple[int, int], int] = {}
        self.callbacks: list[Callable[[], None]] = []
        # Queues that are deleted by the statements.
        self.gone: set[int] = set()
        # Of the messages in `adds`.
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.statements) + len(self.adds) + len(self.removes)

    @property
    def is_due(self) -> bool:
        """Whether a commit is due; how far queues were delivered can wait for the next one."""
        return bool(len(self) or self.deliveries or self.callbacks)

    def add(self, key: tuple[int, int], entry: Entry) -> None:
        """Take a message."""
        self.adds[key] = entry
        self.bytes += _size(entry)

    def cancel(self, key: tuple[int, int]) -> bool:
        """Drop a message; returns whether it was here."""
        entry = self.adds.pop(key, None)
        if entry is None:
            return False
        self.bytes -= _size(entry)
        return True

    def remove_queue(self, queue_id: int) -> None:
        """Drop the messages of a queue, which would otherwise be written after it is gone."""
        self.gone.add(queue_id)
        for key in [key for key in self.adds if key[0] == queue_id]:
            self.cancel(key)

    def merge(self, newer: "Window") -> None:
        """Take up what came while the commit of this window failed.

        Messages that have left their queues meanwhile need no room any more.
        """
        for queue_id in newer.gone:
            self.remove_queue(queue_id)
        for queue_id, position, _ in newer.removes:
            self.cancel((queue_id, position))
        self.statements += newer.statements
        self.adds.update(newer.adds)
        self.bytes += newer.bytes
        self.removes += newer.removes
        self.delivered.update(newer.delivered)
        self.deliveries.update(newer.deliveries)
        self.callbacks += newer.callbacks


def entry_key(queue: Queue, entry: Entry) -> tuple[int, int]:
    """Return the identity of a message's place in a stored queue."""
    assert queue.stored_id is not None  # only stored queues have stored messages
    return queue.stored_id, entry.position


def _size(entry: Entry) -> int:
    return len(entry.message.body) + len(entry.message.properties) + _ROW
