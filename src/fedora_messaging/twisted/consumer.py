"""A consumer of one queue."""

import uuid
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from ..client.consuming.consumer import Consumer as EngineConsumer
from ..client.consuming.runner import is_coroutine_callback as is_coro
from .engine import in_reactor, reactor_callback
from .stats import ConsumerStatistics

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ..message import Message
    from .engine import Engine

__all__ = ["Consumer", "QueueContent", "is_coro"]

#: A delivery as version 3.9 passed it: channel, method, properties, body.
QueueContent = tuple[Any, Any, Any, bytes]


class Consumer:
    """Consumes a queue; :func:`fedora_messaging.api.twisted_consume` makes it.

    Attributes:
        callback: Called, or awaited, with each message.
        result: Fires with this object when the consumer was cancelled; fails with the error that ended it.
    """

    def __init__(self, queue: str | None = None, callback: "Callable[[Message], Any] | None" = None) -> None:
        self.callback = callback
        self.result: Deferred[Consumer] = Deferred()
        self._name = queue
        self._own_tag = str(uuid.uuid4())
        self._engine: Engine | None = None
        self._consumer: EngineConsumer | None = None

    @property
    def queue(self) -> str | None:
        """Name of the queue; if the broker chooses the name, it changes with the connection."""
        return self._name if self._consumer is None else self._consumer.queue_name

    @property
    def running(self) -> bool:
        """Whether it is subscribed, or will be again after the connection was lost."""
        return self._consumer is not None and self._consumer.running

    @property
    def stats(self) -> ConsumerStatistics:
        """Counters of its work so far."""
        stats = ConsumerStatistics()
        if self._consumer is not None:
            for name in stats.as_dict():
                setattr(stats, name, getattr(self._consumer.stats, name))
        return stats

    @property
    def _tag(self) -> str:
        return self._own_tag if self._consumer is None else self._consumer.tag

    def _attach(self, engine: "Engine", consumer: EngineConsumer) -> None:
        """Represent a consumer of the client; called in the client's thread."""
        self._engine = engine
        self._consumer = consumer
        consumer.result.add_done_callback(lambda result: in_reactor(self._ended, result))

    def _ended(self, result: "asyncio.Future[EngineConsumer]") -> None:
        if self.result.called:
            return
        error = result.exception()
        if error is None:
            self.result.callback(self)
        else:
            self.result.errback(Failure(error))

    def cancel(self) -> "Deferred[None]":
        """Let the running callback end, acknowledge its message, unsubscribe; then :attr:`result` fires."""
        engine, consumer = self._engine, self._consumer
        if engine is None or consumer is None or engine.service is None:
            return succeed(None)
        return engine.run(lambda _supervisor: consumer.stop())

    def consume(self) -> "Deferred[None]":
        """Fires when the consumer is subscribed; the consumers that ``consume`` returns already are.

        Fails with RuntimeError if the consumer has no connection or no queue.
        """
        if self._consumer is None:
            return fail(RuntimeError("a consumer is made by the consume() of a factory or protocol"))
        return succeed(None)

    def __repr__(self) -> str:
        return f"Consumer(queue={self.queue}, callback={self.callback!r})"


def engine_callback(callback: "Callable[[Message], Any]") -> "Callable[[Message], Any]":
    """Return the function that the client calls for an application's callback."""
    return reactor_callback(callback) if is_coro(callback) else callback
