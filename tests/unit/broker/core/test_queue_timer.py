"""When a queue asks to be called, and for what."""

from __future__ import annotations

import pytest
from tests.unit.broker.core.support import message

from fedora_messaging.broker.core.message import Entry, new_entry
from fedora_messaging.broker.core.queue_timer import QueueTimer


class World:
    """A clock that the test sets.

    Attributes:
        now: The time.
        asked: Times that the timer asked for.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[float] = []

    def timer(self, expires: int | None = None) -> QueueTimer:
        return QueueTimer(expires, lambda: self.now, self.asked.append)


@pytest.fixture
def world() -> World:
    return World()


def due(when: float | None) -> Entry:
    return new_entry(message(), 1, 0, when)


def test_nothing_that_is_due_asks_for_nothing(world: World) -> None:
    timer = world.timer()
    timer.touch()
    timer.ask_for_expiry()
    timer.ask_for(None)
    timer.ask_for(due(None))
    assert world.asked == []
    assert not timer.is_unused(1e12)


def test_only_an_earlier_time_is_asked_for(world: World) -> None:
    timer = world.timer()
    for when in (1005.0, 1007.0, 1005.0, 1003.0, 1004.0):
        timer.ask_for(due(when))
    assert world.asked == [1005.0, 1003.0]


def test_after_the_time_came_a_later_one_is_asked_for(world: World) -> None:
    timer = world.timer()
    timer.ask_for(due(1003.0))
    timer.came()
    timer.ask_for(due(1007.0))
    assert world.asked == [1003.0, 1007.0]


def test_time_that_has_passed_is_asked_for(world: World) -> None:
    world.timer().ask_for(due(0.0))
    assert world.asked == [0.0]


def test_lifetime_begins_with_the_queue(world: World) -> None:
    timer = world.timer(1500)
    assert world.asked == []
    timer.ask_for_expiry()
    assert world.asked == [1001.5]
    assert [timer.is_unused(when) for when in (1001.4, 1001.5, 1001.6)] == [False, True, True]


def test_use_begins_the_lifetime_anew(world: World) -> None:
    timer = world.timer(1500)
    timer.touch()
    world.now = 1001.0
    timer.touch()
    # The call for the first time will come, and find the queue in use.
    assert world.asked == [1001.5]
    assert not timer.is_unused(1001.5)
    timer.came()
    timer.ask_for_expiry()
    assert world.asked == [1001.5, 1002.5]
    assert timer.is_unused(1002.5)


def test_message_that_is_due_before_the_queue(world: World) -> None:
    timer = world.timer(1500)
    timer.touch()
    timer.ask_for(due(1001.0))
    timer.ask_for(due(1002.0))
    assert world.asked == [1001.5, 1001.0]


# Another lifetime


def test_new_lifetime_counts_from_now(world: World) -> None:
    """A queue that has been idle for an hour has this time left, too."""
    timer = world.timer()
    world.now = 4600.0
    timer.change_expiry(1000)
    assert world.asked == [4601.0]
    assert [timer.is_unused(when) for when in (4600.0, 4600.9, 4601.0)] == [False, False, True]


def test_shorter_lifetime_is_asked_for(world: World) -> None:
    timer = world.timer(60_000)
    timer.touch()
    timer.change_expiry(1000)
    assert world.asked == [1060.0, 1001.0]


def test_longer_lifetime_is_asked_for_when_the_shorter_one_is_over(world: World) -> None:
    timer = world.timer(1000)
    timer.touch()
    timer.change_expiry(60_000)
    assert world.asked == [1001.0]
    assert not timer.is_unused(1001.0)
    timer.came()
    timer.ask_for_expiry()
    assert world.asked == [1001.0, 1060.0]


def test_queue_without_a_lifetime_any_more(world: World) -> None:
    timer = world.timer(1000)
    timer.touch()
    timer.change_expiry(None)
    timer.came()
    timer.touch()
    assert world.asked == [1001.0]
    assert not timer.is_unused(1e12)
