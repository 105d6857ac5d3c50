"""The reference of the broker has each difference from RabbitMQ that remains, in the order of the table."""

from __future__ import annotations

from pathlib import Path

from tests.differential.known import KNOWN

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "broker.md"
TITLE = "Differences from RabbitMQ that remain"


def test_the_reference_lists_exactly_the_known_differences() -> None:
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {TITLE}\n")[1].split("\n## ")[0]
    listed = [line[2:] for line in section.split("\n```")[0].splitlines() if line.startswith("- ")]
    assert listed == [f"{one.what} {one.reason}" for one in KNOWN]


def test_no_difference_is_listed_twice() -> None:
    assert len({one.what for one in KNOWN}) == len(KNOWN)


def test_every_difference_has_a_way_to_know_it() -> None:
    for one in KNOWN:
        assert one.reason.endswith(".")
        assert one.profiles
