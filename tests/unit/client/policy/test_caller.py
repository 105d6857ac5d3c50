"""Calling a callback within a time limit, in the loop and in a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import WAIT, eventually

from fedora_messaging.client.policy.caller import CallbackTimeout, _Caller
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE = Message(topic="t")
#: A time limit that is over soon.
SHORT = 0.01
THREAD = "consumer callbacks of q"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def call(callback: Callable[[Message], Any], is_coroutine: bool, timeout: float | None = WAIT) -> None:
    async def main() -> None:
        caller = _Caller(timeout, "callbacks of q")
        try:
            await caller.call(callback, is_coroutine, MESSAGE)
        finally:
            caller.close()

    asyncio.run(main())


def test_plain_callbacks_are_called_in_one_thread() -> None:
    called: list[tuple[Message, threading.Thread]] = []

    async def main() -> None:
        caller = _Caller(None, "callbacks of q")
        assert threads() == []
        for _ in range(3):
            await caller.call(lambda got: called.append((got, threading.current_thread())), False, MESSAGE)
        (thread,) = threads()
        assert called == [(MESSAGE, thread)] * 3
        assert thread.daemon
        caller.close()
        caller.close()

    asyncio.run(main())
    eventually(lambda: not threads())


def test_coroutine_functions_are_awaited_in_the_loop() -> None:
    called: list[tuple[Message, threading.Thread]] = []

    async def callback(got: Message) -> str:
        await asyncio.sleep(0)
        called.append((got, threading.current_thread()))
        return "is ignored"

    call(callback, True)
    assert called == [(MESSAGE, threading.current_thread())]
    assert threads() == []


def test_awaitable_of_a_plain_callback_is_awaited_in_the_loop() -> None:
    called: list[str] = []

    async def rest() -> None:
        called.append(threading.current_thread().name)

    def callback(_message: Message) -> Any:
        called.append(threading.current_thread().name)
        return rest()

    call(callback, False)
    assert called == [THREAD, threading.current_thread().name]


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize("kind", [ValueError, TimeoutError, SystemExit, KeyboardInterrupt])
def test_callers_get_what_a_callback_raises(is_coroutine: bool, kind: type[BaseException]) -> None:
    """A TimeoutError of the callback's own is none of the time limit."""
    error = kind("canary")

    def callback(_message: Message) -> None:
        raise error

    async def coroutine(_message: Message) -> None:
        raise error

    async def main() -> None:
        caller = _Caller(WAIT, "callbacks of q")
        with pytest.raises(kind) as caught:
            await caller.call(coroutine if is_coroutine else callback, is_coroutine, MESSAGE)
        assert caught.value is error
        # The caller can be used again.
        await caller.call(lambda _message: None, False, MESSAGE)
        caller.close()

    asyncio.run(main())


def test_stop_iteration_becomes_an_error_that_can_be_awaited() -> None:
    def callback(_message: Message) -> None:
        next(iter(()))

    with pytest.raises(RuntimeError, match="^the callback raised StopIteration$"):
        call(callback, False)


def test_coroutine_that_takes_too_long_is_cancelled() -> None:
    ended: list[str] = []

    async def callback(_message: Message) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(CallbackTimeout, match=r"^the callback took longer than 0\.01 s$"):
        call(callback, True, SHORT)
    assert ended == ["cancelled"]


@pytest.mark.parametrize("late", [None, ValueError("too late")])
def test_thread_that_takes_too_long_is_left_behind(late: Exception | None) -> None:
    begun, release = threading.Event(), threading.Event()
    called: list[threading.Thread] = []

    def hang(_message: Message) -> None:
        called.append(threading.current_thread())
        begun.set()
        release.wait(WAIT)
        if late is not None:
            raise late

    async def main() -> None:
        caller = _Caller(SHORT, "callbacks of q")
        with pytest.raises(CallbackTimeout):
            await caller.call(hang, False, MESSAGE)
        assert begun.wait(WAIT)
        begun.clear()
        # The next message does not wait behind the callback that hangs.
        with pytest.raises(CallbackTimeout):
            await caller.call(hang, False, MESSAGE)
        assert begun.wait(WAIT)
        release.set()
        caller.close()
        await asyncio.to_thread(eventually, lambda: not threads())
        # The outcome comes too late, and nobody is told.
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len({*called}) == 2


def test_cancelled_call_of_a_thread_may_end_later() -> None:
    begun, release = threading.Event(), threading.Event()

    def callback(_message: Message) -> None:
        begun.set()
        release.wait(WAIT)

    async def main() -> None:
        caller = _Caller(None, "callbacks of q")
        task = asyncio.create_task(caller.call(callback, False, MESSAGE))
        await asyncio.to_thread(begun.wait, WAIT)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        caller.close()

    asyncio.run(main())
    # The thread finds that its loop is closed.
    (thread,) = threads()
    release.set()
    thread.join(WAIT)
    assert not thread.is_alive()
