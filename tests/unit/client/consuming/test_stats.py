"""Counters of several consumers are added up, and copies do not change any more."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fedora_messaging.client.consuming.stats import ConsumerStats

#: Each counter with a number of its own.
NUMBERED: dict[str, Any] = {
    "received": 1,
    "processed": 2,
    "dropped": 3,
    "rejected": 4,
    "failed": 5,
    "invalid": 6,
    "retried": 7,
    "dead_lettered": 8,
    "duplicates": 9,
    "redelivered": 10,
}


def test_every_counter_is_added() -> None:
    assert set(ConsumerStats().as_dict()) == {*NUMBERED, "invalid_kinds"}
    hundreds: dict[str, Any] = dict.fromkeys(NUMBERED, 100)
    total = ConsumerStats(**NUMBERED) + ConsumerStats(**hundreds)
    assert total == ConsumerStats(**{name: 100 + number for name, number in NUMBERED.items()})


def test_kinds_are_added_kind_by_kind() -> None:
    one = ConsumerStats(invalid_kinds=Counter(json=1, schema=2))
    other = ConsumerStats(invalid_kinds=Counter(schema=3, size=4))
    assert (one + other).invalid_kinds == {"json": 1, "schema": 5, "size": 4}


def test_sum_and_copy_stay_when_more_is_counted() -> None:
    stats = ConsumerStats(invalid=1, invalid_kinds=Counter(json=1))
    total, copied = stats + ConsumerStats(), stats.as_dict()
    stats.invalid += 1
    stats.invalid_kinds["json"] += 1
    assert (total.invalid, total.invalid_kinds) == (1, {"json": 1})
    assert (copied["invalid"], copied["invalid_kinds"]) == (1, {"json": 1})


def test_counters_by_name() -> None:
    assert ConsumerStats(**NUMBERED).as_dict() == {**NUMBERED, "invalid_kinds": {}}


def test_each_consumer_has_kinds_of_its_own() -> None:
    ConsumerStats().invalid_kinds["json"] += 1
    assert ConsumerStats().invalid_kinds == {}
