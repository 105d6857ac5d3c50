"""Counters: what is added from where."""

from __future__ import annotations

from fedora_messaging.broker.core.counters import Counters

PUBLISHING = ("publish", "confirm", "return_unroutable", "drop_unroutable")
DELIVERIES = ("deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "ack", "redeliver")


def counted(start: int) -> Counters:
    """Make counters with a value of their own each."""
    counters = Counters()
    for number, name in enumerate(PUBLISHING + DELIVERIES, start):
        setattr(counters, name, number)
    return counters


def values(counters: Counters) -> list[int]:
    return [getattr(counters, name) for name in PUBLISHING + DELIVERIES]


def test_counters_start_at_zero_and_there_are_no_others() -> None:
    assert values(Counters()) == [0] * 11
    assert set(Counters.__slots__) == {*PUBLISHING, *DELIVERIES}


def test_publishing_is_added_without_deliveries() -> None:
    counters, other = counted(1), counted(100)
    counters.add_publishing(other)
    assert values(counters) == [101, 103, 105, 107, 5, 6, 7, 8, 9, 10, 11]
    assert values(other) == values(counted(100))


def test_deliveries_are_added_without_publishing() -> None:
    counters, other = counted(1), counted(100)
    counters.add_deliveries(other)
    assert values(counters) == [1, 2, 3, 4, 109, 111, 113, 115, 117, 119, 121]
    assert values(other) == values(counted(100))
