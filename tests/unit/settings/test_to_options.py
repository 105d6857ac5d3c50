"""What the engine is handed of a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.options import ConsumerOptions, DedupeOptions, OutboxOptions, RetryOptions
from fedora_messaging.settings.to_options import consumer_options, outbox_options
from fedora_messaging.settings.validate import OUTBOX_URL_VARIABLE


@pytest.mark.parametrize("settings", [{}, {"consumer": {}}])
def test_defaults_are_those_of_the_engine(settings: dict[str, Any]) -> None:
    assert consumer_options(settings) == ConsumerOptions()
    assert consumer_options({"consumer": {"retry": {}}}).retry == RetryOptions()


def test_all_of_a_consumer() -> None:
    table = {
        "concurrency": 7,
        "ordering_key": "topic",
        "timeout": 5,
        "retry": {"attempts": 2, "delay": 0.5, "max_delay": 9, "on": ["OSError", "Nack"]},
        "dead_letter": {"queue": "dead"},
        "dedupe": {"path": "seen.db", "window": 60},
        "arguments": {"x-priority": 3},
        "resubscribe": True,
        "stop_timeout": 0,
        "watchdog": 0,
    }
    options = consumer_options({"consumer": table})
    assert (options.concurrency, options.timeout, options.stop_timeout, options.watchdog) == (
        7,
        5.0,
        0.0,
        0.0,
    )
    assert options.retry is not None
    assert [kind.__name__ for kind in options.retry.on] == ["OSError", "Nack"]
    assert (options.retry.attempts, options.retry.delay, options.retry.max_delay) == (2, 0.5, 9.0)
    assert (options.dead_letter, options.dedupe) == ("dead", DedupeOptions(60, "seen.db"))
    assert (options.arguments, options.resubscribe) == ({"x-priority": 3}, True)
    assert options.ordering_key is not None


def test_what_a_program_changes_is_checked_when_it_is_used() -> None:
    with pytest.raises(ConfigurationException, match=r'"concurrency" in \[consumer\]'):
        consumer_options({"consumer": {"concurrency": "7"}})


@pytest.mark.parametrize(
    ("table", "variable", "expected"),
    [
        (None, "", None),
        ({"path": "o.db"}, "", OutboxOptions(path="o.db")),
        ({"url": "postgresql://h"}, "", OutboxOptions(url="postgresql://h")),
        ({"url": "postgresql://h"}, "postgresql://e", OutboxOptions(url="postgresql://e")),
        (
            {"max_age": 5, "max_bytes": 6, "max_messages": 7, "path": "o"},
            "",
            OutboxOptions("o", None, 7, 6, 5.0),
        ),
        ({}, "postgresql://e", OutboxOptions(url="postgresql://e")),
    ],
)
def test_outbox(table: Any, variable: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OUTBOX_URL_VARIABLE, variable)
    assert outbox_options({} if table is None else {"outbox": table}) == expected


@pytest.mark.parametrize(
    ("table", "variable"),
    [
        ({}, ""),
        ({"max_age": 5}, ""),
        ({"path": "o.db", "url": "postgresql://h"}, ""),
        ({"path": "o.db"}, "postgresql://e"),
    ],
)
def test_outbox_needs_one_place(
    table: dict[str, Any], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OUTBOX_URL_VARIABLE, variable)
    with pytest.raises(ConfigurationException, match=r"\[outbox\] needs either"):
        outbox_options({"outbox": table})
