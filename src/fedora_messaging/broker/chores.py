"""Work that may take long, done in portions, so that every client has its turn in between."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ..logs import logger

_log = logger(__name__)

#: Seconds of one client's work, or of one chore, after which others have their turn.
TURN: Final = 0.005


def advance(steps: Iterator[None], time: Callable[[], float], end: float) -> bool:
    """Do steps until it is time to end; returns whether all are done."""
    for _ in steps:
        if time() > end:
            return False
    return True


class Chores:
    """Work that nobody waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unfinished: deque[Iterator[None]] = deque()

    def run(self, steps: Iterator[None]) -> None:
        """Do some work: at once if it is short, otherwise with the rest in later turns of the loop."""
        if self._is_done(steps):
            return
        self._unfinished.append(steps)
        if len(self._unfinished) == 1:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._unfinished:  # somebody has finished them
            return
        # It stays in its place meanwhile, so that a chore that it brings does not ask for a turn, too.
        if self._is_done(self._unfinished[0]):
            self._unfinished.popleft()
        else:
            self._unfinished.rotate(-1)
        if self._unfinished:
            self._loop.call_soon(self._go_on)

    def _is_done(self, steps: Iterator[None]) -> bool:
        try:
            return advance(steps, self._loop.time, self._loop.time() + TURN)
        except Exception:
            _log.exception("Internal error in work for no client")
            return True

    def finish(self) -> None:
        """Do all that is left, because the broker stops."""
        while self._unfinished:
            steps = self._unfinished.popleft()
            while not self._is_done(steps):
                pass
