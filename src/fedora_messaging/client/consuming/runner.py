"""Running callbacks: coroutine functions in the event loop, plain functions in a thread of their own."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable, iscoroutinefunction
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from ...message import Message
from .delivery import REFUSED, Action, Raw, Verdict, receive, receive_aside
from .stats import ConsumerStats
from .verdict import raised, succeeded

if TYPE_CHECKING:
    from .consumer import Consumer

#: Tells the consumer what to tell the broker of one delivery.
Report = Callable[[Raw, Verdict], None]
IsStale = Callable[[Raw], bool]
#: Ends the consumer.
Fail = Callable[[BaseException], None]


class Runner(Protocol):
    """Processes deliveries; all calls come from the event loop.

    Attributes:
        in_order: Each delivery is settled before the next one is begun.
    """

    in_order: bool

    def start(self) -> None:
        """Begin."""
        ...

    def put(self, raw: Raw) -> None:
        """Process a delivery when its turn comes."""
        ...

    def halt(self) -> None:
        """Begin nothing more."""
        ...

    async def finish(self) -> None:
        """Begin nothing more, and let the running callback end."""
        ...

    def abandon(self) -> None:
        """Wait no longer for the running callback: a coroutine is cancelled, a thread is left to itself."""
        ...


def is_coroutine_callback(callback: Any) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, or an object with an async ``__call__``."""
    return iscoroutinefunction(callback) or iscoroutinefunction(getattr(callback, "__call__", None))  # noqa: B004


def in_other_loop(
    callback: Callable[[Message], Awaitable[Any]], find_loop: Callable[[], asyncio.AbstractEventLoop | None]
) -> Callable[[Message], Awaitable[Any]]:
    """Make a coroutine function run in another thread's event loop, if there is one."""

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
    """Await the callback and return what it raises, which must not end that loop, whatever it is."""
    before = cancellations()
    try:
        await callback(message)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_torn_down(before):
            raise
        outcome: BaseException | None = error
    else:
        outcome = None
    # One that has not arrived yet would become the task's result.
    await forget_cancellations(before)
    return outcome


def cancellations() -> int:
    """Return how often the running task was cancelled so far.

    A callback may leave this number raised: one that cancels its own task, as some time-outs do, and goes on.
    """
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def is_torn_down(before: int) -> bool:
    """Whether our task was cancelled since; a callback may also let a CancelledError of its own escape.

    Args:
        before: What :func:`cancellations` returned before the callback was called.
    """
    return cancellations() > before


async def forget_cancellations(before: int) -> None:
    """Undo the cancellations of the running task that a callback swallowed, so that they end no other one."""
    task = asyncio.current_task()
    if task is None or task.cancelling() <= before:
        return
    # The callback may have returned before its cancellation arrived.
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while task.cancelling() > before:
        task.uncancel()


def watch(task: "asyncio.Task[None]", is_expected: Callable[[], bool], fail: Fail) -> None:
    """Have a worker that ends, and should not, end the consumer: it would be deaf without one.

    Args:
        task: The worker.
        is_expected: Whether the end is.
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


def runner_for(callback: Callable[[Message], Any]) -> Callable[["Consumer"], Runner]:
    """Choose the runner for a callback."""

    def make(consumer: "Consumer") -> Runner:
        arguments = (callback, consumer.stats, consumer.report, consumer.is_stale, consumer.fail)
        if is_coroutine_callback(callback):
            return CoroutineRunner(*arguments)
        return ThreadRunner(*arguments, consumer.queue_name)

    return make


class CallbackRunner:
    """What the runners of callbacks have in common."""

    in_order = True

    def __init__(
        self,
        callback: Callable[[Message], Any],
        stats: ConsumerStats,
        report: Report,
        is_stale: IsStale,
        fail: Fail,
    ) -> None:
        self._callback = callback
        self._stats = stats
        self._report = report
        self._is_stale = is_stale
        self._fail = fail

    def replace_callback(self, callback: Callable[[Message], Any]) -> None:
        """Give the messages that come from now on to another callback."""
        self._callback = callback


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
        """Give the messages that come from now on to another callback; a plain one runs in a thread."""
        if is_coroutine_callback(callback):
            self._callback = callback
        else:
            self._callback = _in_thread(callback)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())
        watch(self._task, lambda: self._stopping, self._fail)

    def put(self, raw: Raw) -> None:
        """Process a delivery when its turn comes."""
        self._inbox.append(raw)
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def halt(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        self._inbox.clear()
        self._wake()

    async def finish(self) -> None:
        """Begin nothing more, and let the running callback end."""
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
        if isinstance(message, str):
            return REFUSED
        before = cancellations()
        try:
            await self._callback(message)
        except BaseException as error:  # whatever it is, it ends consuming and not the event loop
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


class ThreadRunner(CallbackRunner):
    """Calls the callback in one thread; a burst of results costs the event loop one wake-up."""

    def __init__(
        self,
        callback: Callable[[Message], Any],
        stats: ConsumerStats,
        report: Report,
        is_stale: IsStale,
        fail: Fail,
        name: str,
    ) -> None:
        super().__init__(callback, stats, report, is_stale, fail)
        self._inbox: SimpleQueue[Raw | None] = SimpleQueue()
        self._results: deque[tuple[Raw, Verdict]] = deque()
        self._wake_pending = False
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"consumer {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, raw: Raw) -> None:
        """Process a delivery when its turn comes."""
        self._inbox.put(raw)

    def halt(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        self._inbox.put(None)

    async def finish(self) -> None:
        """Begin nothing more, and let the running callback end."""
        self.halt()
        if self._thread.ident is not None:
            await self._ended

    def abandon(self) -> None:
        """Leave the thread to itself, which is a daemon."""

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._post(self._end)

    def _work(self) -> None:
        while not self._stopping:
            raw = self._inbox.get()
            if raw is None or self._stopping:
                break
            if self._is_stale(raw):
                continue
            verdict = self._process(raw)
            self._stopping = self._stopping or verdict[1] is not None
            self._results.append((raw, verdict))
            if not self._wake_pending:
                self._wake_pending = True
                self._post(self._hand_over)

    def _post(self, call: Callable[[], None]) -> None:
        # A closed loop means that the program is past waiting for us.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _process(self, raw: Raw) -> Verdict:
        message = receive(raw, self._stats)
        if isinstance(message, str):
            return REFUSED
        try:
            result = self._callback(message)
            if isawaitable(result):
                # A decorator, or a lambda, hides a coroutine function: its work is still to be done.
                asyncio.run_coroutine_threadsafe(_await(result), self._loop).result()
        except BaseException as error:  # SystemExit and KeyboardInterrupt end consuming, not the thread alone
            return raised(message, error, self._stats)
        return succeeded(message, self._stats)

    def _hand_over(self) -> None:
        # Cleared first: a result that is appended from here on brings its own wake-up, or is taken below.
        self._wake_pending = False
        while self._results:
            self._report(*self._results.popleft())

    def _end(self) -> None:
        self._hand_over()
        if not self._ended.done():
            self._ended.set_result(None)
        if not self._stopping:
            self._fail(_unexpected_end(None))
