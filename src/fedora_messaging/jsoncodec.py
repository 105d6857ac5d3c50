"""JSON of message bodies: orjson where its verdict is the standard library's, that one elsewhere."""

import json
import re
from typing import Any, Final

try:
    import orjson
except ImportError:  # a distribution that does not package it yet
    orjson = None  # type: ignore[assignment]

#: Deeper bodies are refused. How deep the standard library reads depends on the Python version and on
#: the stack in use; no schema in Fedora comes near (PITFALLS P20).
MAX_DEPTH: Final = 200

# orjson reads integers beyond 64 bits as floats, the standard library exactly.
_BIG_INTEGER: Final = re.compile(rb"[0-9]{18}")
_UTF8: Final = frozenset({"utf-8", "UTF-8", "utf8", "UTF8"})


class TooDeep(ValueError):
    """The document nests more than :data:`MAX_DEPTH` arrays and objects."""

    def __init__(self) -> None:
        super().__init__(f"JSON nested deeper than {MAX_DEPTH} levels")


def decode(body: bytes, encoding: str) -> Any:
    """Read a body.

    Raises:
        ValueError: The encoding is unknown, the bytes are not of it (``UnicodeDecodeError``), or the
            text is not JSON or nested too deep.
    """
    if orjson is not None and encoding in _UTF8 and not _BIG_INTEGER.search(body):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # the standard library decides, and its error texts are the compatible ones
        else:
            if _opening(body) > MAX_DEPTH:
                _check_depth(value)
            return value
    try:
        text = body.decode(encoding)
    except LookupError as error:
        raise ValueError(f"unknown content encoding {encoding!r}") from error
    try:
        value = json.loads(text)
    except RecursionError:
        raise TooDeep from None
    _check_depth(value)
    return value


def _opening(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
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
