"""Properties of class basic as bytes of a content header (AMQP 0-9-1 section 1.8 and 4.2.6.1)."""

import struct
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from ..exceptions import EncodingError
from .errors import SYNTAX_ERROR, WireError, truncated
from .fields import (
    canonical_table,
    decode_shortstr,
    decode_table,
    encode_field,
    encode_shortstr,
    encode_table,
    join_table,
    split_table,
)

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")

_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
_DELIVERY_MODE: Final = 0x1000
_PRIORITY: Final = 0x0800
_CORRELATION_ID: Final = 0x0400
_REPLY_TO: Final = 0x0200
_EXPIRATION: Final = 0x0100
_MESSAGE_ID: Final = 0x0080
_TIMESTAMP: Final = 0x0040
_TYPE: Final = 0x0020
_USER_ID: Final = 0x0010
_APP_ID: Final = 0x0008
_CLUSTER_ID: Final = 0x0004
_UNKNOWN: Final = 0x0003

TRANSIENT: Final = 1
PERSISTENT: Final = 2

NAMES: Final = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)


class Properties(Protocol):
    """Anything with the fourteen attributes, for example an application's ``pika.BasicProperties``."""

    content_type: str | None
    content_encoding: str | None
    headers: Any
    delivery_mode: int | None
    priority: int | None
    correlation_id: str | None
    reply_to: str | None
    expiration: str | None
    message_id: str | None
    timestamp: Any
    type: str | None
    user_id: str | None
    app_id: str | None
    cluster_id: str | None


def encode_properties(props: Properties, table: bytes | None = None) -> bytes:
    """Write property flags and values, ready to follow the body size in a content header.

    Args:
        props: The properties.
        table: Replaces their headers: an encoded table with its length prefix.

    Raises:
        EncodingError: A value does not fit its property.
    """
    flags = 0
    parts = [b"\0\0"]
    add = parts.append
    try:
        if props.content_type is not None:
            flags |= _CONTENT_TYPE
            add(encode_shortstr(props.content_type))
        if props.content_encoding is not None:
            flags |= _CONTENT_ENCODING
            add(encode_shortstr(props.content_encoding))
        if table is not None or props.headers is not None:
            flags |= _HEADERS
            add(encode_table(props.headers) if table is None else table)
        if props.delivery_mode is not None:
            flags |= _DELIVERY_MODE
            add(bytes((props.delivery_mode,)))
        if props.priority is not None:
            flags |= _PRIORITY
            add(bytes((props.priority,)))
        if props.correlation_id is not None:
            flags |= _CORRELATION_ID
            add(encode_shortstr(props.correlation_id))
        if props.reply_to is not None:
            flags |= _REPLY_TO
            add(encode_shortstr(props.reply_to))
        if props.expiration is not None:
            flags |= _EXPIRATION
            add(encode_shortstr(props.expiration))
        if props.message_id is not None:
            flags |= _MESSAGE_ID
            add(encode_shortstr(props.message_id))
        if props.timestamp is not None:
            flags |= _TIMESTAMP
            add(_U64.pack(_seconds(props.timestamp)))
        if props.type is not None:
            flags |= _TYPE
            add(encode_shortstr(props.type))
        if props.user_id is not None:
            flags |= _USER_ID
            add(encode_shortstr(props.user_id))
        if props.app_id is not None:
            flags |= _APP_ID
            add(encode_shortstr(props.app_id))
        if props.cluster_id is not None:
            flags |= _CLUSTER_ID
            add(encode_shortstr(props.cluster_id))
    except EncodingError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
        raise EncodingError(_fault_of(props, error)) from error
    parts[0] = _U16.pack(flags)
    return b"".join(parts)


def _fault_of(props: Properties, error: Exception) -> str:
    """Say which property AMQP cannot carry; texts and tables have been told apart before."""
    for name in ("delivery_mode", "priority"):
        value = getattr(props, name, None)
        if value is not None and not (isinstance(value, int) and 0 <= value <= 255):
            return f"the message property {name} must be a number from 0 to 255, but is {_shown(value)}"
    timestamp = getattr(props, "timestamp", None)
    if timestamp is not None and not _is_time(timestamp):
        return f"the message property timestamp must be a time since 1970, but is {_shown(timestamp)}"
    return f"a message property has a value that AMQP cannot carry: {error}"


