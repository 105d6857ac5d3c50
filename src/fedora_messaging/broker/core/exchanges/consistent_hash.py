"""Consistent hash exchange (RabbitMQ's plugin): each message goes to one destination, by weight."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ....protocol.errors import INTERNAL_ERROR, PRECONDITION_FAILED, ChannelError, ConnectionError
from ....wire.errors import WireError
from ....wire.properties import decode_properties
from .base import Binding, Destination, Exchange
from .erlang_hash import hash_atom, hash_bytes, hash_tagged, jump

if TYPE_CHECKING:
    from ..message import BrokerMessage

_PROPERTIES: Final = ("message_id", "correlation_id", "timestamp")
_MAX_WEIGHT: Final = 10_000
_UNDEFINED: Final = hash_atom("undefined")


class ConsistentHashExchange(Exchange):
    """Hashes the routing key, or what its arguments name; binding keys are weights.

    A destination has as many buckets as its first binding says, at the end of the ring.
    """

    type = "x-consistent-hash"
    by_key: ClassVar[bool] = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ring: list[Destination] = []
        self._header = self.arguments.get("hash-header")
        self._property = self.arguments.get("hash-property")
        if self._header is not None and self._property is not None:
            raise ChannelError(PRECONDITION_FAILED, "hash-header and hash-property are mutually exclusive")
        for name in ("hash-header", "hash-property"):
            if not isinstance(self.arguments.get(name, ""), str | None):
                raise ConnectionError(INTERNAL_ERROR, f"{name} is not a string")
        if self._property is not None and self._property not in _PROPERTIES:
            raise ChannelError(PRECONDITION_FAILED, f"Unsupported property: {self._property}")

    def _added(self, binding: Binding) -> None:
        key = binding.routing_key
        if re.fullmatch(r"[+-]?[0-9]+", key) is None:
            shown = f'<<"{key}">>' if key else "<<>>"
            raise ChannelError(PRECONDITION_FAILED, f"The binding key must be an integer: {shown}")
        weight = int(key)
        if weight < 1:
            raise ChannelError(PRECONDITION_FAILED, "The binding key must be greater than 0")
        if weight > _MAX_WEIGHT:
            raise ChannelError(PRECONDITION_FAILED, f"The binding key must not exceed {_MAX_WEIGHT}")
        if binding.destination not in self._ring:
            self._ring += [binding.destination] * weight

    def _removed(self, binding: Binding) -> None:
        self._ring = [destination for destination in self._ring if destination is not binding.destination]

    def _find(self, routing_key: str, message: "BrokerMessage") -> Iterable[Destination]:
        if not self._ring or routing_key != message.routing_key:
            return ()  # further keys of a message make no copies
        return (self._ring[jump(self._seed(message), len(self._ring))],)

    def _seed(self, message: "BrokerMessage") -> int:
        if self._header is not None:
            if self._header not in message.headers:
                return _UNDEFINED
            value = message.headers[self._header]
            return _seed_of(value) if self.profile.hashes_bare_values else _seed_of_tagged(value)
        if self._property is None:
            return hash_bytes(message.routing_key.encode("utf-8", "surrogateescape"))
        try:
            value = getattr(decode_properties(message.properties), self._property)
        except WireError:
            value = None
        if value is None:
            return _UNDEFINED
        text = str(int(value.timestamp())) if isinstance(value, datetime) else str(value)
        return hash_bytes(text.encode("utf-8", "surrogateescape"))


def _seed_of(value: Any) -> int:
    if isinstance(value, bool):
        return hash_atom(str(value).lower())
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return int(value.timestamp()) * 1000
    if value is None:
        return _UNDEFINED
    return hash_bytes(_as_bytes(value))


def _seed_of_tagged(value: Any) -> int:
    if isinstance(value, bool):
        return hash_tagged("bool", str(value).lower())
    if isinstance(value, int):
        return hash_tagged("signedint" if -0x80000000 <= value <= 0x7FFFFFFF else "long", value)
    if isinstance(value, datetime):
        return hash_tagged("timestamp", int(value.timestamp()))
    if value is None:
        return hash_tagged("void", "undefined")
    return hash_tagged("longstr", _as_bytes(value))


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
