"""Bringing verdicts from the thread of a callback into the event loop of the connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .delivery import Raw
from .runner import Report
from .verdict import Verdict


class VerdictMailbox:
    """Takes verdicts in any thread, and reports them in the loop where it was made; a burst is one wake-up.

    Args:
        report: Is told each verdict, in the loop.
        after: Called in the loop after all that was there has been reported.
    """

    def __init__(self, report: Report, after: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._after = after
        self._verdicts: deque[tuple[Raw, Verdict]] = deque()
        self._wake_pending = False

    def put(self, raw: Raw, verdict: Verdict) -> None:
        """Add a verdict. For any thread."""
        self._verdicts.append((raw, verdict))
        if not self._wake_pending:
            self._wake_pending = True
            self.post(self.hand_over)

    def post(self, call: Callable[[], None]) -> None:
        """Have something done in the loop. For any thread."""
        with suppress(RuntimeError):  # the loop is closed: the program is past waiting for us
            self._loop.call_soon_threadsafe(call)

    def hand_over(self) -> None:
        """Report what is there. In the loop."""
        # Cleared first: a verdict that is added from here on brings its own wake-up, or is taken below.
        self._wake_pending = False
        while self._verdicts:
            self._report(*self._verdicts.popleft())
        if self._after is not None:
            self._after()
