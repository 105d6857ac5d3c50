"""Calling queues at the times that they have asked for."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from ..logs import logger
from ..printable import printable
from .core.queue import Queue

_log = logger(__name__)

#: No timer of the loop is set further ahead, in seconds; later times are checked again then.
_TIMER_MAX: Final = 86400.0


class Timers:
    """Calls queues at the times that they asked for, the earliest first, with one timer of the loop for all.

    Args:
        loop: Event loop.
        clock: Returns the time in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[float, int, Queue]] = []
        self._order = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def schedule(self, queue: Queue, when: float) -> None:
        """Call ``queue.on_time`` at the given time."""
        heapq.heappush(self._heap, (when, next(self._order), queue))
        if self._handle is None or when < self._armed_for:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._armed_for = self._heap[0][0]
            delay = min(max(0.0, self._armed_for - self._clock()), _TIMER_MAX)
            self._handle = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self.catch_up()
        self._arm()

    def catch_up(self) -> None:
        """Make the calls that are due now.

        After the process was suspended, this happens before anything that clients sent meanwhile is handled.
        """
        now = self._clock()
        # One at a time: a call may ask for another one that is due before those of other queues.
        while self._heap and self._heap[0][0] <= now:
            when, _, queue = heapq.heappop(self._heap)
            try:
                queue.on_time(when)
            except Exception:
                # The error must affect neither other queues nor the client whose request is being handled.
                _log.exception("Internal error at a time of queue %s", printable(queue.name))

    def stop(self) -> None:
        """Make no more calls."""
        self._heap.clear()
        self._arm()
