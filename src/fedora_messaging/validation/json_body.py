"""JSON of message bodies: orjson where its verdict is the standard library's, that one elsewhere."""

import json
from encodings.aliases import aliases
from typing import Any, Final

try:
    import orjson
except ImportError:  # a distribution that does not package it yet
    orjson = None  # type: ignore[assignment]
else:
    # Distributions that do package it may have one whose process one message of 200 000 brackets ends.
    if tuple(int(part) for part in orjson.__version__.split(".")[:3] if part.isdecimal()) < (3, 9, 15):
        orjson = None  # type: ignore[assignment]

#: Deeper bodies are refused. How deep the standard library reads depends on the Python version and on
#: the stack in use; no schema in Fedora comes near (promise P20).
MAX_DEPTH: Final = 64

# orjson reads integers beyond 64 bits as floats, the standard library exactly. So many digits in a row are
# looked for in a copy in which all digits are alike, which takes a tenth of what a regular expression does.
_ALIKE: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_MANY_DIGITS: Final = b"0" * 18
#: Python's codecs that are no character sets, or take time out of proportion (punycode, idna).
_REFUSED: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"})
_CODECS: Final = frozenset(aliases.values()) | {"cp874", "cp1006", "koi8_t", "koi8_u", "utf_8_sig"}
_UTF8: Final = frozenset({"utf-8", "UTF-8", "utf8", "UTF8"})


class TooDeep(ValueError):
    """The document nests more than :data:`MAX_DEPTH` arrays and objects."""

    def __init__(self, message: str = f"JSON nested deeper than {MAX_DEPTH} levels") -> None:
        super().__init__(message)


class EncodingError(ValueError):
    """There is no such character encoding."""


def decode(body: bytes, encoding: str) -> Any:
    """Read a body.

    Raises:
        EncodingError: The encoding is unknown.
        ValueError: The bytes are not of it (``UnicodeDecodeError``), or the text is not JSON or nested too
            deep.
    """
    if orjson is not None and encoding in _UTF8 and _MANY_DIGITS not in body.translate(_ALIKE):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # the standard library decides, and its error texts are the compatible ones
        else:
            if _opening(body) > MAX_DEPTH:
                check_depth(value)
            return value
    return decode_text(_decode_characters(body, encoding))


def decode_text(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """Read JSON that is text already.

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
    # Python remembers every name it is asked for, known or not, for ever; so only known ones get there.
    name = encoding.lower().replace("-", "_").replace(" ", "_")
    if name in _REFUSED or not (name in aliases or name in _CODECS):
        raise EncodingError(f"unknown content encoding {encoding[:40]!r}")
    try:
        return body.decode(name)
    except LookupError as error:  # a codec, but not of characters: zlib, base64 and the like
        raise EncodingError(f"{encoding!r} is no character encoding") from error


def _opening(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def check_depth(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check that a value nests no deeper than so many arrays and objects.

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
