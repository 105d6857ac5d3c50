"""How fast counters grow."""

from __future__ import annotations

import gc

import pytest

from fedora_messaging.web.management.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Anything that has totals."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(clock)


def rate(shown: dict[str, object], name: str = "n") -> object:
    details = shown[f"{name}_details"]
    assert isinstance(details, dict)
    return details["rate"]


def test_the_first_look_finds_no_rate(rates: Rates) -> None:
    assert rates.with_details(Source(), {"a": 5, "b": 7}) == {
        "a": 5,
        "a_details": {"rate": 0.0},
        "b": 7,
        "b_details": {"rate": 0.0},
    }


def test_rates_are_those_of_five_seconds_at_least(rates: Rates, clock: Clock) -> None:
    source = Source()
    rates.with_details(source, {"n": 10})
    clock.now = 4.9
    assert rate(rates.with_details(source, {"n": 20})) == 0.0
    clock.now = 5.0
    assert rate(rates.with_details(source, {"n": 20})) == 2.0
    clock.now = 9.9
    assert rate(rates.with_details(source, {"n": 1000})) == 2.0
    clock.now = 15.0
    assert rate(rates.with_details(source, {"n": 21})) == 0.1


def test_totals_that_shrink_have_negative_rates(rates: Rates, clock: Clock) -> None:
    source = Source()
    rates.with_details(source, {"n": 10})
    clock.now = 10.0
    assert rate(rates.with_details(source, {"n": 0})) == -1.0


def test_totals_that_are_new_count_from_zero(rates: Rates, clock: Clock) -> None:
    source = Source()
    rates.with_details(source, {})
    clock.now = 5.0
    assert rate(rates.with_details(source, {"n": 10})) == 2.0


def test_kinds_and_sources_are_kept_apart(rates: Rates, clock: Clock) -> None:
    first, second = Source(), Source()
    rates.with_details(first, {"n": 0})
    rates.with_details(first, {"n": 100}, "other")
    clock.now = 5.0
    assert rate(rates.with_details(first, {"n": 5})) == 1.0
    assert rate(rates.with_details(first, {"n": 100}, "other")) == 0.0
    assert rate(rates.with_details(second, {"n": 5})) == 0.0


def test_what_is_gone_is_forgotten(rates: Rates) -> None:
    source = Source()
    rates.with_details(source, {"n": 0})
    del source
    gc.collect()
    assert len(rates._measured) == 0
