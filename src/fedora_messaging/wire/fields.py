"""Field values, tables and arrays (AMQP 0-9-1 section 4.2.5, with the types that RabbitMQ uses in practice).

=====  ==========================  ===================================
type   on the wire                 Python
=====  ==========================  ===================================
t      boolean                     ``bool``
b B    8 bit, signed, unsigned     ``int``
s u    16 bit, signed, unsigned    ``int``
I i    32 bit, signed, unsigned    ``int``
l L    64 bit, signed              ``int``
f d    32 and 64 bit float         ``float``
D      decimal                     ``decimal.Decimal``
S      text                        ``str``; ``bytes`` when it is not UTF-8
x      bytes                       ``bytes``
A      array                       ``list``
F      table                       ``dict``
T      timestamp                   aware ``datetime``; ``int`` if it is out of range
V      void                        ``None``
=====  ==========================  ===================================

The encoder picks one of ``t I l d D S x A F T V`` by the Python type; an :class:`Int64` is always written as
``l``. Every value that can be read can be written again. Names and short strings that are not UTF-8 survive
a round trip through Python's ``surrogateescape``.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from typing import Any, Final

from ..exceptions import EncodingError
from .errors import SYNTAX_ERROR, WireError, truncated
from .int64 import Int64

#: Tables may nest this deep. RabbitMQ clients use two or three levels. Without a limit, a frame of
#: 128 KB could hold 25 000 levels and exhaust the reader's stack (promise P19).
MAX_DEPTH: Final = 100
SHORTSTR_MAX: Final = 255
INT64_MAX: Final = 0x7FFFFFFFFFFFFFFF

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_TAGGED_I32 = struct.Struct(">ci")
_TAGGED_I64 = struct.Struct(">cq")
_TAGGED_F64 = struct.Struct(">cd")
_TAGGED_U32 = struct.Struct(">cI")
_DECIMAL = struct.Struct(">Bi")

_FIXED: Final = {
    ord("b"): struct.Struct(">b"),
    ord("B"): struct.Struct(">B"),
    ord("s"): struct.Struct(">h"),
    ord("u"): struct.Struct(">H"),
    ord("I"): struct.Struct(">i"),
    ord("i"): struct.Struct(">I"),
    ord("l"): _I64,
    ord("L"): _I64,
    ord("f"): struct.Struct(">f"),
    ord("d"): struct.Struct(">d"),
}
_BOOL: Final = ord("t")
_TEXT: Final = ord("S")
_BYTES: Final = ord("x")
_INT32: Final = ord("I")
_TABLE: Final = ord("F")
_ARRAY: Final = ord("A")
_TIMESTAMP: Final = ord("T")
_DECIMAL_TAG: Final = ord("D")
_VOID: Final = ord("V")
#: Bytes of values of fixed size, with their tag.
_SIZES: Final = {
    **{tag: 1 + fixed.size for tag, fixed in _FIXED.items()},
    _BOOL: 2,
    _VOID: 1,
    _TIMESTAMP: 9,
    _DECIMAL_TAG: 6,
}
_SIZED: Final = frozenset({_TEXT, _BYTES, _TABLE, _ARRAY})
#: A 64-bit integer has two tags; RabbitMQ writes only the other one.
_LONG: Final = b"L"


def decode_shortstr(data: bytes, offset: int) -> tuple[str, int]:
    """Read a short string; return it and the offset after it."""
    try:
        end = offset + 1 + data[offset]
    except IndexError:
        raise truncated("a short string") from None
    if end > len(data):
        raise truncated("a short string")
    return data[offset + 1 : end].decode("utf-8", "surrogateescape"), end


def decode_longstr(data: bytes, offset: int) -> tuple[bytes, int]:
    """Read a long string as bytes; return it and the offset after it."""
    start, end = _sized(data, offset, len(data), "a long string")
    return data[start:end], end


def decode_table(data: bytes, offset: int = 0) -> tuple[dict[str, Any], int]:
    """Read a field table with its length prefix; return it and the offset after it."""
    start, end = _sized(data, offset, len(data), "a field table")
    return _table(data, start, end, MAX_DEPTH), end


def split_table(data: bytes, offset: int = 0) -> dict[str, bytes]:
    """Read a field table with its length prefix, but leave each value encoded.

    Raises:
        WireError: The table does not decode.
    """
    start, end = _sized(data, offset, len(data), "a field table")
    fields = {}
    while start < end:
        name, start = decode_shortstr(data, start)
        if start >= end:
            raise truncated("a field of a table")
        after = _value(data, start, end, MAX_DEPTH)[1]
        fields[name] = data[start:after]
        start = after
    return fields


def join_table(fields: Mapping[str, bytes]) -> bytes:
    """Write a field table with its length prefix from values that are already encoded."""
    return encode_longstr(b"".join([encode_shortstr(name) + value for name, value in fields.items()]))


def canonical_table(data: bytes, offset: int, end: int) -> bytes | None:
    """Write a field table as RabbitMQ 4 does, or return ``None`` if it is written like that already.

    Its fields are in the order of their names, the first one wins where names are equal, and 64-bit integers
    have the tag ``l`` at any depth.

    Args:
        data: Where the table is.
        offset: Position of its length prefix.
        end: Position after the table.

    Raises:
        WireError: Its fields, or those of a nested table with such an integer, do not decode or nest too
            deep.
    """
    has_long = data.find(_LONG, offset, end) >= 0
    if not has_long and _is_in_order(data, offset + 4, end):
        return None
    fields: dict[bytes, bytes] = {}
    offset += 4
    while offset < end:
        start = offset + 1
        offset = start + data[offset]
        name = data[start:offset]
        after = _skip(data, offset, end)
        fields.setdefault(name, data[offset:after])
        offset = after
    names = sorted(fields)
    if not has_long:
        return encode_longstr(b"".join([bytes((len(name),)) + name + fields[name] for name in names]))
    return encode_longstr(
        b"".join([bytes((len(name),)) + name + _canonical_value(fields[name], MAX_DEPTH) for name in names])
    )


def _is_in_order(data: bytes, offset: int, end: int) -> bool:
    """Whether the names of a table's fields ascend; False also if a field is not as expected.

    Each message passes here, so it does as little as possible.
    """
    last: bytes | None = None
    while offset < end:
        start = offset + 1
        offset = start + data[offset]
        name = data[start:offset]
        if offset >= end or (last is not None and name <= last):
            return False
        last = name
        tag = data[offset]
        if tag in _SIZED:
            offset += 5 + int.from_bytes(data[offset + 1 : offset + 5], "big")
        elif tag in _SIZES:
            offset += _SIZES[tag]
        else:
            return False
    return offset == end


def _canonical_value(value: bytes, depth: int) -> bytes:
    if _LONG not in value:
        return value
    tag = value[:1]
    if tag == _LONG:
        return b"l" + value[1:]
    if tag not in (b"F", b"A"):
        return value
    if depth <= 1:
        raise _too_deep()
    offset, pieces = 5, []
    while offset < len(value):
        start = offset
        if tag == b"F":
            offset += 1 + value[offset]
        after = _skip(value, offset, len(value))
        pieces += [value[start:offset], _canonical_value(value[offset:after], depth - 1)]
        offset = after
    return tag + encode_longstr(b"".join(pieces))


def _skip(data: bytes, offset: int, end: int) -> int:
    """Return the offset after the tagged value at ``offset``, without looking into it."""
    if offset >= end:
        raise truncated("a field of a table")
    tag = data[offset]
    if tag in _SIZED:
        return _sized(data, offset + 1, end, "a value in a table")[1]
    return _value(data, offset, end, MAX_DEPTH)[1]


def _too_deep() -> WireError:
    return WireError(SYNTAX_ERROR, f"field tables nested deeper than {MAX_DEPTH} levels")


def _sized(data: bytes, offset: int, limit: int, what: str) -> tuple[int, int]:
    start = offset + 4
    if start > limit:
        raise truncated(what)
    end = start + int(_U32.unpack_from(data, offset)[0])
    if end > limit:
        raise truncated(what)
    return start, end


def _table(data: bytes, offset: int, end: int, depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    while offset < end:
        start = offset + 1
        offset = start + data[offset]
        if offset >= end:
            raise truncated("a field of a table")
        name = data[start:offset].decode("utf-8", "surrogateescape")
        table[name], offset = _value(data, offset, end, depth)
    return table


def _array(data: bytes, offset: int, end: int, depth: int) -> list[Any]:
    array = []
    while offset < end:
        value, offset = _value(data, offset, end, depth)
        array.append(value)
    return array


def _value(data: bytes, offset: int, end: int, depth: int) -> tuple[Any, int]:
    """Read the tagged value at ``offset`` (< ``end``), which may not reach beyond ``end``."""
    tag = data[offset]
    offset += 1
    if tag == _TEXT or tag == _BYTES:
        start, after = _sized(data, offset, end, "a string in a table")
        raw = data[start:after]
        if tag == _BYTES:
            return raw, after
        try:
            return raw.decode("utf-8"), after
        except UnicodeDecodeError:
            return raw, after
    fixed = _FIXED.get(tag)
    if fixed is not None:
        after = offset + fixed.size
        if after > end:
            raise truncated("a number in a table")
        return fixed.unpack_from(data, offset)[0], after
    if tag == _BOOL:
        if offset >= end:
            raise truncated("a boolean in a table")
        return data[offset] != 0, offset + 1
    if tag == _VOID:
        return None, offset
    if tag == _TABLE or tag == _ARRAY:
        if depth <= 1:
            raise _too_deep()
        start, after = _sized(data, offset, end, "a nested table")
        read = _table if tag == _TABLE else _array
        return read(data, start, after, depth - 1), after
    if tag == _TIMESTAMP:
        after = offset + 8
        if after > end:
            raise truncated("a timestamp in a table")
        return _timestamp(_I64.unpack_from(data, offset)[0]), after
    if tag == _DECIMAL_TAG:
        after = offset + _DECIMAL.size
        if after > end:
            raise truncated("a decimal in a table")
        return _decimal(*_DECIMAL.unpack_from(data, offset)), after
    raise WireError(SYNTAX_ERROR, f"unknown type 0x{tag:02x} of a field in a table")


def _timestamp(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return seconds


def _decimal(scale: int, unscaled: int) -> Any:
    from decimal import Decimal

    # Built from its parts: arithmetic would round to the precision of the program's decimal context.
    return Decimal((unscaled < 0, tuple(int(digit) for digit in str(abs(unscaled))), -scale))


def encode_shortstr(text: Any) -> bytes:
    """Write a short string.

    Raises:
        EncodingError: It has more than 255 bytes, contains lone surrogates or is not a ``str``.
    """
    if not isinstance(text, str):
        raise EncodingError(f"{text!r} must be text, but is a {type(text).__name__}")
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise EncodingError(f"{text!r} cannot be encoded as UTF-8: {error.reason}") from None
    if len(raw) > SHORTSTR_MAX:
        raise EncodingError(
            f"{text[:40]!r}... has {len(raw)} bytes, but AMQP allows at most {SHORTSTR_MAX} "
            "in a topic, a name or a short property"
        )
    return bytes((len(raw),)) + raw


# The same few names are in the tables of all messages.
_encode_name = lru_cache(maxsize=1024)(encode_shortstr)


def encode_longstr(value: bytes) -> bytes:
    """Write a long string."""
    return _U32.pack(len(value)) + value


def encode_table(table: Any) -> bytes:
    """Write a field table with its length prefix.

    Raises:
        EncodingError: ``table`` is not a mapping, a name is too long, AMQP has no type for a value, or
            nesting is too deep.
    """
    if not isinstance(table, Mapping):
        raise EncodingError(f"{table!r} must be a table, but is a {type(table).__name__}")
    return _encode_table(table, MAX_DEPTH)


def _encode_table(table: Mapping[Any, Any], depth: int) -> bytes:
    parts = []
    for name, value in table.items():
        parts.append(_encode_name(name))
        # The types of our own headers come first: every message has them.
        kind = type(value)
        if kind is str:
            raw = _encode_text(value)
            parts.append(_TAGGED_U32.pack(b"S", len(raw)))
            parts.append(raw)
        elif kind is bool:
            parts.append(b"t\x01" if value else b"t\x00")
        elif kind is int and -0x80000000 <= value <= 0x7FFFFFFF:
            parts.append(_TAGGED_I32.pack(b"I", value))
        else:
            parts.append(_encode_value(name, value, depth))
    body = b"".join(parts)
    return _U32.pack(len(body)) + body


def encode_field(name: str, value: Any) -> bytes:
    """Write the value of a field with its type; ``name`` appears only in errors.

    Raises:
        EncodingError: AMQP has no type for the value, or nesting is too deep.
    """
    return _encode_value(name, value, MAX_DEPTH)


def _encode_value(name: str, value: Any, depth: int) -> bytes:
    if value is None:
        return b"V"
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int):
        return _encode_int(name, value, isinstance(value, Int64))
    if isinstance(value, str):
        raw = _encode_text(value)
        return _TAGGED_U32.pack(b"S", len(raw)) + raw
    if isinstance(value, float):
        return _TAGGED_F64.pack(b"d", value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _TAGGED_U32.pack(b"x", len(value)) + bytes(value)
    if isinstance(value, datetime):
        return _encode_datetime(value)
    if isinstance(value, Mapping | list | tuple):
        return _encode_nested(name, value, depth)
    return _encode_decimal(name, value)


def _encode_text(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Surrogates that do not stand for a byte come from JSON such as "\\ud800".
        return text.encode("utf-8", "surrogatepass")


def _encode_int(name: str, value: int, is_long: bool) -> bytes:
    if not is_long and -0x80000000 <= value <= 0x7FFFFFFF:
        return _TAGGED_I32.pack(b"I", value)
    if -0x8000000000000000 <= value <= INT64_MAX:
        return _TAGGED_I64.pack(b"l", value)
    raise EncodingError(f"the integer in field {name!r} does not fit into 64 bits")


def _encode_datetime(value: datetime) -> bytes:
    # A naive datetime counts as UTC: field tables carry no time zone.
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return _TAGGED_I64.pack(b"T", floor(aware.timestamp()))


def _encode_nested(name: str, value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], depth: int) -> bytes:
    if depth <= 1:
        raise EncodingError(f"field {name!r} nests tables deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return b"F" + _encode_table(value, depth - 1)
    body = b"".join([_encode_value(name, item, depth - 1) for item in value])
    return _TAGGED_U32.pack(b"A", len(body)) + body


def _encode_decimal(name: str, value: Any) -> bytes:
    from decimal import Decimal

    if isinstance(value, Decimal) and value.is_finite():
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)  # it is a letter only for NaN and infinity
        # A number that fits has at most ten digits when written out.
        if -255 <= exponent <= 10 and len(digits) <= 10:
            number = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
            unscaled = -number if sign else number
            if -0x80000000 <= unscaled <= 0x7FFFFFFF:
                return b"D" + _DECIMAL.pack(max(0, -exponent), unscaled)
    raise EncodingError(
        f"field {name!r} has a value of type {type(value).__name__}, which AMQP tables cannot hold; "
        "use text, numbers, booleans, None, bytes, datetimes, lists or dictionaries"
    )
