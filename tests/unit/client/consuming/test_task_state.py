"""Cancellations that callbacks leave behind, and workers that end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.client.consuming.task_state import (
    cancellations,
    forget_cancellations,
    is_torn_down,
    watch,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def test_cancellations_are_counted_from_where_a_callback_began() -> None:
    async def main() -> None:
        assert (cancellations(), is_torn_down(0)) == (0, False)
        cancel_this_task()
        assert (cancellations(), is_torn_down(0), is_torn_down(1)) == (1, True, False)
        await forget_cancellations(0)

    asyncio.run(main())


def test_outside_of_a_task_nothing_is_cancelled() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[tuple[int, bool]] = loop.create_future()
        loop.call_soon(lambda: found.set_result((cancellations(), is_torn_down(0))))
        assert await found == (0, False)

    asyncio.run(main())


@pytest.mark.parametrize("arrived", [False, True])
def test_cancellations_that_a_callback_swallowed_end_nothing_later(arrived: bool) -> None:
    """Whether the callback caught them, or returned before they arrived."""

    async def main() -> str:
        for _ in range(2):
            cancel_this_task()
        if arrived:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
        await forget_cancellations(0)
        assert cancellations() == 0
        await asyncio.sleep(0)
        return "goes on"

    assert asyncio.run(main()) == "goes on"


def test_cancellations_from_before_stay() -> None:
    async def main() -> None:
        cancel_this_task()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        cancel_this_task()
        await forget_cancellations(1)
        assert cancellations() == 1
        # There is nothing to undo.
        await forget_cancellations(1)
        assert cancellations() == 1
        await forget_cancellations(0)

    asyncio.run(main())


async def returns() -> None:
    """A worker that is done."""


async def fails() -> None:
    raise ZeroDivisionError("no")


async def is_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("worker", "cause"), [(returns, None), (fails, ZeroDivisionError), (is_cancelled, None)]
)
@pytest.mark.parametrize("expected", [False, True])
def test_worker_that_ends_ends_the_consumer_unless_that_is_expected(
    worker: Any, cause: type[Exception] | None, expected: bool
) -> None:
    failures: list[BaseException] = []

    async def main(work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        watch(task, lambda: expected, failures.append)
        await asyncio.wait([task])

    asyncio.run(main(worker()))
    if expected:
        assert failures == []
        return
    [error] = failures
    assert isinstance(error, RuntimeError)
    assert str(error) == (
        "what runs the callbacks has ended, perhaps because a callback cancelled its task later"
    )
    assert type(error.__cause__) is (cause or type(None))
