"""A window: the changes that gather between two commits."""

from typing import TYPE_CHECKING, Any, Final

from ..core.message import Entry
from ..core.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

#: Most bytes that a message with short names takes in the file in addition to its body and properties.
_ROW: Final = 200


class Window:
    """The changes between two commits.

    Args:
        first_message: Messages with smaller numbers belong to earlier windows, and may be on the disk.
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
        "was_tried",
    )

    def __init__(self, first_message: int) -> None:
        self.first_message: int = first_message
        # Statements about exchanges, queues and bindings, with their values.
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.adds: dict[tuple[int, int], Entry] = {}
        self.removes: list[tuple[int, int, int | None]] = []
        self.delivered: dict[int, int] = {}
        # How often messages failed, and how often they were delivered, in queues that count it.
        self.deliveries: dict[tuple[int, int], tuple[int, int]] = {}
        self.callbacks: list[Callable[[], None]] = []
        # Queues that the statements delete.
        self.gone: set[int] = set()
        # Bytes of the messages in `adds`.
        self.bytes: int = 0
        # Whether a commit of it has failed. Then the log may have all of it nevertheless, and the next start
        # would find it there, until another commit has overwritten that.
        self.was_tried: bool = False

    def __len__(self) -> int:
        return len(self.statements) + len(self.adds) + len(self.removes) + self.was_tried

    @property
    def is_due(self) -> bool:
        """Whether a commit is due; new positions of deliveries alone do not need one."""
        return bool(len(self) or self.deliveries or self.callbacks)

    def add(self, key: tuple[int, int], entry: Entry) -> None:
        """Add a message."""
        self.adds[key] = entry
        self.bytes += _size(entry)

    def cancel(self, key: tuple[int, int]) -> bool:
        """Drop a message; returns whether the window had it."""
        entry = self.adds.pop(key, None)
        if entry is None:
            return False
        self.bytes -= _size(entry)
        return True

    def remove_queue(self, queue_id: int) -> None:
        """Drop the messages of a deleted queue; otherwise they would be written after its deletion."""
        self.gone.add(queue_id)
        for key in [key for key in self.adds if key[0] == queue_id]:
            self.cancel(key)

    def merge(self, newer: "Window") -> None:
        """Add the changes that came while the commit of this window failed.

        Messages that have left their queues meanwhile are dropped.
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
    return entry.message.size + len(entry.message.properties) + _ROW
