"""Arguments of ``queue.declare``: what they accept and what they mean (RabbitMQ's ``x-`` arguments)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...protocol.errors import PRECONDITION_FAILED, ChannelError
from ...wire.methods import QueueDeclare

DROP_HEAD: Final = "drop-head"
REJECT_PUBLISH: Final = "reject-publish"
REJECT_PUBLISH_DLX: Final = "reject-publish-dlx"


@dataclass(frozen=True, slots=True)
class QueueArguments:
    """The meaning of the arguments of one queue; ``None`` is "not given".

    Attributes:
        message_ttl: Milliseconds.
        expires: Milliseconds the queue may be unused.
        max_length: Ready messages.
        max_length_bytes: Bytes of ready bodies.
        overflow: What happens above a limit.
        dead_letter_exchange: Where refused and expired messages go.
        dead_letter_routing_key: Their new routing key.
        max_priority: Highest priority the queue knows.
        single_active: Only one consumer gets messages at a time.
        queue_type: classic or quorum.
        delivery_limit: Returns after which a message is dead-lettered.
    """

    message_ttl: int | None = None
    expires: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    max_priority: int | None = None
    single_active: bool = False
    queue_type: str = "classic"
    delivery_limit: int | None = None


def _wrong(name: str, why: str) -> ChannelError:
    return ChannelError(PRECONDITION_FAILED, f"invalid arg '{name}' {why}", QueueDeclare)


def type_name(value: Any) -> str:
    """Name a field value's type as RabbitMQ does."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "signedint" if -0x80000000 <= value <= 0x7FFFFFFF else "long"
    names = {str: "longstr", float: "double", dict: "table", list: "array", type(None): "void"}
    return names.get(type(value), "binary")


def _integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, f"for queue: expected integer, got {type_name(value)}")
        if value < low:
            what = "value_zero" if value == 0 else "value_negative"
            raise _wrong(name, f"for queue: {{{what},{value}}}")
        if high is not None and value > high:
            raise _wrong(name, f"for queue: {{max_value_exceeded,{value}}}")
        return value

    return check


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, f"for queue: {{unacceptable_type,{type_name(value)}}}")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, f"for queue: {{unacceptable_type,{type_name(value)}}}")
    return value


def _choice(problem: str, *choices: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in choices:
            raise _wrong(name, f"for queue: {{{problem},{value!r}}}")
        return str(value)

    return check


def _queue_type(_name: str, value: Any) -> str:
    if value == "stream":
        raise ChannelError(
            PRECONDITION_FAILED, "queue type 'stream' is not supported by this broker", QueueDeclare
        )
    if value not in ("classic", "quorum"):
        raise ChannelError(PRECONDITION_FAILED, f"unsupported queue type '{value}'", QueueDeclare)
    return str(value)


#: argument: (attribute of QueueArguments or None, check)
_KNOWN: Final[dict[str, tuple[str | None, Callable[[str, Any], Any]]]] = {
    "x-message-ttl": ("message_ttl", _integer(0)),
    "x-expires": ("expires", _integer(1)),
    "x-max-length": ("max_length", _integer(0)),
    "x-max-length-bytes": ("max_length_bytes", _integer(0)),
    "x-overflow": (
        "overflow",
        _choice("invalid_overflow", DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX),
    ),
    "x-dead-letter-exchange": ("dead_letter_exchange", _text),
    "x-dead-letter-routing-key": ("dead_letter_routing_key", _text),
    "x-max-priority": ("max_priority", _integer(0, 255)),
    "x-single-active-consumer": ("single_active", _boolean),
    "x-queue-mode": (None, _choice("invalid_queue_mode", "default", "lazy")),
    "x-queue-type": ("queue_type", _queue_type),
    "x-queue-version": (None, _integer(1, 2)),
    "x-delivery-limit": ("delivery_limit", _integer(0)),
}

#: Arguments that a repeated declaration must give again in the same way.
EQUIVALENT: Final = (
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-queue-type",
)


def read_arguments(method: QueueDeclare) -> QueueArguments:
    """Check and read the arguments of a declaration.

    Raises:
        ChannelError: 406 with RabbitMQ's wording.
    """
    values: dict[str, Any] = {}
    for name, value in method.arguments.items():
        known = _KNOWN.get(name)
        if known is not None:
            attribute, check = known
            checked = check(name, value)
            if attribute is not None:
                values[attribute] = checked
    arguments = QueueArguments(**values)
    if arguments.dead_letter_routing_key is not None and arguments.dead_letter_exchange is None:
        raise _wrong("x-dead-letter-routing-key", "for queue: routing_key_but_no_dlx_defined")
    if arguments.queue_type == "quorum":
        _check_quorum(method, arguments)
    elif arguments.delivery_limit is not None:
        raise _wrong("x-delivery-limit", "for queue of queue type rabbit_classic_queue")
    return arguments


def _check_quorum(method: QueueDeclare, arguments: QueueArguments) -> None:
    wrong = None
    if not method.durable:
        wrong = "non-durable"
    elif method.exclusive:
        wrong = "exclusive-owner"
    elif method.auto_delete:
        wrong = "auto-delete"
    if wrong is not None:
        raise ChannelError(
            PRECONDITION_FAILED, f"invalid property '{wrong}' for queue '{method.queue}'", QueueDeclare
        )
    if arguments.max_priority is not None:
        raise _wrong("x-max-priority", "for queue of queue type rabbit_quorum_queue")


def check_equivalent(
    names: tuple[str, ...],
    what: str,
    current: Mapping[str, Any],
    received: Mapping[str, Any],
    method: type[Any],
) -> None:
    """Compare the arguments of a repeated declaration.

    Args:
        names: The arguments that count.
        what: The object as error texts name it, for example ``queue 'q' in vhost '/'``.
        current: Arguments of the existing object.
        received: Arguments of the repeated declaration.
        method: The method to blame.

    Raises:
        ChannelError: 406 for the first difference.
    """
    for name in names:
        old, new = current.get(name), received.get(name)
        if old == new:
            continue
        if old is None or new is None:
            got, have = _described(new), _described(old)
        else:
            got, have = f"'{new}'", f"'{old}'"
        raise ChannelError(
            PRECONDITION_FAILED,
            f"inequivalent arg '{name}' for {what}: received {got} but current is {have}",
            method,
        )


def _described(value: Any) -> str:
    return "none" if value is None else f"the value '{value}' of type '{type_name(value)}'"
