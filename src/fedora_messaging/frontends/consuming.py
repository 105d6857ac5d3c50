"""Checks and converts the arguments that programs give to the consume functions."""

from collections.abc import Callable
from inspect import isclass, signature
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .. import config
from ..client.consuming.hooks import Hooks
from ..exceptions import ConfigurationException
from ..forking import setting_up
from ..logs import API, logger
from ..message import Message
from ..printable import printable

if TYPE_CHECKING:
    # Programs that only publish need none of these.
    from ..options import BindingOptions, QosOptions, QueueOptions

_log = logger(API)


class CallbackObject(Protocol):
    """An object that the consumer calls with each message."""

    def __call__(self, message: Message, /) -> object:
        """Process a message."""
        ...


#: The callback that a program gives to the consume functions: a function, a coroutine function, a callable
#: object, or a class of callable objects, which the library instantiates.
Callback = Callable[[Message], object] | type[CallbackObject]


def check_callback(callback: Callback) -> Callable[[Message], Any]:
    """Return the callable for a program's callback; if that is a class, instantiate it.

    Raises:
        ValueError: The callback cannot be called with a message.
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
        return True  # some built-in functions do not reveal their parameters
    return True


def hooks_of(callback: Any, checked: Callable[[Message], Any]) -> Hooks:
    """Return the hooks to call before the first message and after the last one.

    Only a callback that was given as a class has hooks: the library does not start objects that the program
    has made.
    """
    return Hooks(checked if isclass(callback) else None)


#: The queues to declare and consume, each with its bindings.
QueuePlan: TypeAlias = "list[tuple[QueueOptions, list[BindingOptions]]]"


def consume_arguments(bindings: Any, queues: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return bindings and queues in the form that the configuration has.

    Args:
        bindings: A table or list of tables as in the configuration; ``None`` takes its ``bindings``.
        queues: A table of queues as in the configuration; ``None`` takes its ``queues``.

    Raises:
        ValueError: The configuration would not accept an argument.
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


def queue_plan(bindings: Any, queues: Any) -> "tuple[QueuePlan, QosOptions]":
    """Turn the arguments of :func:`consume_arguments` into the queues to declare and consume.

    Raises:
        ValueError: The configuration would not accept an argument.
        TypeError: A table has an unknown key.
    """
    with setting_up:
        from ..settings.to_options import binding_options, qos_options, queue_options

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
