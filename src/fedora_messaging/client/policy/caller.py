"""Calling a callback with a time limit: in the loop, or in a thread that can be left behind."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from ...message import Message


class CallbackTimeout(TimeoutError):
    """A callback took longer than ``[consumer] timeout``."""


class _Caller:
    """Calls callbacks one at a time, within a time limit."""

    def __init__(self, timeout: float | None, name: str) -> None:
        self._timeout = timeout
        self._name = name
        self._thread: _CallThread | None = None

    async def call(self, callback: Callable[[Message], Any], is_coroutine: bool, message: Message) -> None:
        """Call, or await, a callback.

        Raises:
            CallbackTimeout: It did not end in time. A coroutine is cancelled; a thread is left running.
        """
        work = callback(message) if is_coroutine else self._in_thread(callback, message)
        try:
            async with asyncio.timeout(self._timeout) as limit:
                await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            # A thread cannot be stopped; the next message gets another one.
            self.close()
            raise CallbackTimeout(f"the callback took longer than {self._timeout:g} s") from error

    def _in_thread(self, callback: Callable[[Message], Any], message: Message) -> Awaitable[None]:
        if self._thread is None:
            self._thread = _CallThread(self._name)
        return self._thread.call(callback, message)

    def close(self) -> None:
        """Let the thread end when its call has ended."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None


#: A callback, its message, and the future for its outcome.
_Call = tuple[Callable[[Message], Any], Message, "asyncio.Future[None]"]


class _CallThread:
    """A daemon thread that calls plain callbacks; it does not keep the interpreter from ending."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=self._run, name=f"consumer {name}", daemon=True).start()

    def call(self, callback: Callable[[Message], Any], message: Message) -> Awaitable[None]:
        """Call a callback; returns an awaitable for its outcome."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._inbox.put((callback, message, future))
        return future

    def close(self) -> None:
        """End the thread after the calls that it has begun or got."""
        self._inbox.put(None)

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            callback, message, future = item
            error: BaseException | None = None
            try:
                result = callback(message)
                if hasattr(result, "__await__"):
                    asyncio.run_coroutine_threadsafe(_await(result), self._loop).result()
            except BaseException as raised_error:  # the caller that awaits the outcome gets it
                error = raised_error
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_settle, future, error)


async def _await(result: Awaitable[Any]) -> None:
    await result


def _settle(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("the callback raised StopIteration"))
    else:
        future.set_exception(error)
