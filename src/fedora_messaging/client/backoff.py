"""How long to wait between attempts to connect."""

import random
from collections.abc import Callable

from ..options import BackoffOptions


class Backoff:
    """Exponential delays with full jitter below a cap; what it is told applies from the next delay on.

    Args:
        options: Initial values.
        jitter: Returns a random number from 0 to 1.

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
        self, options: BackoffOptions | None = None, jitter: Callable[[], float] = random.random
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

    def reset(self) -> None:
        """An attempt succeeded."""
        self.ceiling = self.initial
        self.attempts = 0

    def next(self) -> float | None:
        """An attempt failed; returns the seconds to wait before another one, or ``None`` to give up."""
        self.attempts += 1
        if not self.keep_trying or (self.limit is not None and self.attempts > self.limit):
            return None
        # A connection that held is dialled again soon, but not by all of a fleet in the same moment.
        delay = self.ceiling * self._jitter()
        self.ceiling = min(self.maximum, self.ceiling * self.factor)
        return delay
