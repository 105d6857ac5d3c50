"""What the watch of a deaf consumer asks, when, and what it does then; time is that of the test."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from tests.unit.client.support import now, run

from fedora_messaging.client.consuming.watchdog import ProgressWatch
from fedora_messaging.exceptions import (
    BadDeclaration,
    ChannelClosed,
    ConnectionException,
    NoFreeChannels,
)

if TYPE_CHECKING:
    import pytest

FORBIDDEN = BadDeclaration("queue", "q", ChannelClosed(403, "ACCESS_REFUSED - no"))
GONE = BadDeclaration("queue", "q", ChannelClosed(404, "NOT_FOUND - no"))
WAITING = "messages wait in the queue, and none arrives"
NO_HELP = "messages wait in the queue, and to subscribe again has not helped"
SEPARATED = "another node says that messages wait in the queue, and none arrives"


class Deaf:
    """A consumer that is asked as often as it has answers, and then lets nobody ask any more.

    Attributes:
        answers: How many messages wait, or why that cannot be told.
        elsewhere: What another node says.
        done: What the watch did, and at what second.
    """

    def __init__(self, *answers: int | Exception, elsewhere: int = 0) -> None:
        self.deliveries = 0
        self.connections: deque[bool] = deque()
        self.settling: deque[int] = deque()
        self.answers = deque(answers)
        self.elsewhere = elsewhere
        self.asked: list[float] = []
        self.done: list[tuple[float, str, str]] = []
        self.stalled: list[bool] = []
        self.arriving = False
        self.watch: ProgressWatch | None = None

    @property
    def connected(self) -> bool:
        return self.connections.popleft() if self.connections else True

    @property
    def unsettled(self) -> int:
        return self.settling.popleft() if self.settling else 0

    async def count_waiting(self) -> int:
        assert self.watch is not None
        self.asked.append(now())
        self.stalled.append(self.watch.stalled)
        if self.arriving:
            self.deliveries += 1
        answer = self.answers.popleft() if self.answers else FORBIDDEN
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def count_elsewhere(self) -> int:
        return self.elsewhere

    def resubscribe(self, why: str) -> None:
        self.done.append((now(), "resubscribe", why))

    def reconnect(self, why: str) -> None:
        self.done.append((now(), "reconnect", why))


def watched(consumer: Deaf, interval: float = 60.0) -> ProgressWatch:
    """Watch until nobody may ask any more."""
    consumer.watch = ProgressWatch(consumer, interval)
    run(consumer.watch.run())
    return consumer.watch


def test_help_comes_soon_and_then_ever_more_seldom() -> None:
    consumer = Deaf(*[1] * 7)
    watched(consumer)
    # The first suspicion may be of a message that comes at this very moment.
    assert consumer.asked == [60, 70, 80, 90, 110, 150, 230, 390]
    assert consumer.done == [
        (70, "resubscribe", WAITING),
        (80, "reconnect", NO_HELP),
        (90, "resubscribe", WAITING),
        (110, "reconnect", NO_HELP),
        (150, "resubscribe", WAITING),
        (230, "reconnect", NO_HELP),
    ]
    assert consumer.stalled == [False, False, True, True, True, True, True, True]


def test_help_comes_once_an_hour_at_last() -> None:
    consumer = Deaf(*[1] * 20)
    watched(consumer)
    assert consumer.asked[-1] - consumer.asked[-2] == 3600


def test_empty_queue_and_progress_end_the_suspicion() -> None:
    consumer = Deaf(1, 0, 1, 1)
    watched(consumer)
    assert consumer.asked == [60, 70, 130, 140, 150]
    assert consumer.done == [(140, "resubscribe", WAITING)]


def test_answer_that_comes_behind_a_delivery_is_no_suspicion() -> None:
    consumer = Deaf(1, 1, 1)
    consumer.arriving = True
    watch = watched(consumer)
    assert (consumer.done, watch.stalled) == ([], False)
    assert consumer.asked == [60, 120, 180, 240]


def test_busy_consumer_is_not_asked_about() -> None:
    consumer = Deaf()
    consumer.settling.extend([1, 1])
    watched(consumer)
    assert consumer.asked == [180]


def test_what_cannot_be_told_neither_adds_to_a_suspicion_nor_ends_it() -> None:
    consumer = Deaf(1, 1, ConnectionException(reason="gone"), NoFreeChannels(), 1)
    consumer.connections.extend([True, True, False])
    watched(consumer)
    # At 80 there was no connection.
    assert consumer.asked == [60, 70, 90, 100, 110, 120]
    assert consumer.done == [(70, "resubscribe", WAITING), (110, "reconnect", NO_HELP)]
    assert consumer.stalled == [False, False, True, True, True, True]


def test_queue_that_is_gone_counts_as_deaf() -> None:
    consumer = Deaf(GONE, GONE)
    watched(consumer)
    assert consumer.done == [(70, "resubscribe", WAITING)]


def test_separated_node_is_left_at_once() -> None:
    consumer = Deaf(0, 0, 0, elsewhere=3)
    watched(consumer)
    assert consumer.done == [(70, "reconnect", SEPARATED), (80, "reconnect", SEPARATED)]


def test_broker_that_does_not_let_us_ask_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Deaf(0, FORBIDDEN)
    with caplog.at_level(logging.INFO):
        watched(consumer, interval=6.0)
    assert (consumer.asked, consumer.done) == ([6, 12], [])
    assert caplog.messages == [
        "The broker does not tell whether messages wait, so nobody watches them: (403) ACCESS_REFUSED - no"
    ]
