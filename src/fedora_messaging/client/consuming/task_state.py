"""Keeping callbacks that share a task apart: cancellations that a callback leaves, and workers that end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .runner import Fail


def cancellations() -> int:
    """Return how often the running task was cancelled so far.

    A callback may leave this number raised, if it cancels its own task, as some time-outs do, and goes on.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def is_torn_down(before: int) -> bool:
    """Whether the running task was cancelled, as opposed to a callback that raised its own CancelledError.

    Args:
        before: What :func:`cancellations` returned before the callback was called.
    """
    return cancellations() > before


async def forget_cancellations(before: int) -> None:
    """Undo cancellations of the running task that a callback swallowed, so that they do not end another."""
    task = asyncio.current_task()
    if task is None or task.cancelling() <= before:
        return
    # The callback may have returned before its cancellation arrived.
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while task.cancelling() > before:
        task.uncancel()


def watch(task: "asyncio.Task[None]", is_expected: Callable[[], bool], fail: Fail) -> None:
    """End the consumer if a worker ends unexpectedly: without a worker no message would be processed.

    Args:
        task: The worker.
        is_expected: Returns whether the worker's end is expected.
        fail: Ends the consumer.
    """

    def ended(worker: "asyncio.Task[None]") -> None:
        error = None if worker.cancelled() else worker.exception()
        if not is_expected():
            fail(_unexpected_end(error))

    task.add_done_callback(ended)


def _unexpected_end(cause: BaseException | None) -> RuntimeError:
    error = RuntimeError(
        "what runs the callbacks has ended, perhaps because a callback cancelled its task later"
    )
    error.__cause__ = cause
    return error
