"""Runners, which take deliveries and call callbacks: their interface, and what all of them share."""

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

#: Seconds for callbacks to end before the log says that stopping waits for them.
_SILENCE = 0.5

#: Gives the consumer the verdict on one delivery.
Report = Callable[[Raw, Verdict], None]
IsStale = Callable[[Raw], bool]
#: Ends the consumer.
Fail = Callable[[BaseException], None]


class Runner(Protocol):
    """Processes deliveries; all calls come from the event loop.

    Attributes:
        in_order: Whether each delivery is settled before the next one begins.
    """

    in_order: bool

    def start(self) -> None:
        """Begin to process deliveries."""
        ...

    def put(self, raw: Raw) -> None:
        """Add a delivery; it is processed when its turn comes."""
        ...

    def halt(self) -> None:
        """Begin no more callbacks."""
        ...

    async def finish(self) -> None:
        """Begin no more callbacks, and let the running one end."""
        ...

    def abandon(self) -> None:
        """Stop waiting for the running callback: cancel a coroutine, leave a thread running."""
        ...


def is_coroutine_callback(callback: Any) -> bool:
    """Whether a callback is a coroutine function, or an object whose ``__call__`` is one."""
    return iscoroutinefunction(callback) or iscoroutinefunction(getattr(callback, "__call__", None))  # noqa: B004


class CallbackRunner:
    """Base of the runners that call a callback."""

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
        """Give the following messages to another callback."""
        self._callback = callback


async def let_callbacks_end(
    runner: Runner, queue_name: str, patience: float | None, before_abandoning: Callable[[], None]
) -> None:
    """Begin no more callbacks, and wait for running ones; when patience is over, abandon them.

    Args:
        runner: The runner of the callbacks.
        queue_name: Queue of their messages, for the log.
        patience: Seconds to wait; ``None`` waits for ever.
        before_abandoning: Called if patience is over, before the callbacks are abandoned.

    Raises:
        Exception: The runner has not ended well.
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
    if not finishing.done():
        before_abandoning()
        runner.abandon()
        finishing.cancel()
        await asyncio.wait([finishing])
    elif not finishing.cancelled():
        finishing.result()
