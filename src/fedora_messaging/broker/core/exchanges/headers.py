"""Headers exchange (AMQP 0-9-1 section 3.1.3.4, with RabbitMQ's ``all-with-x`` and ``any-with-x``)."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ....protocol.errors import PRECONDITION_FAILED, ChannelError
from ..equivalence import type_name
from .base import Binding, Destination, Exchange

if TYPE_CHECKING:
    from ..message import BrokerMessage

_MODES: Final = frozenset({"all", "any", "all-with-x", "any-with-x"})

#: A header by name and comparable value, or by its name alone.
_Key = tuple[str, Any] | str


class HeadersExchange(Exchange):
    """Routes by comparing the message's headers with the binding's arguments.

    An index leads from each header of a message to the few bindings that may match. A binding that wants all
    of its headers is found by one of them, a binding that wants any by each.
    """

    type = "headers"
    by_key: ClassVar[bool] = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._index: dict[_Key, dict[Binding, None]] = {}
        # Bindings that want nothing, and so match every message.
        self._unconditional: dict[Binding, None] = {}

    def _added(self, binding: Binding) -> None:
        mode = binding.arguments.get("x-match", "all")
        if not isinstance(mode, str):
            shown = str(mode).lower() if isinstance(mode, bool) else mode
            raise ChannelError(
                PRECONDITION_FAILED,
                f"Invalid x-match field type {type_name(mode)} (value {shown}); expected longstr",
            )
        if mode not in _MODES:
            shown = f'<<"{mode}">>' if mode else "<<>>"
            raise ChannelError(
                PRECONDITION_FAILED,
                f"Invalid x-match field value {shown}; expected all, any, all-with-x, or any-with-x",
            )
        for place in self._places(binding):
            place[binding] = None

    def _removed(self, binding: Binding) -> None:
        for place in self._places(binding):
            del place[binding]
        for key in self._keys(binding.arguments):
            if not self._index.get(key, True):
                del self._index[key]

    def _places(self, binding: Binding) -> list[dict[Binding, None]]:
        """Return the parts of the index that name a binding."""
        keys = self._keys(binding.arguments)
        if not keys:
            return [] if _wants_any(binding.arguments) else [self._unconditional]
        return [self._index.setdefault(key, {}) for key in keys]

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        has_kinds = self.profile.numbers_have_kinds
        headers = {name: _comparable_header(value, has_kinds) for name, value in message.headers.items()}
        candidates = dict(self._unconditional)
        for name, value in headers.items():
            candidates.update(self._index.get(name, {}))
            candidates.update(self._index.get((name, value), {}))
        message.count_effort(len(candidates))
        return [b.destination for b in candidates if self._matches(b.arguments, headers)]

    def _wanted(self, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the headers that a binding compares; the value ``None`` wants the header alone."""
        has_kinds = self.profile.numbers_have_kinds
        with_x = arguments.get("x-match", "all").endswith("-with-x")
        for name, value in arguments.items():
            if name != "x-match" and (with_x or not name.startswith("x-")):
                yield name, None if value is None else _comparable(value, has_kinds)

    def _keys(self, arguments: Mapping[str, Any]) -> list[_Key]:
        """Return what a binding is found by: one of its headers if it wants all, each if it wants any."""
        wanted = self._wanted(arguments)
        keys: list[_Key] = [name if value is None else (name, value) for name, value in wanted]
        if _wants_any(arguments):
            return keys
        # A value leads to fewer bindings than a name.
        return next(([key] for key in keys if not isinstance(key, str)), keys[:1])

    def _matches(self, arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
        """Whether a binding matches headers whose values are comparable."""
        hits = (
            name in headers and (value is None or value == headers[name])
            for name, value in self._wanted(arguments)
        )
        return any(hits) if _wants_any(arguments) else all(hits)


def _wants_any(arguments: Mapping[str, Any]) -> bool:
    mode: str = arguments.get("x-match", "all")
    return mode.startswith("any")


def _comparable_header(value: Any, has_kinds: bool) -> Any:
    """Convert a value of a message; with kinds, a timestamp there equals nothing."""
    return object() if has_kinds and isinstance(value, datetime) else _comparable(value, has_kinds)


def _comparable(value: Any, has_kinds: bool) -> Any:
    """Convert a value so that two values are equal exactly if RabbitMQ treats them as equal."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, datetime):
        return int(value.timestamp())
    if has_kinds and isinstance(value, float):
        return ("double", value)
    return _strictly_comparable(value)


def _strictly_comparable(value: Any) -> Any:
    """Convert a value inside a list or table: text is not bytes there, and the order of fields counts."""
    if isinstance(value, bool):
        return ("bool", value)  # True equals 1 in Python, but is not a number in AMQP
    if isinstance(value, list):
        return ("array", *map(_strictly_comparable, value))
    if isinstance(value, dict):
        return ("table", *((name, _strictly_comparable(element)) for name, element in value.items()))
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    return value
