"""Running plain callbacks, which are not coroutine functions, in a thread of their own."""

import asyncio
import threading
from collections.abc import Callable
from inspect import isawaitable
from queue import SimpleQueue
from typing import Any

from ...message import Message
from .coroutine_runner import _await
from .delivery import Invalid, Raw, receive
from .runner import CallbackRunner, Fail, IsStale, Report
from .stats import ConsumerStats
from .task_state import _unexpected_end
from .verdict import REFUSED, Verdict, raised, succeeded
from .verdict_mailbox import VerdictMailbox


class ThreadRunner(CallbackRunner):
    """Calls the callback in one thread; a burst of results wakes the event loop only once."""

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
        self._verdicts = VerdictMailbox(report)
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"consumer {name}", daemon=True)

    def start(self) -> None:
        """Begin to call the callback."""
        self._thread.start()

    def put(self, raw: Raw) -> None:
        """Add a delivery; it is processed when its turn comes."""
        self._inbox.put(raw)

    def halt(self) -> None:
        """Begin no more callbacks."""
        self._stopping = True
        self._inbox.put(None)

    async def finish(self) -> None:
        """Begin no more callbacks, and let the running one end."""
        self.halt()
        if self._thread.ident is not None:
            await self._ended

    def abandon(self) -> None:
        """Leave the thread running: it is a daemon, and does not keep the process from ending."""

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._verdicts.post(self._end)

    def _work(self) -> None:
        while not self._stopping:
            raw = self._inbox.get()
            if raw is None or self._stopping:
                break
            if self._is_stale(raw):
                continue
            verdict = self._process(raw)
            self._stopping = self._stopping or verdict[1] is not None
            self._verdicts.put(raw, verdict)

    def _process(self, raw: Raw) -> Verdict:
        message = receive(raw, self._stats)
        if isinstance(message, Invalid):
            return REFUSED
        try:
            result = self._callback(message)
            if isawaitable(result):
                # A decorator or a lambda has hidden a coroutine function: its result must be awaited.
                asyncio.run_coroutine_threadsafe(_await(result), self._loop).result()
        except BaseException as error:  # SystemExit and KeyboardInterrupt end consuming, not the thread alone
            return raised(message, error, self._stats)
        return succeeded(message, self._stats)

    def _end(self) -> None:
        self._verdicts.hand_over()
        if not self._ended.done():
            self._ended.set_result(None)
        if not self._stopping:
            self._fail(_unexpected_end(None))
