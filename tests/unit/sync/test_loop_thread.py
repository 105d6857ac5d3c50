"""A loop in a thread: whatever interrupts who asks it for something, no coroutine is left behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import WAIT

from fedora_messaging.sync.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator


@contextmanager
def running() -> Iterator[LoopThread]:
    loop_thread = LoopThread("test")
    try:
        yield loop_thread
    finally:
        loop_thread.stop()


def test_coroutines_are_made_in_the_loop() -> None:
    """Made by the caller, who is interrupted before it has handed one over, they would never be awaited."""
    made_by: list[str] = []

    async def answer() -> int:
        return 42

    def make() -> Awaitable[int]:
        made_by.append(threading.current_thread().name)
        return answer()

    with running() as loop_thread:
        assert loop_thread.run(make) == 42
    assert made_by == ["test"]


def test_errors_come_back() -> None:
    async def fail() -> None:
        raise ValueError("canary")

    with running() as loop_thread, pytest.raises(ValueError, match="canary"):
        loop_thread.run(fail)


def test_whoever_gives_up_cancels() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.sleep(2 * WAIT)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with running() as loop_thread:
        with pytest.raises(TimeoutError):
            loop_thread.run(wait, timeout=0.01)
        assert begun.wait(WAIT)
        assert cancelled.wait(WAIT)


def test_nothing_begins_when_the_portal_has_stopped() -> None:
    with running() as loop_thread:
        pass

    def make() -> Awaitable[None]:
        raise AssertionError("called")

    with pytest.raises(CancelledError):
        loop_thread.run(make)
