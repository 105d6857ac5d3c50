"""How long to wait between attempts to connect."""

import random
import time
from collections.abc import Callable
from typing import Final

from ..options import BackoffOptions

#: Seconds that a connection or subscription must last before the delays begin anew.
STEADY: Final = 10.0


class Backoff:
    """Exponential delays with full jitter below a cap; a changed attribute applies from the next delay on.

    A successful attempt alone does not begin the delays anew, because a broker may let us in and throw us out
    again and again. The new connection or subscription must last for some seconds, or must have done work.

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
        limit: Failures after which to give up; ``None`` means never.
        keep_trying: Whether to try again at all.
    """

    def __init__(
        self,
        options: BackoffOptions | None = None,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or BackoffOptions()
        self.initial: float = options.initial
        self.factor: float = options.factor
        self.maximum: float = options.maximum
        self.ceiling: float = options.initial
        self.attempts: int = 0
        self.limit: int | None = None
        self.keep_trying = True
        self._jitter = jitter
        self._clock = clock
        # Time of the last success, while it is not known to last, and the ceiling at that time.
        self._unproven: tuple[float, float] | None = None
        # When a connection or subscription was last lost.
        self._lost_at: float | None = None

    def succeeded(self) -> None:
        """Note that an attempt succeeded; its connection must still last for a while, or do work."""
        self._unproven = (self._clock(), self.ceiling)
        self.ceiling = self.initial
        self.attempts = 0

    def reset(self) -> None:
        """Begin the delays anew, because the connection or subscription has done work."""
        self._unproven = None
        self.ceiling = self.initial
        self.attempts = 0

    def again(self) -> float:
        """Note that a subscription was lost; returns the seconds to wait, 0 if that happens seldom."""
        now = self._clock()
        is_seldom = self._lost_at is None or now - self._lost_at >= STEADY
        self._lost_at = now
        return 0.0 if is_seldom else self.next() or 0.0

    def next(self) -> float | None:
        """Note a failure or a loss; returns the seconds to wait, or ``None`` to give up."""
        if self._unproven is not None:
            since, ceiling = self._unproven
            if self._clock() - since < STEADY:
                self.ceiling = max(self.ceiling, ceiling)
        self._unproven = None
        self.attempts += 1
        if not self.keep_trying or (self.limit is not None and self.attempts > self.limit):
            return None
        # After a connection that lasted the delay is short, but random, so that not all clients dial at once.
        delay = self.ceiling * self._jitter()
        self.ceiling = min(self.maximum, self.ceiling * self.factor)
        return delay
