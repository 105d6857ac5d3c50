"""A consumer whose deliveries are taken one by one, instead of being pushed into a callback."""

import asyncio
from collections import deque

from .delivery import Raw


class Inbox:
    """Deliveries that wait to be taken; bounded by the prefetch of the consumer that fills it.

    A :class:`~fedora_messaging.client.runners.Runner` for consumers whose caller does the processing.
    """

    in_order = False

    def __init__(self) -> None:
        self._raws: deque[Raw] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._finished = False

    def start(self) -> None:
        """There is nothing to begin."""

    def put(self, raw: Raw) -> None:
        """Add a delivery."""
        self._raws.append(raw)
        self._wake()

    async def finish(self) -> None:
        """Give nothing out any more."""
        self.halt()

    def halt(self) -> None:
        """Give nothing out any more."""
        self._finished = True
        self._raws.clear()
        self._wake()

    def abandon(self) -> None:
        """Nothing runs here."""

    async def take(self) -> Raw | None:
        """Return the next delivery, waiting for it; ``None`` when there will be no more."""
        while not self._raws:
            if self._finished:
                return None
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return self._raws.popleft()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
