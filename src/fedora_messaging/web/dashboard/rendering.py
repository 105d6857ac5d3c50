"""Templates, and how they write numbers and times."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import ChainableUndefined, Environment, PackageLoader

from ...message import DEBUG, ERROR, INFO, WARNING

#: Parts, characters and levels of a value, and characters of a text and of a name in it, that a page shows.
_MOST_PARTS: Final = 2_000
_MOST_CHARACTERS: Final = 100_000
_DEEPEST: Final = 60
_LONGEST_TEXT: Final = 20_000
_LONGEST_NAME: Final = 300
_SEVERITIES: Final = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error"}


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates, which escape all that is put into them."""
    found = Environment(
        loader=PackageLoader("fedora_messaging.web.dashboard"),
        autoescape=True,
        # Brokers leave out what they have not counted yet.
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    from .visit import address

    found.globals["address"] = address
    # In the order of the page, for example of a plot's lines.
    found.policies["json.dumps_kwargs"] = {"sort_keys": False}
    found.filters |= {
        "number": number,
        "rate": rate,
        "size": size,
        "when": when,
        "ago": ago,
        "severity": severity_name,
        "pretty": pretty,
        "visible": visible,
        "shortened": shortened,
    }
    return found


def render(template: str, **context: Any) -> str:
    """Return a page as text."""
    return environment().get_template(template).render(context)


def number(value: Any) -> str:
    """Return a number with spaces between thousands; a dash for none."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else "–"


def rate(value: Any) -> str:
    """Return a rate per second."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.1f}/s" if value < 100 else f"{number(round(value))}/s"


def size(value: Any) -> str:
    """Return a number of bytes with its unit."""
    if not isinstance(value, int | float) or value < 0:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def when(seconds: Any) -> str:
    """Return a time in UTC; the browser's script shows it in the zone of the reader."""
    if not isinstance(seconds, int | float):
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return ""


def ago(seconds: Any) -> str:
    """Return a duration in one or two words."""
    if not isinstance(seconds, int | float) or seconds < 0:
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def severity_name(value: Any) -> str:
    """Return the name of a severity."""
    return _SEVERITIES.get(value, str(value))


def pretty(value: Any) -> str:
    """Return a value as JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def visible(text: Any) -> str:
    """Return a text with signs in place of controls and direction marks, which would move other text."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape", "replace").decode()
        for char in str(text).encode("utf-8", "replace").decode()
    )


def shortened(value: Any) -> Any:
    """Return a value of JSON with no more in it than a page can show.

    What is left out is named where it would be; long texts are cut.
    """
    return _Shortener().shortened(value, 0)


class _Shortener:
    """Counts what is left to show of a value."""

    def __init__(self) -> None:
        self._parts = _MOST_PARTS
        self._characters = _MOST_CHARACTERS

    def shortened(self, value: Any, depth: int) -> Any:
        self._parts -= 1
        if isinstance(value, str):
            return self._cut(value, _LONGEST_TEXT)
        if not isinstance(value, dict | list):
            return value
        if depth >= _DEEPEST:
            return "… (nested more deeply)"
        if isinstance(value, list):
            return self._list(value, depth)
        return self._object(value, depth)

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, part in value.items():
            if self._is_full():
                shown["…"] = f"{len(value) - len(shown)} more"
                break
            shown[self._cut(str(name), _LONGEST_NAME)] = self.shortened(part, depth + 1)
        return shown

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for part in value:
            if self._is_full():
                shown.append(f"… {len(value) - len(shown)} more")
                break
            shown.append(self.shortened(part, depth + 1))
        return shown

    def _is_full(self) -> bool:
        return self._parts <= 0 or self._characters <= 0

    def _cut(self, text: str, most: int) -> str:
        most = min(most, max(self._characters, 0))
        self._characters -= min(len(text), most)
        return cut(text, most)


def cut(text: str, most: int) -> str:
    """Return a text, or its beginning with a note of how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({number(len(text))} characters)"
