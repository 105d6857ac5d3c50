"""The event loop for coroutine callbacks, apart from the one that keeps the connection up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..client.runners import in_other_loop
from ..message import Message
from .portal import Portal

_log = logging.getLogger("fedora_messaging.twisted.consumer")

#: Seconds after which a callback is suspected of blocking, and for which its loop may fail to answer then.
_PATIENCE: Final = 1.0


class CallbackLoop:
    """Runs coroutine callbacks, and warns when one blocks the others; made when the first one comes."""

    def __init__(self) -> None:
        self._portal: Portal | None = None

    def adapt(self, callback: Callable[[Message], Awaitable[Any]]) -> Callable[[Message], Awaitable[Any]]:
        """Make a coroutine function run here."""
        run = in_other_loop(callback, lambda: self.portal.loop)
        name = getattr(callback, "__qualname__", None) or repr(callback)

        async def call(message: Message) -> None:
            watch = _Watch(self.portal, name)
            try:
                await run(message)
            finally:
                watch.end()

        return call

    @property
    def portal(self) -> Portal:
        """The loop and its thread."""
        if self._portal is None:
            self._portal = Portal("fedora-messaging callbacks")
        return self._portal

    @property
    def is_current_thread(self) -> bool:
        """Whether we are in a coroutine callback."""
        return self._portal is not None and self._portal.is_current_thread

    def answers(self) -> bool:
        """Whether no callback blocks the loop."""
        return self._portal is None or self._portal.answers()

    def stop(self) -> None:
        """End the loop and its thread."""
        if self._portal is not None:
            self._portal.stop()


class _Watch:
    """Watches one call from the connection's loop."""

    def __init__(self, portal: Portal, name: str) -> None:
        self._portal = portal
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._timer = self._loop.call_later(_PATIENCE, self._look)
        self._ended = False

    def end(self) -> None:
        """The call has returned."""
        self._ended = True
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_PATIENCE, self._warn)
        self._portal.post(self._answer, None)

    def _answer(self, _none: None) -> None:
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
        # Ever more seldom, until the loop answers.
        self._timer = self._loop.call_later(seconds, self._warn)
