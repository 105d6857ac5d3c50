"""Publish and consume in ordinary, blocking programs.

>>> from fedora_messaging.api import Message, publish
>>> publish(Message(topic="hello", body={"name": "world"}))

A thread of the library makes the connection at the first use, and keeps it up.
"""

import os
import sys
import threading
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from . import config, exceptions
from .forking import setting_up
from .frontends.batches import MessageBatch, record_all
from .frontends.consuming import Callback, consume_arguments, hooks_of, queue_plan
from .frontends.consuming import check_callback as _check_callback
from .frontends.event_loop_guard import guard_event_loop
from .frontends.publishing import (
    prepare,
    publish_failed,
    publish_started,
    publish_succeeded,
    send_signals_as,
    telling_failure,
    telling_outcome,
)
from .frontends.recording import is_recording, recorded
from .logs import logger
from .message import SERIALIZED_MESSAGE_SCHEMA, SEVERITIES, Message, dumps, loads
from .printable import explained
from .signals import pre_publish_signal, publish_failed_signal, publish_signal

if TYPE_CHECKING:
    from concurrent.futures import Future

    from twisted.internet.defer import Deferred

    from .sync.consumers import BlockingConsumers
    from .sync.pending import PendingPublish, PendingRecord
    from .sync.service import Service
    from .twisted.consumer import Consumer as Consumer

_log = logger(__name__)

# As in version 3.9: a star import must not bring names that a program does not expect.
__all__ = [
    "SERIALIZED_MESSAGE_SCHEMA",
    "SEVERITIES",
    "Consumer",
    "Message",
    "consume",
    "dumps",
    "loads",
    "pre_publish_signal",
    "publish",
    "publish_failed_signal",
    "publish_signal",
    "twisted_consume",
]
if not TYPE_CHECKING and find_spec("twisted") is None:
    # A star import must work without the extra.
    __all__.remove("Consumer")

