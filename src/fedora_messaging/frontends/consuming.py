"""What programs may hand to the consume functions, and what is made of it."""

from collections.abc import Callable
from inspect import isclass, signature
from typing import Any, Protocol

from .. import config
from ..client.consuming.hooks import Hooks
from ..exceptions import ConfigurationException
from ..logs import API, logger
from ..message import Message
from ..options import BindingOptions, QosOptions, QueueOptions
from ..printable import printable
from ..settings.to_options import binding_options, qos_options, queue_options

_log = logger(API)


class CallbackObject(Protocol):
    """An object that is called with each message."""

    def __call__(self, message: Message, /) -> object:
        """Process a message."""
        ...


#: What programs give to the consume functions: a function, a coroutine function, an object that is called, or
#: the class of one, of which an object is made then.
Callback = Callable[[Message], object] | type[CallbackObject]


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
        (queue_options(name, settings, passive), binding_options(bindings, name))
        for name, settings in queues.items()
    ]
    return plan, qos_options(config.conf)
