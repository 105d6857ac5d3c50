"""Publisher confirms (RabbitMQ extension): both ends count the publishes of a channel from 1."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from .errors import COMMAND_INVALID, ConnectionError

Item = TypeVar("Item")


class Unsettled(Generic[Item]):
    """The publisher's end: what was sent and not answered yet, in order of sending.

    A ``multiple`` answer costs as much as what it settles, not as much as what is outstanding.
    """

    __slots__ = ("_items", "_last")

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())

    def sent(self, item: Item) -> int:
        """Remember a publish; returns its delivery tag."""
        self._last += 1
        self._items[self._last] = item
        return self._last

    def settle(self, delivery_tag: int, multiple: bool) -> list[Item]:
        """Take out what a ``basic.ack`` or ``basic.nack`` answers.

        Raises:
            ConnectionError: The tag was never sent. (A tag settled before is ignored: RabbitMQ may
                merge acknowledgements that it has sent already.)
        """
        items = self._items
        if not multiple:
            item = items.pop(delivery_tag, None)
            if item is not None:
                return [item]
            self._check(delivery_tag)
            return []
        if delivery_tag == 0:
            return self.take_all()
        self._check(delivery_tag)
        settled = []
        while items:
            first = next(iter(items))
            if first > delivery_tag:
                break
            settled.append(items.pop(first))
        return settled

    def _check(self, delivery_tag: int) -> None:
        if not 0 < delivery_tag <= self._last:
            raise ConnectionError(
                COMMAND_INVALID,
                f"confirm of delivery tag {delivery_tag}, but the last one sent is {self._last}",
            )

    def take_all(self) -> list[Item]:
        """Take out everything, in order of sending."""
        items = list(self._items.values())
        self._items.clear()
        return items


class Unconfirmed:
    """The broker's end: publishes counted, confirms gathered and merged.

    :meth:`flush` never confirms a tag in one ``multiple`` answer together with an older one that is
    still undecided.
    """

    __slots__ = ("_done", "_last", "_pending")

    def __init__(self) -> None:
        self._last = 0
        self._pending: dict[int, None] = {}
        self._done: set[int] = set()

    def received(self) -> int:
        """Count a publish; returns its delivery tag."""
        self._last += 1
        self._pending[self._last] = None
        return self._last

    def confirm(self, delivery_tag: int) -> None:
        """This publish is safe; say so at the next :meth:`flush`."""
        self._done.add(delivery_tag)

    def reject(self, delivery_tag: int) -> None:
        """This publish gets its own ``basic.nack``, and no confirm."""
        self._pending.pop(delivery_tag, None)

    def flush(self) -> list[tuple[int, bool]]:
        """Return the (delivery tag, multiple) of the acknowledgements that are due."""
        if not self._done:
            return []
        pending, done = self._pending, self._done
        answers: list[tuple[int, bool]] = []
        run = 0
        last = 0
        while pending:
            first = next(iter(pending))
            if first not in done:
                break
            del pending[first]
            done.discard(first)
            last = first
            run += 1
        if run:
            answers.append((last, run > 1))
        for tag in sorted(done):
            del pending[tag]
            answers.append((tag, False))
        done.clear()
        return answers
