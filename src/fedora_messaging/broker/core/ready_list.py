"""The messages of a queue that wait for a consumer, in order."""

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

    __slots__ = ("_levels", "_size")

    def __init__(self, max_priority: int) -> None:
        # Highest first; a queue has at most 256 levels, and most have ten.
        self._levels = [ReadyList() for _ in range(max_priority + 1)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def _level(self, priority: int) -> ReadyList:
        return self._levels[len(self._levels) - 1 - priority]

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
        for level in self._levels:
            if level:
                return level.peek()
        return None

    def pop(self) -> Entry:
        """Take out the head."""
        for level in self._levels:
            if level:
                self._size -= 1
                return level.pop()
        raise IndexError("the queue is empty")
