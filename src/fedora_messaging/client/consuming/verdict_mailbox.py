"""Bringing verdicts from the thread of a callback into the event loop of the connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .delivery import Raw
from .runner import Report
from .verdict import Verdict


class VerdictMailbox:
    """Takes verdicts in any thread, and reports them in the event loop; a burst wakes the loop only once.

    The loop is the one that runs when the mailbox is made.

    Args:
        report: Called in the loop with each verdict.
        after: Called in the loop after all waiting verdicts have been reported.
    """

    def __init__(self, report: Report, after: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._after = after
        self._verdicts: deque[tuple[Raw, Verdict]] = deque()
        self._wake_pending = False

    def put(self, raw: Raw, verdict: Verdict) -> None:
        """Add a verdict. Any thread may call this."""
        self._verdicts.append((raw, verdict))
        if not self._wake_pending:
            self._wake_pending = True
            self.post(self.hand_over)

    def post(self, call: Callable[[], None]) -> None:
        """Have a function called in the loop. Any thread may call this."""
        with suppress(RuntimeError):  # the loop is closed: the program no longer waits for us
            self._loop.call_soon_threadsafe(call)

    def hand_over(self) -> None:
        """Report the waiting verdicts. Only the loop may call this."""
        # Cleared first: a verdict added from here on wakes the loop again, or is taken below.
        self._wake_pending = False
        while self._verdicts:
            self._report(*self._verdicts.popleft())
        if self._after is not None:
            self._after()
