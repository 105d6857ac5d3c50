"""Samples of the management API become what a plot needs."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fedora_messaging.web.dashboard.samples import series


def stats(**samples: list[tuple[float, float]]) -> dict[str, Any]:
    """Totals as the management API writes them: the newest sample first, times in milliseconds."""
    return {
        f"{name}_details": {
            "rate": 0.0,
            "samples": [{"sample": value, "timestamp": time * 1000} for time, value in reversed(pairs)],
        }
        for name, pairs in samples.items()
    }


def test_growth_per_second() -> None:
    found = series(stats(publish=[(10, 0), (15, 50), (20, 50), (30, 150)]), {"publish": "in"})
    assert found == {"times": [15, 20, 30], "series": {"in": [10, 0, 10]}, "unit": "per second"}


def test_totals() -> None:
    found = series(stats(messages=[(10, 3), (15, 5)]), {"messages": "ready"}, is_rate=False)
    assert found == {"times": [10, 15], "series": {"ready": [3, 5]}, "unit": "messages"}


def test_several_with_samples_of_different_times() -> None:
    found = series(
        stats(a=[(10, 1), (15, 2)], b=[(15, 3), (20, 4)]), {"a": "A", "b": "B", "c": "C"}, is_rate=False
    )
    assert found["times"] == [10, 15, 20]
    assert found["series"] == {"A": [1, 2, None], "B": [None, 3, 4]}


def test_a_broker_that_starts_again_counts_from_none() -> None:
    assert series(stats(a=[(10, 500), (15, 0), (20, 10)]), {"a": "A"})["series"] == {"A": [0, 2]}


def test_no_samples_yet() -> None:
    nothing = {"times": [], "series": {}, "unit": "per second"}
    assert series({}, {"a": "A"}) == nothing
    assert series({"a": 7}, {"a": "A"}) == nothing
    assert series({"a_details": None}, {"a": "A"}) == nothing
    assert series({"a_details": {"rate": 1.0}}, {"a": "A"}) == nothing
    assert series({"a_details": {"samples": []}}, {"a": "A"}) == nothing
    # One sample tells no growth.
    assert series(stats(a=[(10, 1)]), {"a": "A"}) == nothing


def test_two_samples_of_one_time() -> None:
    assert series(stats(a=[(10, 1), (10, 2), (15, 7)]), {"a": "A"})["series"] == {"A": [1]}


POINTS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10**12)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(first=POINTS, second=POINTS, is_rate=st.booleans())
def test_lists_are_as_long_as_times(
    first: list[tuple[float, float]], second: list[tuple[float, float]], is_rate: bool
) -> None:
    found = series(stats(a=first, b=second), {"a": "A", "b": "B"}, is_rate)
    assert found["times"] == sorted(set(found["times"]))
    for values in found["series"].values():
        assert len(values) == len(found["times"])
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in values)
        assert any(value is not None for value in values)
