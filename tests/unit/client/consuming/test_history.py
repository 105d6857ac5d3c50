"""The history that a message carries from attempt to attempt."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fedora_messaging.client.consuming.history import HEADER, History, without_traces
from fedora_messaging.wire.properties import BasicProperties

FIRST = History("work", "amq.topic", "a.b.c")
TRIED = FIRST._replace(attempts=2, first=1_700_000_000, last=1_700_000_060, reason="retry", error="OSError")
#: What a delivery looks like that comes back by way of a delay queue: published to the queue itself.
RETURNED = History("work", "", "work")


def test_table_gives_the_history_back() -> None:
    assert TRIED.as_table() == {
        "queue": "work",
        "exchange": "amq.topic",
        "topic": "a.b.c",
        "attempts": 2,
        "first": 1_700_000_000,
        "last": 1_700_000_060,
        "reason": "retry",
        "error": "OSError",
    }
    assert History.from_table(TRIED.as_table()) == TRIED
    assert History.from_table({"queue": "q", "exchange": "e", "topic": "t"}) == History("q", "e", "t")


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": -1},
        {"attempts": "2"},
        {"attempts": 1.0},
        {"first": None},
        {"last": 2**62 + 1},
        {"queue": b"work"},
        {"topic": None},
        {"error": ["OSError"]},
        {"surprise": 1},
    ],
    ids=repr,
)
def test_table_of_somebody_else_gives_nothing(change: dict[str, Any]) -> None:
    assert History.from_table({**TRIED.as_table(), **change}) is None


@pytest.mark.parametrize("name", ["queue", "exchange", "topic"])
def test_table_without_an_origin_gives_nothing(name: str) -> None:
    table = TRIED.as_table()
    del table[name]
    assert History.from_table(table) is None


def test_largest_number_is_taken() -> None:
    largest = TRIED._replace(last=2**62)
    assert History.from_table(largest.as_table()) == largest


def test_message_that_comes_back_tells_its_history_and_loses_the_traces() -> None:
    """The callback sees the headers that the publisher gave."""
    traces = {"x-death": [{"count": 1}], "x-first-death-queue": "work.retry.1000", "CC": ["other"]}
    properties = BasicProperties(headers={HEADER: {**TRIED.as_table(), "queue": "old"}, "mine": 1, **traces})
    # The queue is the one that the message is consumed from, whatever the header says.
    assert RETURNED.taken_from(properties) == TRIED
    assert properties.headers == {"mine": 1}


@pytest.mark.parametrize(
    ("arrived", "table"),
    [
        (History("work", "amq.topic", "work"), TRIED.as_table()),
        (History("work", "", "a.b.c"), TRIED.as_table()),
        (RETURNED, {"queue": 1}),
        (RETURNED, "a text"),
    ],
    ids=["by an exchange", "by another routing key", "damaged", "no table"],
)
def test_history_that_anybody_may_have_written_is_left_alone(arrived: History, table: object) -> None:
    properties = BasicProperties(headers={HEADER: table, "CC": ["other"]})
    assert arrived.taken_from(properties) is arrived
    assert properties.headers == {HEADER: table, "CC": ["other"]}
    assert arrived.taken_from(BasicProperties()) is arrived


def test_failures_are_counted_and_the_first_time_stays() -> None:
    began = int(time.time())
    once = FIRST.failed("retry", OSError("disk\nfull"))
    assert (once.attempts, once.reason, once.error) == (1, "retry", "OSError: disk\\nfull")
    assert began <= once.first == once.last <= time.time()
    again = TRIED.failed("exhausted", "not JSON " + "x" * 400)
    assert (again.attempts, again.first, again.reason) == (3, 1_700_000_000, "exhausted")
    assert again.last >= began
    assert again.error == "not JSON " + "x" * 291 + "... (409 characters)"
    assert TRIED.attempts == 2


def test_headers_without_what_holds_for_one_publish() -> None:
    headers = {"mine": 1, "BCC": ["x"], "x-delivery-count": 3, HEADER: {}}
    assert without_traces(headers) == {"mine": 1, HEADER: {}}
    assert len(headers) == 4
    assert without_traces(None) == {}
