"""The reference of the broker has each difference between the profiles, once and in their order."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "broker.md"


def rows() -> list[list[str]]:
    """The cells of the table, row by row."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Profiles\n")[1]
    lines = re.findall(r"^\| `.*\|$", section.split("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_rule_has_a_row() -> None:
    assert [name for name, *_ in rows()] == [f"`{rule.name}`" for rule in fields(Profile)]


def test_rows_tell_a_difference() -> None:
    for _name, about, old, new in rows():
        assert about
        assert old != new


def test_numbers_are_those_of_the_profiles() -> None:
    told = {name.strip("`"): (old, new) for name, _about, old, new in rows()}
    for rule, unit in (("version", ""), ("frame_min", " bytes")):
        assert told[rule] == tuple(f"{getattr(one, rule)}{unit}" for one in (RABBITMQ_3, RABBITMQ_4))
    assert told["max_body"] == tuple(f"{one.max_body >> 20} MiB" for one in (RABBITMQ_3, RABBITMQ_4))
    assert told["unknown_exchange_type"] == ("503 closes the connection", "406 closes the channel")
    assert (RABBITMQ_3.unknown_exchange_type, RABBITMQ_4.unknown_exchange_type) == (503, 406)
    assert f"more than {RABBITMQ_4.quorum_delivery_limit} " in told["quorum_delivery_limit"][1]
    assert f"0 to {RABBITMQ_4.quorum_priorities};" in told["quorum_priorities"][1]
