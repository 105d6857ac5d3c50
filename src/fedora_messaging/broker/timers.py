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
#: Seconds of work after which clients have their turn.
_TURN: Final = 0.02
#: How many calls come first in any case, however slow the machine is.
_LEAST: Final = 20
#: Number of calls below which those for deleted queues do no harm.
_FEW: Final = 1000


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
        self._crowded = _FEW

    def schedule(self, queue: Queue, when: float) -> None:
        """Call ``queue.on_time`` at the given time."""
        if len(self._heap) >= self._crowded:
            # Calls for queues that are gone would be kept for as long as their x-expires.
            self._heap = [call for call in self._heap if not call[2].deleted]
            heapq.heapify(self._heap)
            self._crowded = max(_FEW, 2 * len(self._heap))
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

        After the process was suspended, this happens before anything that clients sent meanwhile is handled,
        unless it takes long: then clients have their turn in between.
        """
        now = self._clock()
        end = self._loop.time() + _TURN
        # One at a time: a call may ask for another one that is due before those of other queues.
        count = 0
        while self._heap and self._heap[0][0] <= now and (count < _LEAST or self._loop.time() <= end):
            count += 1
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
