"""The clock that measures how long the broker's messages and queues live."""

import sys
import time


def _elapsed() -> float:
    # Unlike the monotonic clock, this one goes on while the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class Clock:
    """Seconds since 1970, counted from the wall clock's time at the start.

    Lifetimes are durations, so this clock ignores later changes of the wall clock.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - _elapsed()

    def __call__(self) -> float:
        """Return the time."""
        return self._offset + _elapsed()