# Names that are imported only when used, so that other programs do not need Twisted.
_LAZY = {
    "Consumer": ("fedora_messaging.twisted.consumer", "Consumer"),
    "defer": ("twisted.internet.defer", None),
    "inspect": ("inspect", None),
    "logging": ("logging", None),
    "monitor": ("fedora_messaging.twisted.monitor", None),
    "reactor": ("twisted.internet.reactor", None),
    "service": ("fedora_messaging.twisted.service", None),
    "threads": ("twisted.internet.threads", None),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    try:
        if "twisted" in module_name:
            import_module("fedora_messaging.twisted")  # its error says what to install
        module = import_module(module_name)
    except ImportError as error:
        # For hasattr() and getattr() only this error means that the name is missing.
        raise AttributeError(str(error), name=name) from error
    return module if attribute is None else getattr(module, attribute)


class _Crochet:
    """Replaces the module that version 3.9 had here, which tests of applications patch or set up."""

    def setup(self) -> None:
        """Set up crochet if the application uses it: version 3.9 did so at each publish and consume."""
        used = sys.modules.get("crochet")
        if used is not None and not is_recording():
            from .twisted.hosting import set_up_crochet

            set_up_crochet(used)


crochet: Any = _Crochet()
# Holds the one connection of this process. A program may set it to None to get a new connection, or to its
# own FedoraMessagingServiceV2.
_twisted_service: Any = None
# A forked child inherits its parent's service without its thread. We keep the service unused, because
# garbage collection would close the parent's connection.
_inherited: list[Any] = []


def _init_twisted_service() -> Any:
    """Return the process's service; make it first if there is none."""
    global _twisted_service
    # Many threads may publish for the first time at once.
    with setting_up:
        if _twisted_service is None or getattr(_twisted_service, "closed", None) is True:
            _twisted_service = _make_service()
        return _twisted_service


def _blocking_service() -> "Service":
    """Return the client of the process's service; the service may be the program's own Twisted service."""
    service = _init_twisted_service()
    blocking = getattr(service, "blocking_service", None)
    return service if blocking is None else blocking()  # type: ignore[no-any-return]


def _make_service() -> "Service":
    import atexit

    from .settings.to_options import connection_options, outbox_options
    from .sync.service import Service

    service = Service(
        connection_options(config.conf),
        make_twisted_facade=_twisted_facade,
        outbox=outbox_options(config.conf),
    )
    monitoring = config.conf["monitoring"]
    if monitoring:
        try:
            service.start_monitoring(
                monitoring["address"],
                monitoring["port"],
                always_ready=bool(monitoring.get("always_ready", False)),
                stuck_after=monitoring.get("stuck_after", 1800.0),
            )
        except exceptions.ConfigurationException:
            service.close()
            raise
    atexit.register(service.close)
    return service


def _twisted_facade(service: "Service") -> Any:
    from .twisted.service import FedoraMessagingServiceV2

    return FedoraMessagingServiceV2._around(service)


def _forget_inherited_service() -> None:
    global _twisted_service
    if getattr(_twisted_service, "survives_fork", False) is True:
        return
    _inherited.append(_twisted_service)
    _twisted_service = None


os.register_at_fork(after_in_child=_forget_inherited_service)


class _PublishResult:
    """A publish that has begun; it sends a signal when it ends."""

    def __init__(self, message: Message, pending: "PendingPublish | PendingRecord") -> None:
        self._message = message
        self._pending = pending

    def wait(self, timeout: float | None) -> None:
        """Return when the broker has confirmed the message, or raise."""
        with telling_outcome(self._message):
            self._pending.wait(timeout)


class _RecordedResult:
    """A publish that a test has recorded."""

    def wait(self, timeout: float | None) -> None:
        """Return at once: there is no confirm to wait for."""


def _twisted_publish_wrapper(message: Message, exchange: str | None) -> _PublishResult | _RecordedResult:
    """Begin to publish. Tests of applications replace this function, so `publish` does nothing else."""
    if recorded(message):
        return _RecordedResult()
    publish_started(message)
    with telling_failure(message):
        encoded = prepare(message, exchange)
        guard_event_loop("publish()", "`await bus.publish()` of fedora_messaging.aio")
        return _PublishResult(message, _blocking_service().publish(encoded))


# Code that records messages for a test restores this function where an application's test replaced it.
_own_publish_wrapper = _twisted_publish_wrapper


def publish(message: Message, exchange: str | None = None, timeout: float | None = 30) -> None:
    """Publish a message and return when the broker has confirmed it, or when it is in the outbox.

    Any thread may call this. If the connection is lost meanwhile, the library connects and sends the
    message again, so that it may arrive twice. A confirm means that the broker took the message, not that a
    queue was bound for it, unless you set ``mandatory`` in the table ``publisher`` of the configuration.

    With an outbox (the table ``outbox`` of the configuration) the library stores the message first, and
    sends it in the background; then this function does not raise the broker's errors below.

    Args:
        message: The message; it is validated first.
        exchange: By default ``publish_exchange`` of the configuration.
        timeout: Limit for the whole call, in seconds; ``None`` waits for ever.

    Raises:
        jsonschema.ValidationError: The message violates its schema. Nothing was sent.
        PublishTimeout: No confirm arrived in time; if the exception's ``sent`` is true, the message **may**
            have arrived nevertheless.
        PublishForbidden: The broker does not let us publish there.
        ExchangeNotFound: The exchange does not exist.
        PublishNacked: The broker refused the message, for example because a queue is full.
        PublishReturned: No queue was bound for the message, and ``mandatory`` is set.
        OutboxFull: The outbox holds as much as it may.
        OutboxError: The outbox cannot be written.
        ConnectionException: The broker refuses us.
        ConfigurationException: The URL, the TLS settings or the outbox are wrong.
        RuntimeError: Called in a thread of the library's own event loops, for example by a coroutine
            callback, or in the running reactor's. Nothing was sent. (Any other event loop in this thread is
            blocked until the call returns; a warning says so, once for each calling line.)
    """
    crochet.setup()
    _twisted_publish_wrapper(message, exchange).wait(timeout=timeout)


def publish_nowait(message: Message, exchange: str | None = None) -> "Future[None]":
    """Begin to publish a message, and return a future of its outcome.

    A thread that publishes many messages so does not wait for each confirm. Nothing limits how many are on
    their way, nor for how long: wait for some of the futures now and then, with a timeout, or use
    :func:`publish_many`. Receivers of signals, and callbacks of the future, are called in a thread of the
    library, and must not wait for anything.

    Args:
        message: The message; it is validated first.
        exchange: By default ``publish_exchange`` of the configuration.

    Returns:
        A future that is done when the broker has confirmed the message, or when it is in the outbox; it
        raises the errors that :func:`publish` raises then. Who cancels it gives the publish up: if it was
        sent, it may arrive nevertheless.

    Raises:
        jsonschema.ValidationError: The message violates its schema. Nothing was sent.
        ConfigurationException: The URL, the TLS settings or the outbox are wrong.
    """
    from concurrent.futures import Future

    crochet.setup()
    if recorded(message):
        done: Future[None] = Future()
        done.set_result(None)
        return done
    publish_started(message)
    with telling_failure(message):
        promised = _blocking_service().publish_nowait(prepare(message, exchange))
    promised.add_done_callback(partial(_tell_outcome, message))
    return promised


def _tell_outcome(message: Message, promised: "Future[None]") -> None:
    if promised.cancelled():
        return
    error = promised.exception()
    if error is None:
        publish_succeeded(message)
    elif isinstance(error, Exception):
        publish_failed(message, error)


def publish_many(
    messages: Iterable[Message], exchange: str | None = None, timeout: float | None = 30
) -> list[Exception | None]:
    """Publish messages in order, without waiting for each confirm; return when all have an outcome.

    Args:
        messages: The messages; each is validated first. A generator is asked for the next one when there is
            room for it: at most 1000 messages are on their way.
        exchange: By default ``publish_exchange`` of the configuration.
        timeout: Limit for the whole call, in seconds; ``None`` waits for ever.

    Returns:
        For each message, in their order, ``None`` if the broker has confirmed it, or if it is in the outbox;
        otherwise the exception that :func:`publish` would have raised. One that fails does not hold up the
        others. If the iterable itself raises, so does this function, and nobody learns which of the messages
        before have arrived.

    Raises:
        ConfigurationException: The URL, the TLS settings or the outbox are wrong.
        RuntimeError: Called in a thread of the library's own event loops, as for :func:`publish`.
    """
    crochet.setup()
    guard_event_loop("publish_many()", "`await bus.publish_many()` of fedora_messaging.aio")
    if is_recording():
        return record_all(messages)
    pending = _blocking_service().batch(timeout)
    published = MessageBatch(pending.batch, exchange)
    for encoded in published.encoded(messages, pending.is_over):
        pending.publish(encoded)
    pending.finish()
    return published.finish()


# Looked up at each signal: a test may replace the name.
send_signals_as(lambda: publish)


def consume(
    callback: Callback,
    bindings: config.BindingsType | None = None,
    queues: dict[str, config.QueueConfig] | None = None,
) -> None:
    """Call a callback with each message of the queues, until it raises or the process is told to stop.

    The callback may be a function (called in its own thread), a coroutine function (awaited in the
    library's event loop, which it must not block), a callable object, or a class of such objects. By default
    the messages of one queue are processed one at a time; several queues are processed at once. If the
    callback returns, the message is acknowledged. If it raises :class:`Nack`, the message goes back to the
    queue; after :class:`Drop` it is refused; :class:`HaltConsumer` acknowledges it and ends consuming. By
    default any other exception puts it back and ends consuming.

    A class may have methods ``start()`` and ``stop()``, or those of a context manager, each an ordinary or a
    coroutine function. The library calls the first before it consumes, and the second after the last
    callback has ended.

    In the main thread, and if the program does not handle SIGTERM, that signal lets running callbacks end
    and then exits with status 0. KeyboardInterrupt is raised after they have ended.

    Args:
        callback: The callback, see above.
        bindings: By default those of the configuration.
        queues: By default those of the configuration.

    Raises:
        ValueError: An argument is wrong.
        HaltConsumer: The callback asked to stop, whatever the exit code.
        BadDeclaration: The broker refuses a queue or binding.
        PermissionException: The broker refuses to let us read a queue.
        ConsumerCanceled: The broker ended a consumer.
        ConnectionException: The broker refuses us.
        RuntimeError: Called in a thread of the library's own event loops, or in the running reactor's.
            (Any other event loop in this thread is blocked until the call returns; a warning says so.)
        Exception: The callback raised it.
    """
    crochet.setup()
    _twisted_consume_wrapper(callback, bindings, queues).wait()


def _twisted_consume_wrapper(callback: Any, bindings: Any, queues: Any) -> "_ConsumeResult":
    """Prepare to consume. Tests of applications replace this function, so `consume` does nothing else."""
    return _ConsumeResult(prepare_consumers(callback, bindings, queues))


class _ConsumeResult:
    """The end of consuming; the consumers run while the caller waits for it."""

    def __init__(self, consumers: "BlockingConsumers") -> None:
        self._consumers = consumers

    def wait(self) -> None:
        """Consume until the end, and raise the error that ended it."""
        from .sync.interrupts import stop_on_sigterm

        _run_idle_reactor()
        try:
            with stop_on_sigterm(self._consumers) as terminated:
                error = _run(self._consumers)
        finally:
            self._consumers.close()
        if terminated:
            raise SystemExit(0)
        if error is None:
            return
        if not isinstance(error, exceptions.HaltConsumer):
            # An exception of the callback was logged with its traceback where it was caught.
            traceback = error if isinstance(error, exceptions.BaseException) else None
            _log.error("Consuming ended: %s: %s", type(error).__name__, explained(error), exc_info=traceback)
        raise error


def _run_idle_reactor() -> None:
    """Run the reactor that callbacks use, if the program has one but cannot run it itself."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and "twisted.internet.reactor" in sys.modules:
        from .twisted.hosting import run_in_background

        run_in_background()


def prepare_consumers(callback: Any, bindings: Any, queues: Any) -> "BlockingConsumers":
    """Make the consumers that :func:`consume` and the command line start and wait for.

    Raises:
        ValueError: An argument is wrong.
        TypeError: The callback cannot be called with a message.
        ConfigurationException: The URL, the TLS settings, the outbox or the consumer's settings are wrong.
    """
    plan, qos = queue_plan(bindings, queues)
    checked = _check_callback(callback)
    guard_event_loop("consume()", "`await bus.consume()` of fedora_messaging.aio")
    with setting_up:
        from .settings.to_options import consumer_options
    options = consumer_options(config.conf)
    return _blocking_service().consumers(checked, plan, qos, options, hooks_of(callback, checked))


def _run(consumers: "BlockingConsumers") -> BaseException | None:
    try:
        consumers.start()
        return consumers.wait()
    except KeyboardInterrupt:
        consumers.request_stop()
        consumers.wait()
        raise
    except Exception as error:
        return error


def twisted_publish(message: Message, exchange: str | None = None) -> "Deferred[None]":
    """Publish from a Twisted application; call this in the reactor's thread.

    Args:
        message: The message; it is validated first.
        exchange: By default ``publish_exchange`` of the configuration.

    Returns:
        A Deferred that fires when the broker has confirmed the message. It fails like :func:`publish`, but
        without a time limit, and with RuntimeError if neither ``twisted_consume`` nor ``publish`` has set up
        the service before.

    Raises:
        ImportError: Twisted is not installed.
    """
    from .twisted.publish import publish_with_signals

    return publish_with_signals(_twisted_service, message, exchange)


def twisted_consume(
    callback: Callback,
    bindings: config.BindingsType | None = None,
    queues: dict[str, config.QueueConfig] | None = None,
) -> "Deferred[list[Consumer]]":
    """Consume in a Twisted application; return at once and leave running the reactor to the program.

    Args:
        callback: As :func:`consume` takes it; coroutine functions run in the reactor's event loop if it is
            the asyncio reactor.
        bindings: By default those of the configuration.
        queues: By default those of the configuration.

    Returns:
        A Deferred that fires with one consumer for each queue when all are registered; it fails with
        BadDeclaration, PermissionException, ConnectionException or NoFreeChannels. The Deferred ``result``
        of a consumer tells how the consumer ended.

    Raises:
        ValueError: An argument is wrong.
        ImportError: Twisted is not installed.
    """
    import_module("fedora_messaging.twisted")
    bindings, queues = consume_arguments(bindings, queues)
    checked = _check_callback(callback)
    return _init_twisted_service().factory.consume(checked, bindings, queues)  # type: ignore[no-any-return]


def close() -> None:
    """Let running callbacks end and close the process's connection; the next use makes a new one.

    If the service is the program's own Twisted service, this only drops it: its owner has to stop it.
    """
    global _twisted_service
    service = _twisted_service
    # The service stays in place until it is closed, because running callbacks may publish.
    if hasattr(service, "close"):
        service.close()
    if _twisted_service is service:
        _twisted_service = None
