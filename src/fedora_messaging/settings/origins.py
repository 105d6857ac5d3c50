"""Where the settings of a configuration come from."""

import re
from collections.abc import Mapping
from typing import Any, Final

_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def named(where: str, key: str) -> str:
    """Return the dotted name of a key in a table, quoted where TOML needs it."""
    part = key if _BARE_KEY.fullmatch(key) else quoted(key)
    return f"{where}.{part}" if where else part


def quoted(text: str) -> str:
    """Return a text as a TOML string that is safe to print: one line without control characters."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def origins_of(given: Mapping[str, Any], source: str, where: str = "") -> dict[str, str]:
    """Return the given source for each setting of a table and of the tables in it, by dotted name."""
    found: dict[str, str] = {}
    for key, value in given.items():
        name = named(where, key)
        found[name] = source
        if isinstance(value, Mapping):
            found |= origins_of(value, source, name)
    return found