def _shown(value: Any) -> str:
    # A text may be a secret, and anything else may be long.
    return str(value) if isinstance(value, int | float) else f"of type {type(value).__name__}"


def _is_time(value: Any) -> bool:
    try:
        return 0 <= _seconds(value) < 1 << 64
    except (TypeError, ValueError, OverflowError):
        return False


def _seconds(timestamp: Any) -> int:
    if not isinstance(timestamp, datetime):
        return int(timestamp)
    # As in field tables, a time without a zone is UTC.
    aware = timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)
    return int(aware.timestamp())


_TEXT_BEFORE_HEADERS: Final = ((_CONTENT_TYPE, "content_type"), (_CONTENT_ENCODING, "content_encoding"))
_TEXT_AFTER_PRIORITY: Final = (
    (_CORRELATION_ID, "correlation_id"),
    (_REPLY_TO, "reply_to"),
    (_EXPIRATION, "expiration"),
    (_MESSAGE_ID, "message_id"),
)
_TEXT_AFTER_TIMESTAMP: Final = (
    (_TYPE, "type"),
    (_USER_ID, "user_id"),
    (_APP_ID, "app_id"),
    (_CLUSTER_ID, "cluster_id"),
)


def decode_into(props: Properties, data: bytes, offset: int = 0) -> None:
    """Read property flags and values up to the end of ``data``; absent ones are left as they are.

    Raises:
        WireError: The bytes are not what the flags announce.
    """
    if offset + 2 > len(data):
        raise truncated("the property flags")
    flags = _U16.unpack_from(data, offset)[0]
    offset += 2
    if flags & _UNKNOWN:
        raise WireError(SYNTAX_ERROR, f"unknown property flags 0x{flags & _UNKNOWN:04x}")
    for flag, name in _TEXT_BEFORE_HEADERS:
        if flags & flag:
            text, offset = decode_shortstr(data, offset)
            setattr(props, name, text)
    if flags & _HEADERS:
        props.headers, offset = decode_table(data, offset)
    if flags & _DELIVERY_MODE:
        props.delivery_mode, offset = _octet(data, offset)
    if flags & _PRIORITY:
        props.priority, offset = _octet(data, offset)
    for flag, name in _TEXT_AFTER_PRIORITY:
        if flags & flag:
            text, offset = decode_shortstr(data, offset)
            setattr(props, name, text)
    if flags & _TIMESTAMP:
        if offset + 8 > len(data):
            raise truncated("the timestamp property")
        props.timestamp = _U64.unpack_from(data, offset)[0]
        offset += 8
    for flag, name in _TEXT_AFTER_TIMESTAMP:
        if flags & flag:
            text, offset = decode_shortstr(data, offset)
            setattr(props, name, text)
    if offset != len(data):
        raise WireError(SYNTAX_ERROR, "bytes follow after the last property")


def edit_headers(data: bytes, added: Mapping[str, Any], removed: Collection[str] = ()) -> bytes:
    """Change some headers; all other headers and properties keep their bytes.

    Args:
        data: Property flags and values.
        added: Headers to set.
        removed: Names of headers to leave out.

    Raises:
        WireError: The headers do not decode.
        EncodingError: A header cannot be written.
    """
    start, end = _place_of_headers(data)
    fields = split_table(data, start) if start < end else {}
    for name in removed:
        fields.pop(name, None)
    # New values go behind the other headers, as in RabbitMQ.
    fields = {name: value for name, value in fields.items() if name not in added}
    fields.update((name, encode_field(name, value)) for name, value in added.items())
    return replace_headers(data, join_table(fields))


def with_canonical_headers(data: bytes, place: tuple[int, int]) -> bytes:
    """Write the headers as RabbitMQ 4 does; see :func:`~.fields.canonical_table`.

    Args:
        data: Property flags and values.
        place: Position (start, end) of the headers.
    """
    start, end = place
    try:
        table = canonical_table(data, start, end)
    except WireError:
        return data  # headers that cannot be read are passed on as they are
    return data if table is None else b"".join((data[:start], table, data[end:]))


