"""How long the client waits between attempts; the clock and the dice are those of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.client.backoff import STEADY, Backoff
from fedora_messaging.options import BackoffOptions

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = BackoffOptions(initial=1.0, factor=3.0, maximum=10.0)


def highest() -> float:
    return 1.0


def test_backoff_begins_anew_after_some_seconds_or_by_use() -> None:
    now = 0.0
    backoff = Backoff(jitter=highest, clock=lambda: now)
    first = backoff.next()
    assert first is not None
    for number in range(1, 4):
        backoff.succeeded()
        assert (backoff.attempts, backoff.ceiling) == (0, backoff.initial)
        now += STEADY / 2
        assert backoff.next() == first * backoff.factor**number
    backoff.succeeded()
    now += STEADY
    assert backoff.next() == first
    backoff.succeeded()
    backoff.reset()
    assert backoff.next() == first


def test_what_is_seldom_lost_is_made_again_at_once() -> None:
    now = 0.0
    backoff = Backoff(jitter=highest, clock=lambda: now)
    assert backoff.again() == 0.0
    backoff.succeeded()
    assert backoff.again() == backoff.initial
    backoff.succeeded()
    assert backoff.again() == backoff.initial * backoff.factor
    now += STEADY
    assert backoff.again() == 0.0


@pytest.mark.parametrize(
    ("jitter", "expected"),
    [
        (highest, [1.0, 3.0, 9.0, 10.0, 10.0]),
        (lambda: 0.5, [0.5, 1.5, 4.5, 5.0, 5.0]),
        (lambda: 0.0, [0.0] * 5),
    ],
    ids=["highest", "middle", "lowest"],
)
def test_ceiling_grows_up_to_its_cap_and_the_jitter_takes_a_part(
    jitter: Callable[[], float], expected: list[float]
) -> None:
    backoff = Backoff(OPTIONS, jitter)
    assert [backoff.next() for _ in range(5)] == expected
    assert backoff.attempts == 5


def test_gives_up_after_as_many_failures_in_a_row_as_the_limit_is() -> None:
    backoff = Backoff(OPTIONS, highest, clock=lambda: 0.0)
    backoff.limit = 2
    assert [backoff.next() for _ in range(3)] == [1.0, 3.0, None]
    # A success counts anew, though the delays go on where they were.
    backoff.succeeded()
    assert [backoff.next() for _ in range(3)] == [9.0, 10.0, None]


def test_gives_up_at_once_when_told_not_to_try() -> None:
    backoff = Backoff(OPTIONS, highest)
    backoff.keep_trying = False
    assert backoff.next() is None
    backoff.keep_trying = True
    assert backoff.next() == 1.0


def test_what_it_is_told_applies_from_the_next_delay_on() -> None:
    backoff = Backoff(OPTIONS, highest)
    assert backoff.next() == 1.0
    backoff.factor, backoff.maximum = 5.0, 100.0
    assert [backoff.next(), backoff.next()] == [3.0, 15.0]
    backoff.initial = 2.0
    backoff.reset()
    assert backoff.next() == 2.0
