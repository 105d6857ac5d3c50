"""Event loops of tools that run in threads of their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Result = TypeVar("Result")


def run_in_own_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a tool on asyncio's own loop whatever the programs under test use.

    The tools rely on how that loop pauses reading, which uvloop does in another way.
    """
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main)


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], Result], patience: float) -> Result:
    """Make a call in the loop of another thread, and return what it returns, or raise what it raises."""
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    loop.call_soon_threadsafe(run)
    return future.result(patience)
