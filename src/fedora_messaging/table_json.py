"""Headers as JSON: what only AMQP knows is written as text, with its type told beside it.

JSON lacks four types that a field table may hold. Each is written as text at its place, and a JSON object
beside the headers maps the place, a JSON pointer (RFC 6901), to the type:

=============  ======================  ===================================
type           Python                  text
=============  ======================  ===================================
``timestamp``  ``datetime``            ISO 8601, in UTC
``decimal``    ``decimal.Decimal``     as in ``12.50``
``bytes``      ``bytes``               Base64
``float``      ``float``, not finite   ``nan``, ``inf`` or ``-inf``
=============  ======================  ===================================

Headers without such values have an empty object, and look like any other JSON.
"""

import math
import re
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def to_json(value: Any) -> tuple[Any, dict[str, str]]:
    """Return a value as JSON can hold it, and the types that JSON lacks, by JSON pointer.

    What neither JSON nor AMQP can hold is left as it is.
    """
    types: dict[str, str] = {}
    return _plain(value, "", types), types


def _plain(value: Any, pointer: str, types: dict[str, str]) -> Any:
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, Mapping):
        return {
            # Most are texts, which need no pointer.
            name: item if isinstance(item, str) else _plain(item, f"{pointer}/{_escaped(name)}", types)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{pointer}/{place}", types) for place, item in enumerate(value)]
    written = _written(value)
    if written is None:
        return value
    types[pointer], text = written
    return text


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def _written(value: Any) -> tuple[str, str] | None:
    """Return type and text of a value that JSON lacks."""
    if isinstance(value, datetime):
        # As in field tables, a time without zone is UTC.
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return "timestamp", aware.astimezone(UTC).isoformat()
    # A program that has not imported the module has no such value; most programs never do.
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return "decimal", str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", b2a_base64(value, newline=False).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "float", str(value)
    return None


def _timestamp(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "timestamp": _timestamp,
    "decimal": _decimal,
    "bytes": lambda text: a2b_base64(text, strict_mode=True),
    "float": float,
}


def from_json(value: Any, types: Any) -> Any:
    """Return the value that :func:`to_json` wrote; the given one is not changed.

    Raises:
        ValueError: The types are not those of this value.
    """
    if not isinstance(types, dict):
        raise ValueError("the types of headers must be an object in {}")
    by_path: dict[tuple[str, ...], str] = {}
    for pointer, kind in types.items():
        first, *names = pointer.split("/")
        if first or not names:
            raise ValueError(f"{pointer!r} is no JSON pointer to a header")
        by_path[tuple(name.replace("~1", "/").replace("~0", "~") for name in names)] = kind
    restored = _restored(value, (), by_path)
    if by_path:
        raise ValueError(f"there is no header {'/'.join(next(iter(by_path)))!r}, whose type is given")
    return restored


def _restored(value: Any, path: tuple[str, ...], by_path: dict[tuple[str, ...], str]) -> Any:
    if isinstance(value, dict):
        return {name: _restored(item, (*path, name), by_path) for name, item in value.items()}
    if isinstance(value, list):
        return [_restored(item, (*path, str(place)), by_path) for place, item in enumerate(value)]
    kind = by_path.pop(path, None)
    return value if kind is None else _read(value, kind)


def _read(value: Any, kind: Any) -> Any:
    if not isinstance(kind, str) or kind not in _READERS:
        raise ValueError(f"{kind!r} is no type of a header; it is one of {', '.join(sorted(_READERS))}")
    if not isinstance(value, str):
        raise ValueError(f"a header of type {kind} must be text, but is {value!r}")
    try:
        return _READERS[kind](value)
    except (ValueError, ArithmeticError) as error:  # decimal.InvalidOperation is arithmetic
        raise ValueError(f"a header of type {kind} is {value[:40]!r}, which cannot be read") from error


def encodable(text: str) -> str:
    """Return JSON that UTF-8 can hold: a lone surrogate, which it cannot, becomes its escape in JSON."""
    # No surrogate is printable, and that is told faster than one is looked for.
    return text if text.isprintable() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
