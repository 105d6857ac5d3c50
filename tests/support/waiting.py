"""Waiting for states that send no event: the one way to do it, with one deadline."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

#: Seconds within which anything must have happened; nothing waits for all of it.
WAIT: Final = 30.0
#: Seconds between two looks.
POLL: Final = 0.01


def eventually(check: Callable[[], Result | None], timeout: float = WAIT) -> Result:
    """Call until the result is true, and return it."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, "the awaited state did not come"
        time.sleep(POLL)


async def soon(check: Callable[[], Result | None], timeout: float = WAIT) -> Result:
    """Call until the result is true, and return it, while the event loop runs."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, "the awaited state did not come"
        await asyncio.sleep(POLL)
