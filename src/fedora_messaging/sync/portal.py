"""An event loop in a thread of its own, and ways to get work into it."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

#: Seconds for what is under way to end when the portal is stopped.
_SETTLE = 1.0
#: Seconds after which a loop that does not end is left to itself.
_GIVE_UP = 5.0


class Portal:
    """A running event loop; a burst of posted calls costs it one wake-up.

    Args:
        name: Name of the thread.

    Attributes:
        loop: The loop.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._wake_pending = False
        self._stopping = False
        self._stop_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    @property
    def is_current_thread(self) -> bool:
        """Whether we are in the loop's own thread, where waiting for it would never end."""
        return threading.current_thread() is self._thread

    def answers(self, timeout: float = 5.0) -> bool:
        """Whether the loop takes a call within ``timeout`` seconds."""
        answered = threading.Event()
        self.post(lambda event: event.set(), answered)
        return answered.wait(timeout)

    def post(self, call: Callable[[Any], None], argument: Any) -> None:
        """Make a call in the loop, soon; calls keep their order."""
        self._inbox.append((call, argument))
        if not self._wake_pending and not self.loop.is_closed():
            self._wake_pending = True
            with suppress(RuntimeError):  # closed at this very moment: nobody is left to be called
                self.loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # Cleared first: what is appended from here on brings its own wake-up, or is taken below.
        self._wake_pending = False
        while self._inbox:
            call, argument = self._inbox.popleft()
            call(argument)

    def run(self, work: Coroutine[Any, Any, Result], timeout: float | None = None) -> Result:
        """Run a coroutine in the loop and return its result, or raise its error.

        Raises:
            TimeoutError: It took longer than ``timeout`` seconds; it has been cancelled.
        """
        future = self.begin(work)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Run a coroutine in the loop, for a caller that does not wait; cancelled once the portal stops."""
        with self._stop_lock:
            if not self._stopping:
                return asyncio.run_coroutine_threadsafe(work, self.loop)
        work.close()
        future: Future[Result] = Future()
        future.cancel()
        return future

    async def _settle(self) -> None:
        """Let what is under way end, so that nobody waits for ever for a loop that is gone."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for call in (None, asyncio.Task.cancel):
            for task in others:
                if call is not None:
                    call(task)
            if others:
                _done, others = await asyncio.wait(others, timeout=_SETTLE)

    def stop(self) -> None:
        """End the loop and its thread; what does not end by itself is cancelled."""
        with self._stop_lock:
            self._stopping = True
        settled = asyncio.run_coroutine_threadsafe(self._settle(), self.loop)
        settled.add_done_callback(lambda _settled: self.loop.call_soon_threadsafe(self.loop.stop))
        if not self.is_current_thread:
            # A callback that blocks its loop for ever must not keep the program from ending.
            self._thread.join(_GIVE_UP)
