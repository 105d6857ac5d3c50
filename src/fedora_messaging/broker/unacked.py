"""The deliveries of a channel that are out, that is, not acknowledged yet."""

from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Final, NamedTuple

from ..protocol.errors import PRECONDITION_FAILED, ChannelError
from .core.consumer import BrokerConsumer
from .core.message import Entry
from .core.queue import Queue

#: How many deliveries of a channel are looked at for one that is overdue.
_OLDEST: Final = 100


class Unacked(NamedTuple):
    """A message that is out, with its queue and the consumer that got it (``None`` for ``basic.get``).

    It has been out since ``since``, in seconds of the monotonic clock.
    """

    entry: Entry
    queue: Queue
    consumer: BrokerConsumer | None
    since: float = 0.0


class UnackedDeliveries:
    """The deliveries that are out on one channel, by delivery tag.

    Attributes:
        at_consumers: How many of them went to consumers; a prefetch for the whole channel counts these. It
            includes those acknowledged in a transaction that is not committed.
    """

    __slots__ = ("_late", "_lowest", "_out", "at_consumers")

    def __init__(self) -> None:
        self._out: dict[int, Unacked] = {}
        # No tag below this one is out.
        self._lowest = 1
        self.at_consumers: int = 0
        # Deliveries that went back to their queues already; their answers mean nothing.
        self._late: set[int] = set()

    def __len__(self) -> int:
        return len(self._out)

    def add(self, tag: int, entry: Entry, queue: Queue, consumer: BrokerConsumer | None) -> None:
        """Add a delivery."""
        self._out[tag] = Unacked(entry, queue, consumer, monotonic())
        if consumer is not None:
            self.at_consumers += 1

    def overdue(
        self, now: float, timeout_of: Callable[[Queue], float | None]
    ) -> tuple[Unacked, float] | None:
        """Return a delivery that has been out for longer than its timeout, and that, if there is one.

        Args:
            now: Seconds of the monotonic clock.
            timeout_of: Returns the timeout of a queue in seconds; ``None`` for none.
        """
        # The oldest come first; a few of them may belong to queues with a longer timeout.
        for unacked in islice(self._out.values(), _OLDEST):
            timeout = timeout_of(unacked.queue)
            if timeout is not None and now - unacked.since > timeout:
                return unacked, timeout
        return None

    def take(self, tag: int, multiple: bool) -> dict[int, Unacked]:
        """Remove and return the deliveries that an answer of the client covers.

        Raises:
            ChannelError: 406 for a tag that is not out.
        """
        out = self._out
        if multiple and tag == 0:
            return self.take_all()
        if tag not in out and tag not in self._late:
            raise ChannelError(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        if not multiple:
            self._late.discard(tag)
            return {tag: out.pop(tag)} if tag in out else {}
        # Asking the dictionary for its first key would walk over all entries that were removed before it.
        taken = {each: out.pop(each) for each in range(self._lowest, tag + 1) if each in out}
        self._lowest = tag + 1
        self._late = {late for late in self._late if late > tag}
        return taken

    def take_late(self, consumer: BrokerConsumer) -> dict[int, Unacked]:
        """Remove and return the deliveries of a consumer, which may still answer them."""
        taken = {tag: unacked for tag, unacked in self._out.items() if unacked.consumer is consumer}
        for tag in taken:
            del self._out[tag]
        self._late.update(taken)
        return taken

    def take_all(self) -> dict[int, Unacked]:
        """Remove and return all deliveries."""
        taken, self._out = self._out, {}
        return taken

    def give_back(self, taken: dict[int, Unacked]) -> None:
        """Undo :meth:`take`."""
        self._out = dict(sorted((self._out | taken).items()))
        self._lowest = 1
