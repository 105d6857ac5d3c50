"""A consumer whose deliveries are taken one by one, instead of being pushed into a callback."""

import asyncio
from collections import deque

from .delivery import Raw


class Inbox:
    """Deliveries that wait to be taken; bounded by the prefetch of the consumer that fills it.

    A :class:`~.runner.Runner` for consumers whose caller does the processing.
    """

    in_order = False

    def __init__(self) -> None:
        self._raws: deque[Raw] = deque()
        self._news = asyncio.Event()
        self._finished = False

    def start(self) -> None:
        """There is nothing to begin."""

    def put(self, raw: Raw) -> None:
        """Add a delivery."""
        if not self._finished:
            self._raws.append(raw)
            self._news.set()

    def put_back(self, raw: Raw) -> None:
        """Give a delivery back, to be the next one that is taken."""
        if not self._finished:
            self._raws.appendleft(raw)
            self._news.set()

    async def finish(self) -> None:
        """Give nothing out any more."""
        self.halt()

    def halt(self) -> None:
        """Give nothing out any more."""
        self._finished = True
        self._raws.clear()
        self._news.set()

    def abandon(self) -> None:
        """Nothing runs here."""

    async def take(self) -> Raw | None:
        """Return the next delivery, waiting for it; ``None`` when there will be no more.

        Several tasks may wait at once, and each may be cancelled: a delivery is taken by one that returns it.
        """
        while not self._raws:
            if self._finished:
                return None
            self._news.clear()
            await self._news.wait()
        return self._raws.popleft()
