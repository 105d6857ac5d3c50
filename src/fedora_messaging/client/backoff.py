"""How long to wait between attempts to connect."""

import random
import time
from collections.abc import Callable
from typing import Final

from ..options import BackoffOptions

#: Seconds that what an attempt has made must last before the delays begin anew.
STEADY: Final = 10.0


class Backoff:
    """Exponential delays with full jitter below a cap; what it is told applies from the next delay on.

    An attempt that succeeds does not begin the delays anew: a broker may let us in and throw us out, again
    and again. What the attempt made must last for some seconds, or must have been of use.

    Args:
        options: Initial values.
        jitter: Returns a random number from 0 to 1.
        clock: Returns seconds that only increase.

    Attributes:
        initial: Ceiling of the first delay, in seconds.
        factor: Growth of the ceiling per attempt.
        maximum: Cap of the ceiling.
        ceiling: The longest that the next delay may be.
        attempts: Attempts that failed since the last success.
        limit: Failures after which to give up; ``None`` never does.
        keep_trying: Whether to try again at all.
    """

    def __init__(
        self,
        options: BackoffOptions | None = None,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or BackoffOptions()
        self.initial = options.initial
        self.factor = options.factor
        self.maximum = options.maximum
        self.ceiling = options.initial
        self.attempts = 0
        self.limit: int | None = None
        self.keep_trying = True
        self._jitter = jitter
        self._clock = clock
        # When an attempt succeeded that is not proven yet, and the ceiling that it had.
        self._unproven: tuple[float, float] | None = None
        # When something that was made was lost last.
        self._lost_at: float | None = None

    def succeeded(self) -> None:
        """An attempt succeeded; what it made must still last for a while, or be of use."""
        self._unproven = (self._clock(), self.ceiling)
        self.ceiling = self.initial
        self.attempts = 0

    def reset(self) -> None:
        """What an attempt has made was of use."""
        self._unproven = None
        self.ceiling = self.initial
        self.attempts = 0

    def again(self) -> float:
        """What an attempt has made is lost; returns the seconds to wait: none if that is seldom."""
        now = self._clock()
        is_seldom = self._lost_at is None or now - self._lost_at >= STEADY
        self._lost_at = now
        return 0.0 if is_seldom else self.next() or 0.0

    def next(self) -> float | None:
        """It failed, or its work is lost; returns the seconds to wait, or ``None`` to give up."""
        if self._unproven is not None:
            since, ceiling = self._unproven
            if self._clock() - since < STEADY:
                self.ceiling = max(self.ceiling, ceiling)
        self._unproven = None
        self.attempts += 1
        if not self.keep_trying or (self.limit is not None and self.attempts > self.limit):
            return None
        # A connection that held is dialled again soon, but not by all of a fleet in the same moment.
        delay = self.ceiling * self._jitter()
        self.ceiling = min(self.maximum, self.ceiling * self.factor)
        return delay
