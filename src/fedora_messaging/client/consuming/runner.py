"""Running callbacks: coroutine functions in the event loop, plain functions in a thread of their own."""

import asyncio
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Protocol

from ...logs import CONSUMER, logger
from ...message import Message
from ...printable import printable
from .delivery import Raw
from .stats import ConsumerStats
from .verdict import Verdict

_log = logger(CONSUMER)

#: Seconds for callbacks to end before it is said that they are waited for.
_SILENCE = 0.5

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


async def finished(runner: Runner, queue_name: str, patience: float | None) -> "asyncio.Future[None]":
    """Begin no more callbacks, and wait for those that run; returns what is done when they have ended.

    Args:
        runner: Runs them.
        queue_name: Where their messages come from, for the log.
        patience: Seconds to wait; ``None`` waits for ever.
    """
    finishing = asyncio.ensure_future(runner.finish())
    silence = _SILENCE if patience is None else min(_SILENCE, patience)
    done, _pending = await asyncio.wait([finishing], timeout=silence)
    if not done:
        _log.info(
            "Stopping waits for the callback that processes a message of the queue %s", printable(queue_name)
        )
        rest = None if patience is None else patience - silence
        await asyncio.wait([finishing], timeout=rest)
    return finishing
