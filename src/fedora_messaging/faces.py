"""What the synchronous and the asynchronous face have in common."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import isclass, signature
from typing import TYPE_CHECKING, Any, Protocol

from . import config, signals
from .client.consuming.hooks import Hooks
from .exceptions import ConfigurationException
from .logs import logger
from .message import Message
from .options import BindingOptions, QosOptions, QueueOptions
from .printable import explained, printable

if TYPE_CHECKING:
    from types import FrameType

_log = logger("fedora_messaging.api")


class CallbackObject(Protocol):
    """An object that is called with each message."""

    def __call__(self, message: Message, /) -> object:
        """Process a message."""
        ...


#: What programs give to the consume functions: a function, a coroutine function, an object that is called, or
#: the class of one, of which an object is made then.
Callback = Callable[[Message], object] | type[CallbackObject]


#: What takes messages instead of a broker while a test watches; the innermost is the last.
_recorders: list[Callable[[Message], None]] = []


@contextmanager
def recording(record: Callable[[Message], None]) -> Iterator[None]:
    """Have all messages recorded that are published in this process, instead of sending them."""
    _recorders.append(record)
    try:
        yield
    finally:
        _recorders.remove(record)


def recorded(message: Message) -> bool:
    """Let a test record a message; returns whether one did, so that nothing is to be sent."""
    if not _recorders:
        return False
    _recorders[-1](message)
    return True


def is_recording() -> bool:
    """Whether a test records messages, so that there need not be a broker."""
    return bool(_recorders)


def _sender() -> Any:
    # The sender of all signals is the function itself; receivers compare it.
    from . import api

    return api.publish


def publish_started(message: Message) -> None:
    """Let receivers see, and change, a message; what they raise stops the publish.

    Raises:
        TypeError: It is not a message.
    """
    if not isinstance(message, Message):
        raise TypeError(f"publish() takes a fedora_messaging.message.Message, not a {type(message).__name__}")
    if signals.pre_publish_signal.receivers:
        signals.pre_publish_signal.send(_sender(), message=message)


def publish_succeeded(message: Message) -> None:
    """Tell receivers that a message is published; it stays so whatever they raise."""
    if signals.publish_signal.receivers:
        try:
            signals.publish_signal.send(_sender(), message=message)
        except Exception:
            _log.exception("A receiver of publish_signal failed; message %s is published", message.id)


def publish_failed(message: Message, error: Exception) -> None:
    """Tell receivers that a message is not, or perhaps not, published."""
    _log.error(
        "Publishing message %s on topic %s failed: %s: %s",
        printable(getattr(message, "id", None)),
        printable(repr(getattr(message, "topic", None))),
        type(error).__name__,
        explained(error),
    )
    if signals.publish_failed_signal.receivers:
        try:
            signals.publish_failed_signal.send(_sender(), message=message, reason=error)
        except Exception:
            _log.exception("A receiver of publish_failed_signal failed")


#: Where the program has been told that it blocks its event loop: file and line.
_told: dict[tuple[str, int], object] = {}


def guard_event_loop(what: str, instead: str) -> None:
    """Look for an event loop in this thread, which a blocking call stops: warn, once for each calling line.

    Programs written for version 3.9 block their loops, and it serves them: our loops have their own threads.

    Raises:
        RuntimeError: It is one of our own loops, or the running reactor, where waiting might never end.
    """
    # None is imported for this: without the module there is no loop.
    asyncio = sys.modules.get("asyncio")
    reactor = sys.modules.get("twisted.internet.reactor")
    threads = sys.modules.get("twisted.python.threadable")
    portal = sys.modules.get("fedora_messaging.sync.loop_thread")
    # Another thread may be importing them at this moment.
    get_loop = getattr(asyncio, "_get_running_loop", None)
    in_own_thread = getattr(portal, "in_own_thread", None)
    in_loop = get_loop is not None and get_loop() is not None
    in_reactor = getattr(reactor, "running", False) and threads is not None and threads.isInIOThread()
    advice = (
        f"call {instead} there, or `await asyncio.to_thread(...)`; a callback may also be a plain function"
    )
    if in_reactor or (in_own_thread is not None and in_own_thread()):
        raise RuntimeError(f"{what} would block the event loop that runs in this thread: {advice}")
    if in_loop:
        _warn_once(what, advice)


def _warn_once(what: str, advice: str) -> None:
    file, line = _calling_line()
    first = object()
    if _told.setdefault((file, line), first) is first:
        _log.warning(
            "%s, called in %s line %d, blocks the event loop that runs in this thread until it returns: %s",
            what,
            printable(file),
            line,
            advice,
        )


def _calling_line() -> tuple[str, int]:
    """Return file and line of the program's code that called us."""
    frame: FrameType | None = sys._getframe()
    file, line = "?", 0
    while frame is not None:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if frame.f_globals.get("__name__", "").partition(".")[0] != __package__:
            break
        frame = frame.f_back
    return file, line


