"""What is told of a program's state at one moment."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.monitoring.snapshot import QueueSnapshot, Snapshot


def queue(name: str = "q", **changes: Any) -> QueueSnapshot:
    """A queue in which nothing happens."""
    still = QueueSnapshot(name, True, False, 0, None, 0.0, None, 0, ConsumerStats())
    return still._replace(**changes)


def snapshot(*queues: QueueSnapshot, consumed: ConsumerStats | None = None) -> Snapshot:
    return Snapshot(True, True, None, 0, consumed or ConsumerStats(), 0, None, queues)


def test_nothing_is_known_without_queues() -> None:
    empty = snapshot()
    assert (empty.in_flight, empty.oldest_in_flight, empty.last_message) == (0, None, None)


def test_nothing_is_known_of_queues_in_which_nothing_happened() -> None:
    still = snapshot(queue(), queue())
    assert (still.in_flight, still.oldest_in_flight, still.last_message) == (0, None, None)


def test_queues_are_summed_up() -> None:
    busy = snapshot(
        queue(in_flight=2, oldest_in_flight=0.0, last_message=1000.0),
        queue(),
        queue(in_flight=3, oldest_in_flight=7.5, last_message=900.0),
    )
    assert (busy.in_flight, busy.oldest_in_flight, busy.last_message) == (5, 7.5, 1000.0)


def test_counters_of_ready_are_those_of_version_3_9_in_their_order() -> None:
    counted = ConsumerStats(6, 5, 4, 3, 2, invalid=1, retried=1, dead_lettered=1, duplicates=1, redelivered=1)
    assert list(snapshot(consumed=counted).ready_counters().items()) == [
        ("received", 6),
        ("processed", 5),
        ("dropped", 4),
        ("rejected", 3),
        ("failed", 2),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"unchanged": 60.0}, None),
        ({"unchanged": 60.4}, "no progress: no message of queue 'q' was settled for 60 s"),
        ({"stalled": True}, "no progress: messages wait in queue 'q', and none arrives"),
        ({"stalled": True, "unchanged": 99.0}, "no progress: messages wait in queue 'q', and none arrives"),
    ],
)
def test_no_progress(changes: dict[str, Any], reason: str | None) -> None:
    assert queue(**changes).no_progress(60) == reason
