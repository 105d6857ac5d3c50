"""Warnings of blocking calls in the thread of an event loop."""

from __future__ import annotations

import asyncio

import pytest

from fedora_messaging.frontends import event_loop_guard
from fedora_messaging.frontends.event_loop_guard import guard_event_loop
from fedora_messaging.sync.loop_thread import LoopThread

INSTEAD = "`await bus.publish()`"
ADVICE = (
    "call `await bus.publish()` there, or `await asyncio.to_thread(...)`; a callback may also be a plain "
    "function"
)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line has been warned yet."""
    monkeypatch.setattr(event_loop_guard, "_told", {})


def guard() -> None:
    guard_event_loop("publish()", INSTEAD)


def test_threads_without_a_loop_may_block(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await asyncio.to_thread(guard)

    guard()
    asyncio.run(main())
    guard()
    assert caplog.messages == []


def test_each_calling_line_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for _ in range(3):
            guard()
        guard_event_loop("consume()", INSTEAD)

    asyncio.run(main())
    asyncio.run(main())
    first = guard.__code__.co_firstlineno + 1
    second = main.__code__.co_firstlineno + 3
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("fedora_messaging.api", "WARNING")
    ] * 2
    assert caplog.messages == [
        f"{what}, called in {__file__} line {number}, blocks the event loop that runs in this thread until "
        f"it returns: {ADVICE}"
        for what, number in (("publish()", first), ("consume()", second))
    ]


def test_own_loops_must_not_be_blocked(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        guard()

    loop_thread = LoopThread("test")
    try:
        with pytest.raises(RuntimeError) as caught:
            loop_thread.run(main)
    finally:
        loop_thread.stop()
    assert str(caught.value) == (f"publish() would block the event loop that runs in this thread: {ADVICE}")
    assert caplog.messages == []


def test_own_thread_must_not_be_blocked_by_plain_calls_either() -> None:
    errors: list[str] = []

    def call(_none: None) -> None:
        try:
            guard()
        except RuntimeError as error:
            errors.append(str(error))

    loop_thread = LoopThread("test")
    try:
        loop_thread.post(call, None)
        assert loop_thread.answers()
    finally:
        loop_thread.stop()
    assert errors == [f"publish() would block the event loop that runs in this thread: {ADVICE}"]
