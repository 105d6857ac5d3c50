"""Publishing with signals, from the reactor's thread or any other."""

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.python import threadable

from .. import config, signals
from ..frontends.publishing import publish_failed, publish_started, publish_succeeded
from ..message import Message
from .engine import in_reactor
from .hosting import run_in_background


class AnyThreadDeferred(Deferred[None]):
    """A Deferred whose :meth:`asFuture` works for event loops in any thread, not only the reactor's."""

    def asFuture(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Return a future for an event loop; cancelling it cancels the Deferred."""
        future: asyncio.Future[None] = loop.create_future()

        def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            if not future.done():
                set_outcome(outcome)

        def succeeded(result: Any) -> None:
            loop.call_soon_threadsafe(settle, future.set_result, result)

        def failed(failure: Any) -> None:
            loop.call_soon_threadsafe(settle, future.set_exception, failure.value)

        future.add_done_callback(lambda done: in_reactor(self.cancel) if done.cancelled() else None)
        in_reactor(self.addCallbacks, succeeded, failed)
        return future


def publish_with_signals(service: Any, message: Message, exchange: str | None) -> AnyThreadDeferred:
    """Publish through a service's factory and tell receivers of the signals how it ends.

    Args:
        service: The process's service, or ``None``.
        message: Validated first.
        exchange: By default ``publish_exchange`` of the configuration.
    """
    promised = AnyThreadDeferred()

    def succeeded(_none: None) -> None:
        if not promised.called:
            promised.callback(None)

    def failed(failure: Any) -> None:
        # If the caller cancelled it, the caller already knows.
        if not promised.called:
            promised.errback(failure)

    def begin() -> None:
        publishing = _publish(service, message, exchange)
        promised._canceller = lambda _promised: publishing.cancel()
        publishing.addCallbacks(succeeded, failed)

    if threadable.isInIOThread():
        begin()
    else:
        if getattr(service, "in_own_thread", False) is True:
            # We are in a coroutine callback, so the program relies on the library to run the reactor.
            run_in_background()
        in_reactor(begin)
    return promised


@inlineCallbacks
def _publish(service: Any, message: Message, exchange: str | None) -> Any:
    if service is None:
        raise RuntimeError("You must first initialize the Twisted service")
    target = config.conf["publish_exchange"] if exchange is None else exchange
    # Receivers may block, which must not happen in the reactor's thread.
    if signals.pre_publish_signal.receivers:
        yield deferToThread(publish_started, message)
    try:
        yield service.factory.publish(message, exchange=target)
    except Exception as error:
        if signals.publish_failed_signal.receivers:
            yield deferToThread(publish_failed, message, error)
        else:
            publish_failed(message, error)
        raise
    if signals.publish_signal.receivers:
        yield deferToThread(publish_succeeded, message)
