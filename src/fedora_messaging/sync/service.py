"""The client for blocking programs: one supervised connection in a thread."""

import math
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..client.backoff import Backoff
from ..client.consuming.hooks import Hooks
from ..client.consuming.runner import is_coroutine_callback
from ..client.publishing.batch import Batch, outcome_of
from ..client.publishing.outgoing import Encoded, Outgoing
from ..client.supervisor import Supervisor
from ..exceptions import ConnectionException, OutboxError, PublishTimeout
from ..forking import setting_up
from ..logs import logger
from ..message import Message
from ..monitoring.snapshot import OutboxSnapshot, QueueSnapshot, Snapshot
from ..options import (
    BindingOptions,
    ConnectionOptions,
    ConsumerOptions,
    OutboxOptions,
    QosOptions,
    QueueOptions,
)
from ..transport.tls import client_context
from .callback_loop import CallbackLoop
from .confirm_reader import ConfirmReader
from .loop_thread import LoopThread
from .pending import PendingBatch, PendingPublish, PendingRecord, PromisedPublish

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..client.outbox.sender import Outbox
    from ..monitoring.http_server import Monitor
    from .consumers import BlockingConsumers


_log = logger(__name__)

Result = TypeVar("Result")

#: Seconds that running callbacks get to end when the interpreter exits.
_EXIT_GRACE: Final = 30.0

#: Seconds that the outbox has to report its contents.
_PATIENCE: Final = 2.0

#: Attributes of a Twisted service that programs use.
_TWISTED_NAMES: Final = frozenset(
    (
        "_confirms",
        "_parameters",
        "_service",
        "addService",
        "consuming",
        "disownServiceParent",
        "factory",
        "getServiceNamed",
        "name",
        "namedServices",
        "parent",
        "privilegedStartService",
        "removeService",
        "running",
        "services",
        "setName",
        "setServiceParent",
        "startService",
        "stats",
        "stopService",
    )
)