def split_headers(data: bytes) -> tuple[bytes | None, bytes]:
    """Return the encoded headers with their length prefix, if there are any, and the other properties."""
    start, end = _place_of_headers(data)
    if start == end:
        return None, data
    flags = _U16.unpack_from(data)[0] & ~_HEADERS
    return data[start:end], b"".join((_U16.pack(flags), data[2:start], data[end:]))


def _place_of_headers(data: bytes) -> tuple[int, int]:
    """Return the position of the headers with their length prefix, or of where they would go if absent."""
    flags = _U16.unpack_from(data)[0]
    start = 2
    for flag, _ in _TEXT_BEFORE_HEADERS:
        if flags & flag:
            start = _skip_shortstr(data, start)
    return start, start + 4 + _U32.unpack_from(data, start)[0] if flags & _HEADERS else start


def replace_headers(data: bytes, table: bytes) -> bytes:
    """Put encoded headers with their length prefix in the place of those that properties have."""
    start, end = _place_of_headers(data)
    flags = _U16.unpack_from(data)[0] | _HEADERS
    return b"".join((_U16.pack(flags), data[2:start], table, data[end:]))


def _octet(data: bytes, offset: int) -> tuple[int, int]:
    try:
        return data[offset], offset + 1
    except IndexError:
        raise truncated("a property") from None


class PropertyScan:
    """The few properties that a broker acts on, read without decoding the header table.

    Attributes:
        headers: Position (start, end) of the header table with its length prefix, ``None`` without headers.
        delivery_mode: 1, 2 or ``None``.
        priority: 0 to 255 or ``None``.
        reply_to: Address for replies or ``None``.
        expiration: Time to live as sent, or ``None``.
        user_id: User name that the sender claims, or ``None``.
    """

    __slots__ = ("delivery_mode", "expiration", "headers", "priority", "reply_to", "user_id")

    def __init__(self, data: bytes) -> None:
        if len(data) < 2:
            raise truncated("the property flags")
        flags = _U16.unpack_from(data)[0]
        offset = 2
        if flags & _UNKNOWN:
            raise WireError(SYNTAX_ERROR, f"unknown property flags 0x{flags & _UNKNOWN:04x}")
        self.headers: tuple[int, int] | None = None
        self.delivery_mode: int | None = None
        self.priority: int | None = None
        if flags & _CONTENT_TYPE:
            offset = _skip_shortstr(data, offset)
        if flags & _CONTENT_ENCODING:
            offset = _skip_shortstr(data, offset)
        if flags & _HEADERS:
            end = offset + 4
            if end > len(data):
                raise truncated("the headers")
            end += _U32.unpack_from(data, offset)[0]
            self.headers = (offset, end)
            offset = end
        if flags & _DELIVERY_MODE:
            self.delivery_mode, offset = _octet(data, offset)
        if flags & _PRIORITY:
            self.priority, offset = _octet(data, offset)
        if flags & _CORRELATION_ID:
            offset = _skip_shortstr(data, offset)
        self.reply_to: str | None
        self.expiration: str | None
        self.user_id: str | None
        self.reply_to, offset = _maybe_shortstr(data, offset, flags & _REPLY_TO)
        self.expiration, offset = _maybe_shortstr(data, offset, flags & _EXPIRATION)
        if flags & _MESSAGE_ID:
            offset = _skip_shortstr(data, offset)
        if flags & _TIMESTAMP:
            offset += 8
        if flags & _TYPE:
            offset = _skip_shortstr(data, offset)
        self.user_id, offset = _maybe_shortstr(data, offset, flags & _USER_ID)
        if flags & _APP_ID:
            offset = _skip_shortstr(data, offset)
        if flags & _CLUSTER_ID:
            offset = _skip_shortstr(data, offset)
        if offset != len(data):
            raise WireError(SYNTAX_ERROR, "the properties are not what their flags announce")


def _skip_shortstr(data: bytes, offset: int) -> int:
    try:
        return offset + 1 + data[offset]
    except IndexError:
        raise truncated("a property") from None


def _maybe_shortstr(data: bytes, offset: int, present: int) -> tuple[str | None, int]:
    return decode_shortstr(data, offset) if present else (None, offset)
