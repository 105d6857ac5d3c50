"""A loop in a thread: the order of calls, its end, and no coroutine that its callers leave behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import WAIT

from fedora_messaging.sync.loop_thread import LoopThread, in_own_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator


@contextmanager
def running(name: str = "test") -> Iterator[LoopThread]:
    loop_thread = LoopThread(name)
    try:
        yield loop_thread
    finally:
        loop_thread.stop()
    assert name not in {thread.name for thread in threading.enumerate()}


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


def test_nothing_begins_when_the_loop_has_stopped() -> None:
    with running() as loop_thread:
        pass

    def make() -> Awaitable[None]:
        raise AssertionError("called")

    with pytest.raises(CancelledError):
        loop_thread.run(make)


def test_posted_calls_keep_their_order() -> None:
    called: list[int] = []
    with running() as loop_thread:
        for number in range(1000):
            loop_thread.post(called.append, number)
        assert loop_thread.answers(WAIT)
    assert called == list(range(1000))


def test_call_posted_by_a_call_is_made_too() -> None:
    called: list[str] = []
    with running() as loop_thread:

        def first(argument: str) -> None:
            called.append(argument)
            loop_thread.post(called.append, "second")

        loop_thread.post(first, "first")
        assert loop_thread.answers(WAIT)
    assert called == ["first", "second"]


def test_call_that_fails_holds_up_none_behind_it() -> None:
    told: list[object] = []
    called: list[int] = []
    error = ValueError("bad")

    def fail(_argument: None) -> None:
        raise error

    with running() as loop_thread:
        loop_thread.loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        gate = threading.Event()
        # While the loop is held up, the next calls come together.
        loop_thread.post(lambda gate: gate.wait(WAIT), gate)
        loop_thread.post(fail, None)
        loop_thread.post(called.append, 1)
        gate.set()
        loop_thread.run(lambda: asyncio.sleep(0))
        assert called == [1]
    assert told == [error]


def test_thread_knows_itself() -> None:
    async def ask() -> tuple[bool, bool, bool]:
        return loop_thread.is_current_thread, other.is_current_thread, in_own_thread()

    with running() as loop_thread, running("other") as other:
        assert loop_thread.run(ask) == (True, False, True)
        assert (loop_thread.is_current_thread, in_own_thread()) == (False, False)


def test_loop_that_is_blocked_does_not_answer() -> None:
    begun, release = threading.Event(), threading.Event()

    def block(_none: None) -> None:
        begun.set()
        release.wait(WAIT)

    with running() as loop_thread:
        assert loop_thread.answers(WAIT)
        loop_thread.post(block, None)
        assert begun.wait(WAIT)
        assert not loop_thread.answers(0.01)
        release.set()
        assert loop_thread.answers(WAIT)


def test_stopping_lets_tasks_end() -> None:
    async def work() -> str:
        begun.set()
        await asyncio.sleep(0.05)
        return "done"

    begun = threading.Event()
    with running() as loop_thread:
        future = loop_thread.begin(work)
        assert begun.wait(WAIT)
    assert future.result(0) == "done"


def test_stopping_cancels_tasks_that_do_not_end() -> None:
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = threading.Event()
    with running() as loop_thread:
        future = loop_thread.begin(work)
        assert begun.wait(WAIT)
    assert future.cancelled()
    assert loop_thread.loop.is_closed()


def test_stopping_from_the_loop_itself() -> None:
    async def stop() -> None:
        loop_thread.stop()

    loop_thread = LoopThread("stops itself")
    (thread,) = (one for one in threading.enumerate() if one.name == "stops itself")
    loop_thread.run(stop)
    thread.join(WAIT)
    assert not thread.is_alive()


def test_calls_for_a_loop_that_has_ended_are_not_made() -> None:
    called: list[int] = []
    with running() as loop_thread:
        pass
    loop_thread.post(called.append, 1)
    assert not loop_thread.answers(0.01)
    assert called == []


def test_whatever_a_loop_raises_reaches_the_caller() -> None:
    async def fail() -> None:
        raise asyncio.CancelledError

    with running() as loop_thread:
        with pytest.raises(CancelledError):
            loop_thread.run(fail)
        # A call that is cancelled before the loop begins it leaves nothing behind.
        release = threading.Event()

        def block(_none: None) -> None:
            release.wait(WAIT)

        loop_thread.post(block, None)
        future = loop_thread.begin(fail)
        assert future.cancel()
        release.set()
        assert loop_thread.answers(WAIT)


def test_caller_that_is_interrupted_while_it_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler of a signal raises: the next caller wakes the loop, for both."""

    class Interrupt(BaseException):
        pass

    def interrupt(*_arguments: object) -> None:
        raise Interrupt

    called: list[str] = []
    done = threading.Event()
    with running() as loop_thread:
        with monkeypatch.context() as patched:
            patched.setattr(loop_thread.loop, "call_soon_threadsafe", interrupt)
            with pytest.raises(Interrupt):
                loop_thread.post(called.append, "first")
        loop_thread.post(called.append, "second")
        loop_thread.post(lambda event: event.set(), done)
        assert done.wait(WAIT)
    assert called == ["first", "second"]
