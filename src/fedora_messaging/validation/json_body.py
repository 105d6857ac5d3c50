"""Reads JSON bodies: with orjson where it agrees with the standard library, else with the latter."""

import json
from encodings.aliases import aliases
from functools import cache
from types import ModuleType
from typing import Any, Final

from ..forking import setting_up

#: Bodies that nest deeper are refused. The standard library's own limit depends on the Python version and
#: the stack in use. No schema in Fedora comes near this one (promise P20).
MAX_DEPTH: Final = 64

# orjson reads integers beyond 64 bits as floats, the standard library reads them exactly. To find so many
# digits in a row, we search a copy in which every digit is 0: this takes a tenth of the time of a regular
# expression.
_ALIKE: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_MANY_DIGITS: Final = b"0" * 18
#: Python's codecs that are not character sets, or are disproportionately slow (punycode, idna).
_REFUSED: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})
_CODECS: Final = frozenset(aliases.values()) | {"cp874", "cp1006", "koi8_t", "koi8_u", "utf_8_sig"}
_UTF8: Final = frozenset({"utf-8", "UTF-8", "utf8", "UTF8"})


@cache
def orjson_library() -> ModuleType | None:
    """Return orjson, imported when the first body arrives; ``None`` if it is missing, or too old."""
    with setting_up:
        try:
            import orjson
        except ImportError:  # some Linux distributions do not package it yet
            return None
    # Other distributions package a version that a message of 200 000 brackets crashes.
    version = tuple(int(part) for part in orjson.__version__.split(".")[:3] if part.isdecimal())
    return None if version < (3, 9, 15) else orjson


class TooDeep(ValueError):
    """The document nests arrays and objects deeper than :data:`MAX_DEPTH` levels."""

    def __init__(self, message: str = f"JSON nested deeper than {MAX_DEPTH} levels") -> None:
        super().__init__(message)


class EncodingError(ValueError):
    """The character encoding is unknown."""


def decode(body: bytes, encoding: str) -> Any:
    """Read a body.

    Raises:
        EncodingError: The encoding is unknown.
        ValueError: The bytes are invalid in this encoding (``UnicodeDecodeError``), or the text is not JSON
            or nested too deep.
    """
    orjson = orjson_library()
    if orjson is not None and encoding in _UTF8 and _MANY_DIGITS not in body.translate(_ALIKE):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # the standard library decides below; its error texts are the compatible ones
        else:
            if _opening(body) > MAX_DEPTH:
                check_depth(value)
            return value
    return decode_text(_decode_characters(body, encoding))


def decode_text(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """Read JSON from text.

    Raises:
        ValueError: It is not JSON or nested too deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise TooDeep from None
    check_depth(value, max_depth)
    return value


def _decode_characters(body: bytes, encoding: str) -> str:
    # Python caches every codec name it is asked for, known or not, for ever. So we pass on known ones only.
    name = encoding.lower().replace("-", "_").replace(" ", "_")
    if name in _REFUSED or not (name in aliases or name in _CODECS):
        raise EncodingError(f"unknown content encoding {encoding[:40]!r}")
    try:
        return body.decode(name)
    except LookupError as error:  # a codec but not a character set, such as zlib or base64
        raise EncodingError(f"{encoding!r} is no character encoding") from error


def _opening(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def check_depth(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check that a value does not nest arrays and objects deeper than ``max_depth`` levels.

    Raises:
        TooDeep: It does.
    """
    level = [value]
    for _ in range(max_depth):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, dict | list)]
        if not level:
            return
    raise TooDeep
