"""Lines that peers can neither forge nor flood."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.logs import LIMIT, REPEATABLE, logger

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """A logger that no other test has used."""
    with caplog.at_level(logging.DEBUG):
        yield logger(f"fedora_messaging.test.{next(_numbers)}")


class Clock:
    """Gives records the time that a test wants."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def filter(self, record: logging.LogRecord) -> bool:
        record.created = self.now
        return True


@pytest.fixture
def clock(log: logging.Logger) -> Clock:
    clock = Clock()
    log.filters.insert(0, clock)
    return clock


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nCRITICAL b", "a\\nCRITICAL b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\udc80", "\\udc80"),
        ("żółw 🐢 %s", "żółw 🐢 %s"),
    ],
)
def test_p22_what_is_not_printable_is_escaped(
    text: str, shown: str, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    log.warning("Queue %s", text)
    log.info(text)
    assert caplog.messages == [f"Queue {shown}", shown]


def test_printable_lines_keep_their_parts(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """Programs group lines by them."""
    log.warning("Queue %s has %d", "q", 3)
    [record] = caplog.records
    assert (record.msg, record.args) == ("Queue %s has %d", ("q", 3))


def test_object_that_cannot_be_shown_raises_nothing_into_the_caller(log: logging.Logger) -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise ValueError("no")

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record)

    shown: list[logging.LogRecord] = []
    log.addHandler(Shown())
    log.propagate = False
    log.warning("%r", Unshowable())
    assert len(shown) == 1


def test_p22_repeatable_lines_are_limited_per_second(
    log: logging.Logger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def flood(times: int) -> list[str]:
        caplog.clear()
        for number in range(times):
            log.warning("Blocked: %s", number, extra=REPEATABLE)
        return caplog.messages

    assert flood(1000) == [f"Blocked: {number}" for number in range(LIMIT)]
    log.warning("Blocked no more", extra=REPEATABLE)
    assert caplog.messages[-1] == "Blocked no more"
    clock.now += 0.9
    assert flood(10) == []
    clock.now += 0.2
    told, *others = flood(LIMIT)
    assert told == f"Blocked: 0 ({1000 - LIMIT + 10} lines like this one were left out before it)"
    assert others == [f"Blocked: {number}" for number in range(1, LIMIT)]
    clock.now += 1.0
    assert flood(1) == ["Blocked: 0"]


def test_clock_that_is_set_back_silences_nothing(
    log: logging.Logger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(LIMIT + 1):
        log.warning("Blocked", extra=REPEATABLE)
    clock.now -= 3600
    log.warning("Blocked", extra=REPEATABLE)
    assert len(caplog.messages) == LIMIT + 1
    # Nothing is left of what marked the line: formatters that show all attributes would show it.
    assert not any(name.startswith("fedora") for name in vars(caplog.records[0]))


def test_other_lines_are_never_left_out(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        log.warning("Message refused")
    assert len(caplog.messages) == 100
