"""The runner of a consumer without a callback, whose caller takes the deliveries one by one."""

import asyncio
from collections import deque

from .delivery import Raw


class Inbox:
    """Deliveries that wait for the caller; the prefetch of the consumer that fills the inbox bounds it.

    A :class:`~.runner.Runner` for consumers whose caller does the processing.
    """

    in_order = False

    def __init__(self) -> None:
        self._raws: deque[Raw] = deque()
        self._news = asyncio.Event()
        self._finished = False

    def start(self) -> None:
        """Do nothing: there is nothing to begin."""

    def put(self, raw: Raw) -> None:
        """Add a delivery."""
        if not self._finished:
            self._raws.append(raw)
            self._news.set()

    def put_back(self, raw: Raw) -> None:
        """Give a delivery back; the next :meth:`take` returns it."""
        if not self._finished:
            self._raws.appendleft(raw)
            self._news.set()

    async def finish(self) -> None:
        """Hand out no more deliveries."""
        self.halt()

    def halt(self) -> None:
        """Hand out no more deliveries."""
        self._finished = True
        self._raws.clear()
        self._news.set()

    def abandon(self) -> None:
        """Do nothing: no callback runs here."""

    async def take(self) -> Raw | None:
        """Return the next delivery, waiting for it; ``None`` when there will be no more.

        Several tasks may wait at once, and each may be cancelled: a cancelled task takes no delivery with it.
        """
        while not self._raws:
            if self._finished:
                return None
            self._news.clear()
            await self._news.wait()
        return self._raws.popleft()

    def take_waiting(self, most: int) -> list[Raw]:
        """Return the deliveries that wait already, at most so many."""
        return [self._raws.popleft() for _ in range(min(most, len(self._raws)))]
