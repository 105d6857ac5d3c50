"""Options that people write with a unit, or as a time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_SIZES: Final = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
_DURATIONS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Return the number of bytes in an option such as ``500MB``."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*([KMG]?)B?", value.strip().upper())
    if found is None:
        raise click.BadParameter(
            f"{value!r} is no size; write a number of bytes, or one with a unit as in 500MB"
        )
    return int(found[1]) * _SIZES[found[2]]


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Return the seconds in an option such as ``90d``."""
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is no duration; write a number with s, m, h, d or w, as in 90d")
    return seconds


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Return the time in an option, in seconds since 1970: a date, a time of day, or how long ago it is."""
    if value is None:
        return None
    now = datetime.now().astimezone()
    seconds = _seconds(value)
    if seconds is not None:
        return now.timestamp() - seconds
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", value):
            parts = [int(part) for part in value.split(":")]
            today = now.replace(hour=parts[0], minute=parts[1], second=0, microsecond=0)
            found = today + timedelta(seconds=parts[2] if len(parts) > 2 else 0)
            # A time of day that has not come yet was yesterday.
            return (found if found <= now else found - timedelta(days=1)).timestamp()
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.astimezone()).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time; write how long ago (30m, 2h, 7d), a time of day (08:00) or a date "
            "(2026-11-30, 2026-11-30T08:00)"
        ) from None


def spoken(seconds: float) -> str:
    """Return a time in the zone of the machine, to the second."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _seconds(value: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", value.strip().lower())
    return float(found[1]) * _DURATIONS[found[2]] if found else None
