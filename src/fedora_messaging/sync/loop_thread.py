"""An event loop in its own thread, and ways to hand work to it."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from .turn import is_acting, new_loop

Result = TypeVar("Result")

#: Seconds that running tasks get to end when the loop stops.
_SETTLE = 1.0
#: Seconds after which we stop waiting for a loop that does not end.
_GIVE_UP = 5.0


class _LoopThread(threading.Thread):
    """A thread that runs one of our loops."""


def in_own_thread() -> bool:
    """Return whether one of our loops runs in this thread, or waits for it; a blocking call would stop it."""
    return isinstance(threading.current_thread(), _LoopThread) or is_acting()


class LoopThread:
    """A running event loop; a burst of posted calls wakes it only once.

    Args:
        name: Name of the thread.

    Attributes:
        loop: The loop.
        on_interrupted: Called in the loop's thread, before it does anything else, when a call of :meth:`act`
            was interrupted, and so may have left behind something half done.
    """

    def __init__(self, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.loop, self._turn = new_loop(self._interrupted)
        self.on_interrupted: Callable[[], None] = lambda: None
        self._inbox: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._wake_pending = False
        self._stopping = False
        self._stop_lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = _LoopThread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        if self._turn is not None:
            self._turn.begin()
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            if self._turn is not None:
                self._turn.end()
            self.loop.close()

    def act(self, call: Callable[[Any], bool], argument: Any) -> bool:
        """Make a call in this thread, in the place of the loop, if the loop waits and no posted call does.

        Args:
            call: It must not wait for anything, and must not need a running loop.
            argument: Its argument.

        Returns:
            Whether that was possible, and the call returned ``True``.
        """
        # What is posted later than this comes from another thread, or from the call itself.
        if self._turn is None or self._inbox:
            return False
        return self._turn.act(call, argument, self._wake)

    def _wake(self) -> None:
        self.post(lambda _none: None, None)

    def _interrupted(self) -> None:
        try:
            self.on_interrupted()
        except Exception as error:
            context = {"message": "The loop could not mend what was interrupted", "exception": error}
            self.loop.call_exception_handler(context)

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is in the loop's own thread, where waiting for the loop would never end."""
        return threading.current_thread() is self._thread

    def answers(self, timeout: float = 5.0) -> bool:
        """Return whether the loop responds within ``timeout`` seconds."""
        answered = threading.Event()
        self.post(lambda event: event.set(), answered)
        return answered.wait(timeout)

    def post(self, call: Callable[[Any], object], argument: Any) -> None:
        """Schedule a call in the loop; calls keep their order."""
        self._inbox.append((call, argument))
        if not self._wake_pending and not self.loop.is_closed():
            try:
                self._wake_pending = True
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                pass  # the loop was closed just now, so the call is not needed
            except BaseException:
                # A signal's handler interrupted us, and perhaps nobody has woken the loop: the next one does.
                self._wake_pending = False
                raise

    def _drain(self) -> None:
        # Cleared first: a call that is appended from now on wakes the loop again, or is taken below.
        self._wake_pending = False
        while self._inbox:
            call, argument = self._inbox.popleft()
            try:
                call(argument)
            except Exception as error:
                # The calls behind it belong to others.
                context = {"message": f"A call in the event loop failed: {call!r}", "exception": error}
                self.loop.call_exception_handler(context)

    def run(self, work: Callable[[], Awaitable[Result]], timeout: float | None = None) -> Result:
        """Call a function in the loop and await its awaitable; return the result or raise the error.

        Raises:
            TimeoutError: It took longer than ``timeout`` seconds and has been cancelled.
        """
        future = self.begin(work)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def begin(self, work: Callable[[], Awaitable[Result]]) -> Future[Result]:
        """Call a function in the loop and await its awaitable there, without waiting for it.

        Cancelling the future, or stopping the loop, cancels the work. The function is called in the loop and
        not here, so that a signal that interrupts the caller leaves no coroutine behind.
        """
        future: Future[Result] = Future()
        with self._stop_lock:
            if self._stopping:
                future.cancel()
            else:
                self.loop.call_soon_threadsafe(self._begin, work, future)
        return future

    def _begin(self, work: Callable[[], Awaitable[Result]], future: Future[Result]) -> None:
        task = self.loop.create_task(_fulfil(work, future))
        # The loop itself keeps only weak references to tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel_too(ended: Future[Result]) -> None:
            if ended.cancelled() and not self.loop.is_closed():
                with suppress(RuntimeError):  # as in `post`
                    self.loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(cancel_too)

    async def _settle(self) -> None:
        """Let running tasks end, so that no thread waits for ever for a loop that is gone."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for call in (None, asyncio.Task.cancel):
            for task in others:
                if call is not None:
                    call(task)
            if others:
                _done, others = await asyncio.wait(others, timeout=_SETTLE)

    def stop(self) -> None:
        """End the loop and its thread; cancel tasks that do not end by themselves."""
        with self._stop_lock:
            self._stopping = True
        settled = asyncio.run_coroutine_threadsafe(self._settle(), self.loop)
        settled.add_done_callback(lambda _settled: self.loop.call_soon_threadsafe(self.loop.stop))
        if not self.is_current_thread:
            # A callback that blocks its loop for ever must not prevent the program from ending.
            self._thread.join(_GIVE_UP)


async def _fulfil(work: Callable[[], Awaitable[Result]], future: Future[Result]) -> None:
    try:
        result = await work()
    except asyncio.CancelledError:
        future.cancel()
        raise
    except BaseException as error:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
        if not isinstance(error, Exception):
            raise
    else:
        if future.set_running_or_notify_cancel():
            future.set_result(result)
