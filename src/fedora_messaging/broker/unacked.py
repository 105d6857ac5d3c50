"""The deliveries of a channel that are not acknowledged, by delivery tag."""

from typing import NamedTuple

from ..protocol.errors import PRECONDITION_FAILED, ChannelError
from .core.consumer import BrokerConsumer
from .core.message import Entry
from .core.queue import Queue


class Unacked(NamedTuple):
    """A message that is out: whose it is, and which consumer got it (``None``: by ``basic.get``)."""

    entry: Entry
    queue: Queue
    consumer: BrokerConsumer | None


class UnackedDeliveries:
    """What is out on one channel.

    Attributes:
        at_consumers: How many of them consumers got, which a prefetch for the whole channel counts; those of
            a transaction that is not committed are among them.
    """

    __slots__ = ("_lowest", "_out", "at_consumers")

    def __init__(self) -> None:
        self._out: dict[int, Unacked] = {}
        # No tag below this one is out.
        self._lowest = 1
        self.at_consumers = 0

    def add(self, tag: int, entry: Entry, queue: Queue, consumer: BrokerConsumer | None) -> None:
        """A message goes out."""
        self._out[tag] = Unacked(entry, queue, consumer)
        if consumer is not None:
            self.at_consumers += 1

    def take(self, tag: int, multiple: bool) -> dict[int, Unacked]:
        """Take out what the client answers for.

        Raises:
            ChannelError: 406 for a tag that is not out.
        """
        out = self._out
        if multiple and tag == 0:
            return self.take_all()
        if tag not in out:
            raise ChannelError(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        if not multiple:
            return {tag: out.pop(tag)}
        # Not by asking the dictionary for its first key, which costs as much as was removed before it.
        taken = {each: out.pop(each) for each in range(self._lowest, tag + 1) if each in out}
        self._lowest = tag + 1
        return taken

    def take_all(self) -> dict[int, Unacked]:
        """Take out everything."""
        taken, self._out = self._out, {}
        return taken

    def give_back(self, taken: dict[int, Unacked]) -> None:
        """Undo :meth:`take`."""
        self._out = dict(sorted((self._out | taken).items()))
        self._lowest = 1
