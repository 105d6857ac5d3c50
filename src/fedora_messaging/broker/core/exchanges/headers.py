"""Headers exchange (AMQP 0-9-1 section 3.1.3.4, with RabbitMQ's ``all-with-x`` and ``any-with-x``)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ....protocol.errors import PRECONDITION_FAILED, ChannelError
from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage

_MODES: Final = frozenset({"all", "any", "all-with-x", "any-with-x"})


class HeadersExchange(Exchange):
    """Routes by comparing the message's headers with the binding's arguments."""

    type = "headers"
    by_key: ClassVar[bool] = False

    def _added(self, binding: Binding) -> None:
        mode = binding.arguments.get("x-match", "all")
        if not isinstance(mode, str) or mode not in _MODES:
            raise ChannelError(
                PRECONDITION_FAILED, f"Invalid x-match field value {mode!r}; expected all or any"
            )

    def _removed(self, binding: Binding) -> None:
        """Do nothing: the base class keeps the bindings."""

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        headers = message.headers
        return [b.destination for b in self.bindings.values() if _matches(b.arguments, headers)]


def _matches(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    mode = arguments.get("x-match", "all")
    wanted = (
        (name, value)
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    )
    hits = (name in headers and _agrees(value, headers[name]) for name, value in wanted)
    return any(hits) if mode.startswith("any") else all(hits)


def _agrees(wanted: Any, found: Any) -> bool:
    return wanted is None or _comparable(wanted) == _comparable(found)


def _comparable(value: Any) -> Any:
    """Convert a value so that two values are equal exactly if RabbitMQ treats them as equal."""
    if isinstance(value, bool):
        return ("bool", value)  # True equals 1 in Python, but is not a number in AMQP
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, list | dict):
        return _strictly_comparable(value)
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    return value


def _strictly_comparable(value: Any) -> Any:
    """Convert a value inside a list or table: text is not bytes there, and the order of fields counts."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("array", [_strictly_comparable(element) for element in value])
    if isinstance(value, dict):
        return ("table", [(name, _strictly_comparable(element)) for name, element in value.items()])
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    return value
