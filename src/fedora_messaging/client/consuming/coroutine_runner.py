"""Running coroutine callbacks in the event loop."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ...message import Message
from .delivery import Invalid, Raw, receive_aside
from .runner import CallbackRunner, Fail, IsStale, Report, is_coroutine_callback
from .stats import ConsumerStats
from .task_state import cancellations, forget_cancellations, is_torn_down, watch
from .verdict import REFUSED, Action, Verdict, raised, succeeded


def in_other_loop(
    callback: Callable[[Message], Awaitable[Any]], find_loop: Callable[[], asyncio.AbstractEventLoop | None]
) -> Callable[[Message], Awaitable[Any]]:
    """Make a coroutine function run in another thread's event loop, if ``find_loop`` finds one."""

    async def call(message: Message) -> None:
        loop = find_loop()
        if loop is None:
            await callback(message)
        else:
            outcome = asyncio.run_coroutine_threadsafe(_outcome(callback, message), loop)
            error = await asyncio.wrap_future(outcome)
            if error is not None:
                raise error

    return call


async def _outcome(callback: Callable[[Message], Awaitable[Any]], message: Message) -> BaseException | None:
    """Await the callback and return its exception; none, of whatever kind, may end the loop."""
    before = cancellations()
    try:
        await callback(message)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_torn_down(before):
            raise
        outcome: BaseException | None = error
    else:
        outcome = None
    # A cancellation that has not arrived yet would become the task's result.
    await forget_cancellations(before)
    return outcome


class CoroutineRunner(CallbackRunner):
    """Awaits the callback in the event loop; one task for all deliveries."""

    def __init__(
        self,
        callback: Callable[[Message], Awaitable[Any]],
        stats: ConsumerStats,
        report: Report,
        is_stale: IsStale,
        fail: Fail,
    ) -> None:
        super().__init__(callback, stats, report, is_stale, fail)
        self._inbox: deque[Raw] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def replace_callback(self, callback: Callable[[Message], Any]) -> None:
        """Give the following messages to another callback; a plain one runs in a thread."""
        if is_coroutine_callback(callback):
            self._callback = callback
        else:
            self._callback = _in_thread(callback)

    def start(self) -> None:
        """Begin to process deliveries."""
        self._task = asyncio.create_task(self._run())
        watch(self._task, lambda: self._stopping, self._fail)

    def put(self, raw: Raw) -> None:
        """Add a delivery; it is processed when its turn comes."""
        self._inbox.append(raw)
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def halt(self) -> None:
        """Begin no more callbacks."""
        self._stopping = True
        self._inbox.clear()
        self._wake()

    async def finish(self) -> None:
        """Begin no more callbacks, and let the running one end."""
        self.halt()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    def abandon(self) -> None:
        """Cancel the running callback."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if not self._inbox:
                self._arrival = loop.create_future()
                await self._arrival
                continue
            raw = self._inbox.popleft()
            if not self._is_stale(raw):
                verdict = await self._process(raw)
                self._stopping = self._stopping or verdict[1] is not None
                self._report(raw, verdict)

    async def _process(self, raw: Raw) -> Verdict:
        message = await receive_aside(raw, self._stats)
        if isinstance(message, Invalid):
            return REFUSED
        before = cancellations()
        try:
            await self._callback(message)
        except BaseException as error:  # any exception may end consuming, but not the event loop
            if isinstance(error, asyncio.CancelledError) and is_torn_down(before):
                self._report(raw, (Action.REQUEUE, None))
                raise
            verdict = raised(message, error, self._stats)
        else:
            verdict = succeeded(message, self._stats)
        await forget_cancellations(before)
        return verdict


def _in_thread(callback: Callable[[Message], Any]) -> Callable[[Message], Awaitable[Any]]:
    async def call(message: Message) -> None:
        await asyncio.to_thread(callback, message)

    return call


async def _await(result: Awaitable[Any]) -> None:
    await result
