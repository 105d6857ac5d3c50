"""The event loop for coroutine callbacks, separate from the one that keeps the connection up."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from ..client.consuming.consumer import Consumer
from ..client.consuming.coroutine_runner import CoroutineRunner, in_other_loop
from ..client.consuming.delivery import Raw
from ..client.consuming.runner import CallbackRunner, Runner
from ..client.consuming.task_state import cancellations, is_torn_down
from ..client.consuming.verdict_mailbox import VerdictMailbox
from ..logs import CONSUMER, logger
from ..message import Message
from .loop_thread import LoopThread

_log = logger(CONSUMER)

#: Seconds after which a callback is suspected of blocking, and then seconds that its loop has to respond.
_PATIENCE: Final = 1.0


class CallbackLoop:
    """Runs coroutine callbacks in a loop, started for the first one; warns when one blocks the others."""

    def __init__(self) -> None:
        self._loop_thread: LoopThread | None = None

    def adapt(self, callback: Callable[[Message], Awaitable[Any]]) -> Callable[[Message], Awaitable[Any]]:
        """Make a coroutine function run in this loop."""
        run = in_other_loop(callback, lambda: self.loop_thread.loop)
        name = _name_of(callback)

        async def call(message: Message) -> None:
            watch = _Watch(self.loop_thread, name)
            try:
                await run(message)
            finally:
                watch.end()

        return call

    def runner_for(self, callback: Callable[[Message], Awaitable[Any]]) -> Callable[[Consumer], Runner]:
        """Make runners that call a coroutine function here; a burst of messages wakes each loop once."""

        def make(consumer: Consumer) -> Runner:
            return RemoteRunner(self.loop_thread, callback, consumer)

        return make

    @property
    def loop_thread(self) -> LoopThread:
        """The loop and its thread."""
        if self._loop_thread is None:
            self._loop_thread = LoopThread("fedora-messaging callbacks")
        return self._loop_thread

    @property
    def is_current_thread(self) -> bool:
        """Whether we are in a coroutine callback."""
        return self._loop_thread is not None and self._loop_thread.is_current_thread

    def answers(self) -> bool:
        """Whether the loop responds, that is, no callback blocks it."""
        return self._loop_thread is None or self._loop_thread.answers()

    def stop(self) -> None:
        """End the loop and its thread."""
        if self._loop_thread is not None:
            self._loop_thread.stop()


class RemoteRunner(CallbackRunner):
    """Lets the connection's loop control a coroutine runner that lives in the callbacks' loop."""

    def __init__(
        self, loop_thread: LoopThread, callback: Callable[[Message], Awaitable[Any]], consumer: Consumer
    ) -> None:
        super().__init__(callback, consumer.stats, consumer.report, consumer.is_stale, consumer.fail)
        self._loop_thread = loop_thread
        self._verdicts = VerdictMailbox(consumer.report, self._look_at_progress)
        self._runner = CoroutineRunner(
            callback, consumer.stats, self._verdicts.put, consumer.is_stale, self._fail_there
        )
        self._consumer = consumer
        self._watch: _Watch | None = None
        self._name = _name_of(callback)

    def replace_callback(self, callback: Callable[[Message], Any]) -> None:
        """Give all further messages to another callback."""
        self._name = _name_of(callback)
        self._runner.replace_callback(callback)

    def start(self) -> None:
        """Start the runner."""
        self._loop_thread.post(lambda _none: self._runner.start(), None)

    def put(self, raw: Raw) -> None:
        """Queue a delivery for processing."""
        if self._watch is None:
            self._watch = _Watch(self._loop_thread, self._name)
        self._loop_thread.post(self._runner.put, raw)

    def halt(self) -> None:
        """Start no more callbacks."""
        self._loop_thread.post(lambda _none: self._runner.halt(), None)

    async def finish(self) -> None:
        """Start no more callbacks, and let the running one end."""
        before = cancellations()
        try:
            await asyncio.wrap_future(self._loop_thread.begin(self._runner.finish))
        except asyncio.CancelledError:
            if is_torn_down(before):
                raise
            # The callbacks' loop has already ended.
        finally:
            self._verdicts.hand_over()
            self._end_watch()

    def abandon(self) -> None:
        """Cancel the running callback."""
        self._loop_thread.post(lambda _none: self._runner.abandon(), None)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _fail_there(self, error: BaseException) -> None:
        # This runs in the callbacks' thread.
        self._verdicts.post(lambda: self._fail(error))

    def _look_at_progress(self) -> None:
        if self._watch is not None:
            if self._consumer.unsettled > 0:
                self._watch.progress()
            else:
                self._end_watch()


def _name_of(callback: object) -> str:
    return getattr(callback, "__qualname__", None) or repr(callback)


class _Watch:
    """Watches calls from the connection's loop."""

    def __init__(self, loop_thread: LoopThread, name: str) -> None:
        self._loop_thread = loop_thread
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._timer = self._loop.call_later(_PATIENCE, self._look)
        self._ended = False

    def progress(self) -> None:
        """Note that a call has returned and another one has begun."""
        self._begun = self._loop.time()

    def end(self) -> None:
        """Note that the last call has returned."""
        self._ended = True
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_PATIENCE, self._warn)
        self._loop_thread.post(self._answer, None)

    def _answer(self, _none: None) -> None:
        with suppress(RuntimeError):  # the connection's loop may have ended meanwhile
            self._loop.call_soon_threadsafe(self._answered)

    def _answered(self) -> None:
        self._timer.cancel()
        if not self._ended:
            self._timer = self._loop.call_later(_PATIENCE, self._look)

    def _warn(self) -> None:
        seconds = self._loop.time() - self._begun
        _log.warning(
            "The callback %s has blocked its event loop for %.0f seconds, so that no other coroutine "
            "callback runs: await what takes long, or make it a plain function",
            self._name,
            seconds,
        )
        # Warn at growing intervals until the loop responds.
        self._timer = self._loop.call_later(seconds, self._warn)
