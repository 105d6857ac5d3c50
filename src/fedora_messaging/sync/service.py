"""The blocking face of the client: one supervised connection in a thread."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..client.group import ConsumerGroup
from ..client.publisher import Outgoing, encode
from ..client.supervisor import Supervisor
from ..exceptions import PublishTimeout
from ..message import Message
from ..options import BindingOptions, ConnectionOptions, QosOptions, QueueOptions
from .monitoring import Monitor
from .portal import Portal

_log = logging.getLogger(__name__)

#: Seconds that running callbacks get to end when the interpreter exits.
_EXIT_GRACE: Final = 30.0


_SHOWN_COUNTERS: Final = ("received", "processed", "dropped", "rejected", "failed")


class PendingPublish:
    """A publish on its way; made in the caller's thread and settled in the loop's."""

    __slots__ = ("_error", "_lock", "_out")

    def __init__(self, message: Message, exchange: str, mandatory: bool) -> None:
        # A lock is the cheapest thing to wait for: it is released when the publish is settled.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._error: Exception | None = None
        self._out = encode(message, exchange, self._settled, mandatory)

    @property
    def outgoing(self) -> Outgoing:
        """What the publisher sends."""
        return self._out

    def _settled(self, error: Exception | None) -> None:
        self._error = error
        self._lock.release()

    def wait(self, timeout: float | None) -> None:
        """Return when the broker has confirmed.

        Raises:
            PublishTimeout: It has not done so in time; the message may have arrived nevertheless.
            PublishException: The broker refused.
            ConnectionException: The broker does not let us in.
        """
        # No time at all is no time for a confirm that was quick either.
        in_time = timeout is None or timeout > 0
        if not in_time or not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            self._out.abandon()
            raise PublishTimeout(f"Publishing timed out after waiting {timeout} seconds.")
        if self._error is not None:
            raise self._error


class Service:
    """One connection for all threads of this process.

    Args:
        options: Where to connect.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self.pid = os.getpid()
        self._portal = Portal()
        self._supervisor = Supervisor(options)
        self._closed = False
        self._monitor: Monitor | None = None

    def start_monitoring(self, address: str, port: int, always_ready: bool) -> None:
        """Answer ``/live`` and ``/ready`` over HTTP.

        Raises:
            ConfigurationException: The port cannot be used.
        """
        self._monitor = Monitor(
            address, port, is_live=self._portal.answers, status=self.status, always_ready=always_ready
        )

    def status(self) -> tuple[dict[str, Any], bool]:
        """Return the counters as ``/ready`` shows them, and whether messages can come and go."""
        supervisor = self._supervisor
        consumers = list(supervisor.consumers)
        consuming = supervisor.connected and any(consumer.connected for consumer in consumers)
        total = sum((consumer.stats for consumer in consumers), supervisor.ended_stats)
        body = {
            "consuming": consuming,
            "published": supervisor.publisher.published,
            "consumed": {name: getattr(total, name) for name in _SHOWN_COUNTERS},
        }
        ready = supervisor.connected and all(consumer.connected for consumer in consumers)
        if not ready:
            body["reason"] = "not connected" if not supervisor.connected else "not consuming"
        return body, ready

    def refuse_own_thread(self, what: str, instead: str) -> None:
        """Raise if we are in the loop's thread, where waiting would never end.

        Raises:
            RuntimeError: We are, that is: in a coroutine callback.
        """
        if self._portal.is_current_thread:
            raise RuntimeError(
                f"{what} would wait for the very thread it is called in, so a coroutine callback cannot: "
                f"call {instead} there, or make the callback a plain function"
            )

    def publish(self, message: Message, exchange: str, mandatory: bool = False) -> PendingPublish:
        """Begin to publish a valid message.

        Raises:
            EncodingError: The topic is too long, or a header has a type that AMQP lacks.
            TypeError: The body holds something that JSON lacks, or the exchange is no text.
        """
        pending = PendingPublish(message, exchange, mandatory)
        self._portal.post(self._supervisor.submit, pending.outgoing)
        return pending

    def consumers(
        self,
        callback: Callable[[Message], Any],
        queues: Sequence[tuple[QueueOptions, Sequence[BindingOptions]]],
        qos: QosOptions,
    ) -> "Consumers":
        """Prepare consumers of several queues with one callback."""
        return Consumers(self._portal, lambda: ConsumerGroup(self._supervisor, callback, queues, qos))

    def close(self, timeout: float | None = _EXIT_GRACE) -> None:
        """Let running callbacks end, close the connection, end the thread."""
        if self._closed or self.pid != os.getpid():
            return
        self._closed = True
        try:
            self._portal.run(self._supervisor.close(), timeout)
        except TimeoutError:
            _log.warning(
                "A callback did not end within %s seconds; its message will be delivered again", timeout
            )
        self._portal.stop()
        if self._monitor is not None:
            self._monitor.close()


class Consumers:
    """Consumers that are started, waited for and stopped from ordinary threads."""

    def __init__(self, portal: Portal, make_group: Callable[[], ConsumerGroup]) -> None:
        self._portal = portal
        self._make_group = make_group
        self._group: ConsumerGroup | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stop_requested = False

    def start(self) -> None:
        """Register all of them, waiting for the broker as long as it takes.

        Returns early when :meth:`request_stop` is called meanwhile.

        Raises:
            BadDeclaration: The broker refuses a queue or binding.
            PermissionException: The broker refuses to let us read a queue.
            ConnectionException: The broker refuses us.
            NoFreeChannels: There is no channel left.
        """
        self._portal.run(self._start())

    async def _start(self) -> None:
        if self._stop_requested:
            return
        self._group = self._make_group()
        self._starting = asyncio.create_task(self._group.start())
        await asyncio.wait([self._starting])
        if not self._starting.cancelled():
            self._starting.result()

    def wait(self) -> BaseException | None:
        """Return when all have ended: the error of the first that failed, or ``None``."""
        return self._portal.run(self._wait())

    async def _wait(self) -> BaseException | None:
        return None if self._group is None or self._was_interrupted else await self._group.wait()

    @property
    def _was_interrupted(self) -> bool:
        return self._starting is not None and self._starting.cancelled()

    def request_stop(self) -> None:
        """Make :meth:`wait` return soon: running callbacks end first. Fit for a signal handler."""
        self._stop_requested = True
        self._portal.post(self._stop, None)

    def _stop(self, _argument: None) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        elif self._group is not None:
            self._stopping = asyncio.ensure_future(self._group.stop())
