"""Publisher confirms (RabbitMQ extension): both ends count the publishes of a channel from 1."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .errors import COMMAND_INVALID, ConnectionError

Item = TypeVar("Item")


class AwaitedConfirms(Generic[Item]):
    """The publisher's end: publishes that the broker has not answered yet, in order of sending.

    A ``multiple`` answer costs as much as the publishes that it confirms, not as all outstanding ones.
    """

    __slots__ = ("_found", "_items", "_last", "_low")

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._last = 0
        self._found = 0
        # No tag below this one is outstanding. (Asking the dictionary for its first key would walk over
        # all the entries that were removed before it.)
        self._low = 1

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())

    def sent(self, item: Item) -> int:
        """Remember a publish; returns its delivery tag."""
        self._last += 1
        self._items[self._last] = item
        return self._last

    def take(self, delivery_tag: int, multiple: bool) -> list[Item]:
        """Take out the publishes that a ``basic.ack`` or ``basic.nack`` answers.

        Raises:
            ConnectionError: The tag was never sent. (A tag confirmed before is ignored: RabbitMQ may
                merge acknowledgements that it has sent already.)
        """
        if multiple and delivery_tag == 0:
            return self.take_all()
        if not 0 < delivery_tag <= self._last:
            raise ConnectionError(
                COMMAND_INVALID,
                f"confirm of delivery tag {delivery_tag}, but the last one sent is {self._last}",
            )
        items = self._items
        if not multiple:
            return [items.pop(delivery_tag)] if delivery_tag in items else []
        taken = [items.pop(tag) for tag in range(self._low, delivery_tag + 1) if tag in items]
        self._low = max(self._low, delivery_tag + 1)
        return taken

    def find(self, matches: Callable[[Item], bool]) -> Item | None:
        """Find the next item that matches, searching from the one found last and then from the beginning.

        A broker handles the publishes of a channel in order, so it returns messages in order. Finding all of
        them then costs one walk, however many are outstanding. Another order costs more.
        """
        behind = self._found + 1
        for tags in (range(max(behind, self._low), self._last + 1), range(self._low, behind)):
            for tag in tags:
                item = self._items.get(tag)
                if item is not None and matches(item):
                    self._found = tag
                    return item
        return None

    def take_all(self) -> list[Item]:
        """Take out everything, in order of sending."""
        items = list(self._items.values())
        self._items.clear()
        self._low = self._last + 1
        return items


class OwedConfirms:
    """The broker's end: it counts publishes, and gathers and merges their confirms.

    A ``multiple`` answer from :meth:`flush` never covers a publish that is still undecided.
    """

    __slots__ = ("_done", "_last", "_low", "_pending")

    def __init__(self) -> None:
        self._last = 0
        self._low = 1
        self._pending: set[int] = set()
        self._done: set[int] = set()

    def __len__(self) -> int:
        """Return how many publishes await their confirm."""
        return len(self._pending)

    def received(self) -> int:
        """Count a publish; returns its delivery tag."""
        self._last += 1
        self._pending.add(self._last)
        return self._last

    def confirm(self, delivery_tag: int) -> None:
        """Note that a publish is safe; the next :meth:`flush` confirms it."""
        if delivery_tag in self._pending:
            self._done.add(delivery_tag)

    def reject(self, delivery_tag: int) -> None:
        """Leave a publish out of the confirms: the caller answers it with a ``basic.nack``."""
        self._pending.discard(delivery_tag)
        self._done.discard(delivery_tag)

    def flush(self) -> list[tuple[int, bool]]:
        """Return the (delivery tag, multiple) of the acknowledgements that are due."""
        if not self._done:
            return []
        pending, done = self._pending, self._done
        answers: list[tuple[int, bool]] = []
        run = last = 0
        while self._low <= self._last and (self._low in done or self._low not in pending):
            if self._low in done:
                done.discard(self._low)
                pending.discard(self._low)
                last = self._low
                run += 1
            self._low += 1
        if run:
            answers.append((last, run > 1))
        answers += [(tag, False) for tag in sorted(done)]
        pending -= done
        done.clear()
        return answers
