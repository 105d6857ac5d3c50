"""Comparing a repeated declaration with the existing object; the error texts are RabbitMQ's."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...protocol.errors import PRECONDITION_FAILED, RESOURCE_LOCKED, ChannelError
from ...wire.int64 import Int64

#: Values of arguments that are not given, when declarations are compared.
_DEFAULTS: Final = {"x-queue-type": "classic"}


def locked(queue: str, vhost: str) -> ChannelError:
    """Make the error for using an exclusive queue of another connection."""
    return ChannelError(
        RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked queue '{queue}' in vhost '{vhost}'. "
        "It could be originally declared on another connection or the exclusive property value does not "
        "match that of the original declaration.",
    )


def type_name(value: Any) -> str:
    """Return RabbitMQ's name for the type of a field value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        is_long = isinstance(value, Int64) or not -0x80000000 <= value <= 0x7FFFFFFF
        return "long" if is_long else "signedint"
    names = {str: "longstr", float: "double", dict: "table", list: "array", type(None): "void"}
    return names.get(type(value), "binary")


def check_same(what: str, pairs: Iterable[tuple[str, Any, Any]]) -> None:
    """Compare the properties of a repeated declaration.

    Args:
        what: The object as error texts name it, for example ``queue 'q' in vhost '/'``.
        pairs: Name, current value and received value of each property.

    Raises:
        ChannelError: 406 for the first difference.
    """
    for name, current, received in pairs:
        if current != received:
            raise ChannelError(
                PRECONDITION_FAILED,
                f"inequivalent arg '{name}' for {what}: received '{_shown(received)}' "
                f"but current is '{_shown(current)}'",
            )


def check_equivalent(
    names: tuple[str, ...],
    what: str,
    current: Mapping[str, Any],
    received: Mapping[str, Any],
) -> None:
    """Compare the arguments of a repeated declaration.

    Args:
        names: The arguments that count.
        what: The object as error texts name it, for example ``queue 'q' in vhost '/'``.
        current: Arguments of the existing object.
        received: Arguments of the repeated declaration.

    Raises:
        ChannelError: 406 for the first difference.
    """
    for name in names:
        default = _DEFAULTS.get(name)
        if _is_equal(current.get(name, default), received.get(name, default)):
            continue
        old, new = current.get(name), received.get(name)
        if old is None or new is None:
            got, have = _described(new), _described(old)
        else:
            got, have = f"'{_shown(new)}'", f"'{_shown(old)}'"
        raise ChannelError(
            PRECONDITION_FAILED,
            f"inequivalent arg '{name}' for {what}: received {got} but current is {have}",
        )


def _is_equal(one: Any, other: Any) -> bool:
    """Whether values are the same for AMQP, in which 1, 1.0 and true differ."""
    return one == other and all(isinstance(one, kind) == isinstance(other, kind) for kind in (bool, float))


def _described(value: Any) -> str:
    return "none" if value is None else f"the value '{_shown(value)}' of type '{type_name(value)}'"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
