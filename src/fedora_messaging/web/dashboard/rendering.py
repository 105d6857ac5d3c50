"""Templates, and how they write numbers and times."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import ChainableUndefined, Environment, PackageLoader

from ...message import DEBUG, ERROR, INFO, WARNING

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