class Service:
    """One connection for all threads of this process.

    Args:
        options: Where to connect.
        backoff: Delays between attempts to connect.
        make_twisted_facade: Makes the object that supplies the attributes of a Twisted service.
        outbox: Where to store messages before sending them; ``None`` stores none.

    Raises:
        ConfigurationException: The TLS settings are wrong, or the outbox cannot be used.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        backoff: Backoff | None = None,
        make_twisted_facade: Callable[["Service"], Any] | None = None,
        outbox: OutboxOptions | None = None,
    ) -> None:
        if options.tls is not None:
            client_context(options.tls)  # so that wrong settings raise here, not in the loop's thread
        self.options = options
        self.pid: int = os.getpid()
        self.outbox: Outbox | None = None if outbox is None else _open_outbox(outbox)
        self._loop_thread = LoopThread("fedora-messaging")
        self._callback_loop = CallbackLoop()
        self._supervisor = Supervisor(options, backoff)
        self._loop_thread.on_interrupted = self._supervisor.renew_connection
        self._confirm_reader = ConfirmReader(self._loop_thread, self._supervisor)
        self._closing = False
        self._closed = False
        self._monitor: Monitor | None = None
        self._stuck_after = math.inf
        self._make_twisted_facade = make_twisted_facade
        if self.outbox is not None:
            self._loop_thread.post(self._supervisor.attach_sender, self.outbox)

    def __getattr__(self, name: str) -> Any:
        # In version 3.9 the process's service was a Twisted service, and programs still use its attributes.
        if name not in _TWISTED_NAMES or self._make_twisted_facade is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        try:
            facade = self.twisted_facade
        except ImportError as error:
            # For hasattr() and getattr() only this error means that the attribute is missing.
            raise AttributeError(str(error), name=name, obj=self) from error
        return getattr(facade, name)

    @cached_property
    def twisted_facade(self) -> Any:
        """This client as a Twisted service."""
        assert self._make_twisted_facade is not None  # callers have checked
        return self._make_twisted_facade(self)

    @property
    def closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closing

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` is done; a closed service cannot be used again."""
        return self._closed

    @property
    def backoff(self) -> Backoff:
        """Delays between attempts to connect."""
        return self._supervisor.backoff

    def start_monitoring(self, address: str, port: int, *, always_ready: bool, stuck_after: float) -> None:
        """Answer ``/live``, ``/ready``, ``/status`` and ``/metrics`` over HTTP.

        Args:
            address: Address to listen on; empty means all.
            port: TCP port.
            always_ready: Always answer ``/ready`` with status 200.
            stuck_after: Seconds without a settled message, with some in flight, that count as no progress.

        Raises:
            ConfigurationException: The port cannot be used.
        """
        # Few programs are monitored, so it is imported only when it is needed.
        with setting_up:
            from ..monitoring import endpoints
            from ..monitoring.http_server import Monitor
        self._stuck_after = stuck_after
        self._monitor = Monitor(
            address,
            port,
            {
                "live": lambda: endpoints.live(self.answers()),
                "ready": lambda: endpoints.ready(self.snapshot(), always_ready),
                "status": lambda: endpoints.status(self.snapshot()),
                "metrics": lambda: endpoints.metrics(self.snapshot()),
            },
        )

    def answers(self) -> bool:
        """Return whether both event loops respond: a coroutine callback that blocks makes its loop hang."""
        return self._loop_thread.answers() and self._callback_loop.answers()

    @property
    def monitored(self) -> bool:
        """Whether the monitoring endpoints are served."""
        return self._monitor is not None

    def snapshot(self) -> Snapshot:
        """Return the state that the monitoring endpoints show."""
        supervisor = self._supervisor
        connected = supervisor.connected
        now = time.monotonic()
        queues = tuple(QueueSnapshot.of(consumer, connected, now) for consumer in list(supervisor.consumers))
        reason = None
        if not connected:
            reason = "not connected"
        elif supervisor.ended_by is not None or not all(queue.consuming for queue in queues):
            reason = "not consuming"
        else:
            reasons = (queue.no_progress(self._stuck_after) for queue in queues)
            reason = next((text for text in reasons if text is not None), None)
        return Snapshot(
            connected=connected,
            consuming=any(queue.consuming for queue in queues),
            reason=reason,
            published=supervisor.publisher.published,
            consumed=sum((queue.consumed for queue in queues), supervisor.ended_stats),
            reconnects=supervisor.reconnects,
            blocked=supervisor.blocked,
            queues=queues,
            outbox=self._outbox_snapshot(time.time()),
        )

    def _outbox_snapshot(self, now: float) -> OutboxSnapshot | None:
        if self.outbox is None or self._closed:
            return None
        try:
            messages, size, oldest = self.outbox.store.usage().result(_PATIENCE)
        except (OutboxError, TimeoutError) as error:
            _log.warning("What is in the outbox cannot be told: %s", error)
            return None
        age = None if oldest is None else max(0.0, now - oldest)
        return OutboxSnapshot(messages, size, age, self.outbox.sending)

    def stop_trying(self) -> None:
        """Make no new connection when the present one ends."""
        self._loop_thread.post(lambda _none: self._supervisor.stop_trying(), None)

    @property
    def in_own_thread(self) -> bool:
        """Whether the caller is in one of this client's loop threads, for example in a coroutine callback."""
        return self._loop_thread.is_current_thread or self._callback_loop.is_current_thread

    def publish(self, encoded: Encoded) -> PendingPublish | PendingRecord:
        """Begin to publish a message, or to store it if there is an outbox."""
        if self.outbox is not None:
            return PendingRecord(self.outbox.put(encoded))
        pending = PendingPublish(encoded, self.expire, self._confirm_reader.wait)
        if not self._loop_thread.act(self._supervisor.send_now, pending.outgoing):
            self.submit(pending.outgoing)
        return pending

    def publish_nowait(self, encoded: Encoded) -> "Future[None]":
        """Begin to publish a message, or to store it if there is an outbox; return a future of it."""
        if self.outbox is not None:
            return self.outbox.put(encoded)
        promised = PromisedPublish(encoded, lambda out: self._loop_thread.post(Outgoing.release, out))
        self.submit(promised.outgoing)
        return promised

    def batch(self, timeout: float | None) -> PendingBatch:
        """Return what publishes many messages within some seconds."""
        return PendingBatch(timeout, self._begin, self.expire)

    def _begin(self, batch: Batch, encoded: Encoded) -> None:
        if self.outbox is None:
            self.submit(batch.publish(encoded))
            return
        settle = batch.begin()
        self.outbox.put(encoded).add_done_callback(lambda stored: settle(outcome_of(stored)))

    def expire(self, out: Outgoing, timeout: float) -> PublishTimeout:
        """Give up a publish whose caller stops waiting; return the error for that caller."""
        error = out.expire(timeout, self._supervisor.blocked, self._supervisor.trouble)
        self._loop_thread.post(Outgoing.release, out)
        return error

    def connect(self) -> None:
        """Begin to connect, before there is work."""
        self._loop_thread.post(lambda _none: self._supervisor.start(), None)

    def submit(self, out: Outgoing) -> None:
        """Begin to publish an encoded message; the loop's thread settles it."""
        self._loop_thread.post(self._supervisor.submit, out)

    def call(self, work: Callable[[Supervisor], Coroutine[Any, Any, Result]]) -> "Future[Result]":
        """Run a coroutine function in the loop, for callers that do not wait.

        Raises:
            ConnectionException: The service is closed.
        """
        if self._closed:
            raise ConnectionException("the service is closed", reason="the service is closed")
        return self._loop_thread.begin(lambda: work(self._supervisor))

    def consumers(
        self,
        callback: Callable[[Message], Any],
        queues: Sequence[tuple[QueueOptions, Sequence[BindingOptions]]],
        qos: QosOptions,
        options: ConsumerOptions,
        hooks: Hooks,
    ) -> "BlockingConsumers":
        """Prepare consumers of several queues with one callback."""
        # A program that only publishes does not wait for what consumes.
        with setting_up:
            from ..client.group import ConsumerGroup
            from .consumers import BlockingConsumers
        make_runner = None
        if is_coroutine_callback(callback):
            if options.has_policy:
                callback = self._callback_loop.adapt(callback)
            else:
                make_runner = self._callback_loop.runner_for(callback)

        def make_group() -> ConsumerGroup:
            return ConsumerGroup(
                self._supervisor,
                callback,
                queues,
                qos,
                shared=True,
                options=options,
                make_runner=make_runner,
            )

        return BlockingConsumers(self._loop_thread, self._callback_loop, self._supervisor, make_group, hooks)

    def close(self, timeout: float | None = _EXIT_GRACE) -> None:
        """Let running callbacks end, close the connection and end the thread."""
        if self._closing or self.pid != os.getpid():
            return
        self._closing = True
        try:
            self._loop_thread.run(self._supervisor.close, timeout)
        except TimeoutError:
            _log.warning(
                "A callback did not end within %s seconds; its message will be delivered again", timeout
            )
        self._closed = True
        self._callback_loop.stop()
        self._loop_thread.stop()
        self._confirm_reader.close()
        if self._monitor is not None:
            self._monitor.close()


def _open_outbox(options: OutboxOptions) -> "Outbox":
    # Few programs have an outbox, so we import it only when it is needed.
    with setting_up:
        from ..client.outbox.sender import Outbox

    return Outbox(options)
