"""Controls a group of consumers from a thread other than the event loop's."""

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from inspect import isawaitable
from typing import Any

from ..client.consuming.hooks import Hooks
from ..client.group import ConsumerGroup
from ..client.supervisor import Supervisor
from ..exceptions import ConnectionException
from ..logs import logger
from .callback_loop import CallbackLoop
from .interruptible_wait import InterruptibleWait
from .loop_thread import LoopThread

_log = logger(__name__)


class BlockingConsumers:
    """Consumers that an ordinary thread starts, waits for and stops."""

    def __init__(
        self,
        loop_thread: LoopThread,
        callback_loop: CallbackLoop,
        supervisor: Supervisor,
        make_group: Callable[[], ConsumerGroup],
        hooks: Hooks,
    ) -> None:
        self._loop_thread = loop_thread
        self._callback_loop = callback_loop
        self._supervisor = supervisor
        self._make_group = make_group
        self._hooks = hooks
        self._started = False
        self._waiting = InterruptibleWait()
        self._group: ConsumerGroup | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stop_requested = False
        self._ended = False

    def answers(self) -> bool:
        """Return whether both event loops respond."""
        return self._loop_thread.answers() and self._callback_loop.answers()

    def start(self) -> None:
        """Register all consumers, waiting for the broker as long as it takes.

        Returns early when :meth:`request_stop` is called meanwhile.

        Raises:
            BadDeclaration: The broker refuses a queue or binding.
            PermissionException: The broker refuses to let us read a queue.
            ConnectionException: The broker refuses us.
            NoFreeChannels: There is no channel left.
            Exception: The callback's ``start`` raised it.
        """
        self._call_hook(self._hooks.start)
        self._started = True
        try:
            try:
                self._waiting.result(self._loop_thread.begin(self._start))
            except CancelledError:
                raise _closed_meanwhile() from None
        except Exception as error:
            self._call_stop(error)
            raise

    def _call_hook(self, hook: Callable[[], Any]) -> None:
        """Call a hook in this thread, or await it in the event loop of coroutine callbacks."""
        result = hook()
        if isawaitable(result):
            self._waiting.result(self._callback_loop.loop_thread.begin(lambda: result))

    def _call_stop(self, error: BaseException | None) -> BaseException | None:
        """Call the callback's ``stop``, once; return ``error``, or else the error of ``stop``."""
        if not self._started:
            return error
        self._started = False
        try:
            self._call_hook(lambda: self._hooks.stop(error))
        except Exception as hook_error:
            if error is None:
                return hook_error
            _log.exception("The callback's stop() failed")
        return error

    async def _start(self) -> None:
        if self._stop_requested:
            return
        self._group = self._make_group()
        self._starting = asyncio.create_task(self._group.start())
        await asyncio.wait([self._starting])
        if self._starting.cancelled():
            return
        try:
            self._starting.result()
        except BaseException:
            self._end()
            raise

    def wait(self) -> BaseException | None:
        """Wait until all consumers have ended; return the error of the first that failed, or ``None``."""
        error: BaseException | None
        try:
            error = self._waiting.result(self._loop_thread.begin(self._wait))
        except CancelledError:
            error = _closed_meanwhile()
        return self._call_stop(error)

    def close(self) -> None:
        """Release the resources of waiting. Call it even after errors: signal handlers may raise anything."""
        self._waiting.close()

    async def _wait(self) -> BaseException | None:
        try:
            return None if self._group is None or self._was_interrupted else await self._group.wait()
        finally:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._supervisor.drained(self)

    @property
    def _was_interrupted(self) -> bool:
        return self._starting is not None and self._starting.cancelled()

    def request_stop(self) -> None:
        """Make :meth:`wait` return once the running callbacks end. Safe to call from a signal handler."""
        self._stop_requested = True
        self._loop_thread.post(self._stop, None)

    def _stop(self, _argument: None) -> None:
        # Without this, a callback that publishes would wait for a missing broker, and we for the callback.
        if not self._ended:
            self._supervisor.drain(self)
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        elif self._group is not None:
            self._stopping = asyncio.ensure_future(self._group.stop())


def _closed_meanwhile() -> ConnectionException:
    return ConnectionException("the service was closed", reason="the service was closed")
