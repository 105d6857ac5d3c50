"""Sizes, durations and times that people write."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from fedora_messaging.cli import units

CONTEXT = click.Context(click.Command("command"))
OPTION = click.Option(["--option"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("0", 0), ("500MB", 500_000_000), ("2 k", 2000), ("1g", 1_000_000_000)],
)
def test_sizes(text: str | None, expected: int | None) -> None:
    assert units.size(CONTEXT, OPTION, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("90d", 90 * 86400), ("1.5h", 5400), ("2w", 14 * 86400), ("10 s", 10), ("3M", 180)],
)
def test_durations(text: str | None, expected: float | None) -> None:
    assert units.duration(CONTEXT, OPTION, text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1d", "5", "1y", "1e9d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        units.duration(CONTEXT, OPTION, text)


def test_times() -> None:
    now = datetime.now(UTC).timestamp()
    ago = units.moment(CONTEXT, OPTION, "2h")
    assert ago is not None
    assert 7199 <= now - ago < 7300
    assert units.moment(CONTEXT, OPTION, "2026-01-01T00:00:00+00:00") == 1767225600
    local = datetime(2026, 1, 1).astimezone().timestamp()
    assert units.moment(CONTEXT, OPTION, "2026-01-01") == local
    for text in ("0:00", "23:59:59"):
        found = units.moment(CONTEXT, OPTION, text)
        assert found is not None
        # Today, or yesterday if it has not come yet.
        assert 0 <= now + 60 - found <= 86400 + 7260


@pytest.mark.parametrize("text", ["yesterday", "25:00", "2026-13-01", "", "99999-01-01", "12:99"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        units.moment(CONTEXT, OPTION, text)
