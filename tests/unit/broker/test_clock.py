"""The broker's clock begins with the wall clock, and goes its own way from there."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many seconds have passed since the machine was started; the wall clock stands at 5000."""
    seconds = 70.0

    def gettime(clock: int) -> float:
        assert clock == time.CLOCK_BOOTTIME, "only this one goes on while the machine sleeps"
        return seconds

    def set_seconds(new: float) -> None:
        nonlocal seconds
        seconds = new

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(time, "clock_gettime", gettime)
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    return set_seconds


def test_clock_begins_at_the_time_of_day(passed: Callable[[float], None]) -> None:
    passed(70.0)
    assert Clock()() == 5000.0


def test_time_passes_as_the_machine_counts_it(passed: Callable[[float], None]) -> None:
    clock = Clock()
    passed(70.25)
    assert clock() == 5000.25
    passed(3670.0)
    assert clock() == 8600.0


@pytest.mark.parametrize("wall", [0.0, 1e9])
def test_clock_that_is_set_changes_nothing(
    passed: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, wall: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: wall)
    passed(71.0)
    assert clock() == 5001.0
    # A broker that starts now begins with the new time.
    assert Clock()() == wall


def test_other_systems_have_the_monotonic_clock(
    passed: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(time, "monotonic", lambda: 10.0)
    clock = Clock()
    passed(99.0)
    monkeypatch.setattr(time, "monotonic", lambda: 12.5)
    assert clock() == 5002.5


def test_real_clock_never_goes_back() -> None:
    before = time.time()
    clock = Clock()
    seen = [clock() for _ in range(1000)]
    assert seen == sorted(seen)
    assert before - 1 < seen[0] <= seen[-1] < time.time() + 1