def check_callback(callback: Callback) -> Callable[[Message], Any]:
    """Return a callable for what a program gave as its callback; a class is instantiated.

    Raises:
        ValueError: It cannot be called.
    """
    candidate = callback() if isclass(callback) else callback
    if not callable(candidate):
        raise ValueError("Callback must be a class that implements __call__ or a function.")
    if not _takes_a_message(candidate):
        raise ValueError(
            f"The callback {_name_of(candidate)}{signature(candidate)} cannot be called with one argument, "
            "the message: define it as in `def callback(message):`"
        )
    return candidate


def _name_of(candidate: Callable[..., Any]) -> str:
    kind = candidate if hasattr(candidate, "__qualname__") else type(candidate)
    return printable(f"{kind.__module__}.{kind.__qualname__}")


def _takes_a_message(candidate: Callable[..., Any]) -> bool:
    try:
        signature(candidate).bind(None)
    except TypeError:
        return False
    except ValueError:
        return True  # built-in functions do not always tell what they take
    return True


def hooks_of(callback: Any, checked: Callable[[Message], Any]) -> Hooks:
    """Return what is to be called before the first message and after the last one.

    Only of a class that was given as callback: whoever makes the object themselves, starts it themselves.
    """
    return Hooks(checked if isclass(callback) else None)


#: What to declare and consume: each queue with its bindings.
QueuePlan = list[tuple[QueueOptions, list[BindingOptions]]]


def consume_arguments(bindings: Any, queues: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return bindings and queues as tables of the configuration.

    Args:
        bindings: A table or list of tables as in the configuration; ``None`` takes its ``bindings``.
        queues: A table of queues as in the configuration; ``None`` takes its ``queues``.

    Raises:
        ValueError: An argument is not what the configuration would accept.
    """
    conf = config.conf
    try:
        if isinstance(bindings, dict):
            bindings = [bindings]
        if bindings is None:
            bindings = conf["bindings"] or []
        else:
            config.validate_bindings(bindings)
        if queues is None:
            queues = conf["queues"]
        else:
            config.validate_queues(queues)
    except ConfigurationException as error:
        raise ValueError(error.message) from error
    return bindings, queues


def queue_plan(bindings: Any, queues: Any) -> tuple[QueuePlan, QosOptions]:
    """Put together what to declare and consume, from what :func:`consume_arguments` takes.

    Raises:
        ValueError: An argument is not what the configuration would accept.
        TypeError: A table has a key that is unknown.
    """
    bindings, queues = consume_arguments(bindings, queues)
    for name in sorted({binding.get("queue", "") for binding in bindings} - set(queues)):
        _log.warning(
            "A binding is for the queue %s, which is not consumed and so not bound: "
            "add [queues.%s] to the configuration, or correct the name",
            printable(repr(name)),
            printable(name) or '""',
        )
    passive = config.conf["passive_declares"]
    plan = [
        (config.queue_options(name, settings, passive), config.binding_options(bindings, name))
        for name, settings in queues.items()
    ]
    return plan, config.qos_options(config.conf)
