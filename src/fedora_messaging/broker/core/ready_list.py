"""The messages of a queue that wait for a consumer, in order."""

from bisect import insort
from collections import deque
from heapq import heappop, heappush

from .message import Entry


class ReadyList:
    """First in, first out; a returned message goes back to its old position."""

    __slots__ = ("_fresh", "_returned")

    def __init__(self) -> None:
        self._fresh: deque[Entry] = deque()
        self._returned: list[tuple[int, Entry]] = []

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def append(self, entry: Entry) -> None:
        """Add a new message; its position is the highest so far."""
        self._fresh.append(entry)

    def give_back(self, entry: Entry) -> None:
        """Put back a message that was taken out before."""
        heappush(self._returned, (entry.position, entry))

    def peek(self) -> Entry | None:
        """Return the head, without taking it out."""
        if self._returned and (not self._fresh or self._returned[0][0] < self._fresh[0].position):
            return self._returned[0][1]
        return self._fresh[0] if self._fresh else None

    def pop(self) -> Entry:
        """Take out the head."""
        if self._returned and (not self._fresh or self._returned[0][0] < self._fresh[0].position):
            return heappop(self._returned)[1]
        return self._fresh.popleft()


class PriorityReadyList:
    """Higher priority first; the order within a priority is that of :class:`ReadyList`."""

    __slots__ = ("_levels", "_size", "_used")

    def __init__(self) -> None:
        # Only the levels that hold messages, because a queue may have 256 of them.
        self._levels: dict[int, ReadyList] = {}
        # Their priorities, lowest first.
        self._used: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def _level(self, priority: int) -> ReadyList:
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = ReadyList()
            insort(self._used, priority)
        return level

    def append(self, entry: Entry) -> None:
        """Add a new message."""
        self._level(entry.priority).append(entry)
        self._size += 1

    def give_back(self, entry: Entry) -> None:
        """Put back a message that was taken out before."""
        self._level(entry.priority).give_back(entry)
        self._size += 1

    def peek(self) -> Entry | None:
        """Return the head, without taking it out."""
        return self._levels[self._used[-1]].peek() if self._used else None

    def pop(self) -> Entry:
        """Take out the head."""
        priority = self._used[-1]
        level = self._levels[priority]
        entry = level.pop()
        self._size -= 1
        if not level:
            del self._levels[priority]
            self._used.pop()
        return entry


class ReturnsFirstList:
    """Returned messages first, in the order of their return; the others as in :class:`PriorityReadyList`."""

    __slots__ = ("_fresh", "_returned")

    def __init__(self) -> None:
        self._returned: deque[Entry] = deque()
        self._fresh = PriorityReadyList()

    def __len__(self) -> int:
        return len(self._returned) + len(self._fresh)

    def append(self, entry: Entry) -> None:
        """Add a new message."""
        self._fresh.append(entry)

    def give_back(self, entry: Entry) -> None:
        """Put back a message that was taken out before."""
        self._returned.append(entry)

    def peek(self) -> Entry | None:
        """Return the head, without taking it out."""
        return self._returned[0] if self._returned else self._fresh.peek()

    def pop(self) -> Entry:
        """Take out the head."""
        return self._returned.popleft() if self._returned else self._fresh.pop()
