"""The turn of an event loop: who has it, and what happens to a thread that does not give it back."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import WAIT, eventually

from fedora_messaging.sync import turn as turn_module
from fedora_messaging.sync.loop_thread import LoopThread, in_own_thread
from fedora_messaging.sync.turn import is_acting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Interrupt(BaseException):
    """What a signal's handler raises."""


@contextmanager
def running() -> Iterator[LoopThread]:
    loop_thread = LoopThread("test")
    try:
        yield loop_thread
    finally:
        loop_thread.stop()


def acts(loop_thread: LoopThread) -> bool:
    """Whether a thread can act now."""
    return loop_thread.act(lambda _none: True, None)


def is_interrupted(loop_thread: LoopThread, call: Callable[[None], bool]) -> bool:
    """Whether a call could begin now, and raised."""
    try:
        loop_thread.act(call, None)
    except Interrupt:
        return True
    return False


def test_thread_acts_while_the_loop_waits() -> None:
    threads: list[threading.Thread] = []

    def act(word: str) -> bool:
        threads.append(threading.current_thread())
        return word == "yes"

    with running() as loop_thread:
        eventually(lambda: acts(loop_thread))
        assert eventually(lambda: loop_thread.act(act, "yes"))
        assert not loop_thread.act(act, "no")
    assert set(threads) == {threading.current_thread()}


def test_nobody_acts_while_the_loop_is_busy() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(_none: None) -> None:
        begun.set()
        go_on.wait(WAIT)

    with running() as loop_thread:
        loop_thread.post(work, None)
        assert begun.wait(WAIT)
        assert not acts(loop_thread)
        go_on.set()
        eventually(lambda: acts(loop_thread))


def test_posted_calls_come_first() -> None:
    """Else messages of one thread would overtake each other."""
    order: list[str] = []
    with running() as loop_thread:

        def append(word: str) -> bool:
            order.append(word)
            return True

        def post_another(_none: None) -> bool:
            loop_thread.post(order.append, "posted")
            return True

        eventually(lambda: loop_thread.act(post_another, None))
        eventually(lambda: loop_thread.act(append, "acted"))
    assert order == ["posted", "acted"]


def test_loop_waits_for_the_borrower() -> None:
    order: list[str] = []
    ran = threading.Event()

    def wake_the_loop(loop_thread: LoopThread) -> bool:
        loop_thread.loop.call_soon_threadsafe(order.append, "loop")
        loop_thread.loop.call_soon_threadsafe(ran.set)
        assert not ran.wait(0.05)  # as long as we look, it does not run
        order.append("borrower")
        return True

    with running() as loop_thread:
        eventually(lambda: loop_thread.act(wake_the_loop, loop_thread))
        assert ran.wait(WAIT)
    assert order == ["borrower", "loop"]


@pytest.mark.parametrize("error", [Interrupt("canary"), ValueError("canary")])
def test_interrupted_call_is_told_to_the_loop_before_anything_else(error: BaseException) -> None:
    order: list[str] = []

    def interrupted(loop_thread: LoopThread) -> bool:
        loop_thread.loop.call_soon_threadsafe(order.append, "earlier")
        raise error

    with running() as loop_thread:
        eventually(lambda: acts(loop_thread))
        loop_thread.on_interrupted = lambda: order.append("interrupted")
        raised: list[BaseException] = []

        def attempt() -> bool:
            try:
                loop_thread.act(interrupted, loop_thread)
            except (Interrupt, ValueError) as one:
                raised.append(one)
            return bool(raised)

        eventually(attempt)
        loop_thread.post(order.append, "later")
        eventually(lambda: "later" in order)
    assert raised == [error]
    assert order == ["interrupted", "earlier", "later"]


def test_signals_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes while the first is told to the loop: nobody acts until the loop has mended it."""
    order: list[str] = []

    def interrupted(_none: None) -> bool:
        order.append("half")
        raise Interrupt

    def interrupted_again(*_arguments: object) -> None:
        raise Interrupt

    with running() as loop_thread:
        eventually(lambda: acts(loop_thread))
        loop_thread.on_interrupted = lambda: order.append("mended")
        with monkeypatch.context() as patch:
            patch.setattr(loop_thread, "post", interrupted_again)
            eventually(lambda: is_interrupted(loop_thread, interrupted))
            assert not acts(loop_thread)
        loop_thread.post(order.append, "later")
        eventually(lambda: acts(loop_thread))
    assert order == ["half", "mended", "later"]


def test_mending_that_fails() -> None:
    """The loop tells it, and goes on."""
    told: list[object] = []

    def interrupted(_none: None) -> bool:
        raise Interrupt

    def fail() -> None:
        raise ValueError("canary")

    with running() as loop_thread:
        loop_thread.loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
        loop_thread.on_interrupted = fail
        eventually(lambda: is_interrupted(loop_thread, interrupted))
        eventually(lambda: acts(loop_thread))
    assert list(map(repr, told)) == ["ValueError('canary')"]


def test_turn_that_is_not_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Signals in a row may interrupt a thread at any moment; the loop goes on without lending."""
    monkeypatch.setattr(turn_module, "_PATIENCE", (0.01, 0.01))
    with running() as loop_thread:
        lent = loop_thread._turn
        assert lent is not None
        eventually(lambda: lent._lock.acquire(blocking=False))
        assert loop_thread.answers(WAIT)
        assert not acts(loop_thread)
        assert loop_thread.answers(WAIT)
    assert [record.getMessage() for record in caplog.records] == [
        "A thread was interrupted while it published; from now on, the loop's thread sends everything"
    ]


def test_loops_that_cannot_be_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop in debug mode refuses calls of other threads; loops of others have no selector of ours."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with running() as loop_thread:
        assert isinstance(loop_thread.loop, asyncio.SelectorEventLoop)
        assert loop_thread.loop.get_debug()
        assert not acts(loop_thread)
        assert loop_thread.answers(WAIT)


def test_call_within_a_call() -> None:
    """A finalizer that publishes may run anywhere: it does not act, and is told not to wait."""
    seen: list[tuple[bool, bool]] = []

    def act(loop_thread: LoopThread) -> bool:
        seen.append((acts(loop_thread), in_own_thread()))
        return True

    with running() as loop_thread:
        eventually(lambda: loop_thread.act(act, loop_thread))
    assert seen == [(False, True)]
    assert not is_acting()
    assert not in_own_thread()


class Unhashable:
    """A handler as a class of a program may make it."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, *_arguments: object) -> None:
        pass


def test_main_thread_whose_handlers_run_code_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a handler may publish, or close the client, in the middle of the call."""
    monkeypatch.setattr(turn_module, "_LOOK", 0.0)
    before = signal.getsignal(signal.SIGUSR1)
    with running() as loop_thread:
        eventually(lambda: acts(loop_thread))
        signal.signal(signal.SIGUSR1, Unhashable())
        try:
            assert loop_thread.answers(WAIT)
            assert not acts(loop_thread)
            in_another: list[bool] = []
            thread = threading.Thread(target=lambda: in_another.append(eventually(lambda: acts(loop_thread))))
            thread.start()
            thread.join(2 * WAIT)
            assert in_another == [True]
        finally:
            signal.signal(signal.SIGUSR1, before)
        eventually(lambda: acts(loop_thread))
