"""What all runners share: telling coroutine functions apart, and waiting for callbacks that run."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest
from tests.unit.client.consuming.support import Owner
from tests.unit.client.support import now, run

from fedora_messaging.client.consuming.runner import CallbackRunner, is_coroutine_callback, let_callbacks_end

WAITS = "Stopping waits for the callback that processes a message of the queue q"


async def coroutine(_message: object) -> None:
    """A coroutine function."""


def plain(_message: object) -> None:
    """A function."""


class Forms:
    """Coroutine functions of every form."""

    async def method(self, message: object) -> None: ...

    async def __call__(self, message: object) -> None: ...

    @classmethod
    async def of_the_class(cls, message: object) -> None: ...

    @staticmethod
    async def static(message: object) -> None: ...


class Plain:
    """An object that is called like a function."""

    def __call__(self, message: object) -> None: ...


@pytest.mark.parametrize(
    ("callback", "found"),
    [
        (coroutine, True),
        (Forms(), True),
        (Forms().method, True),
        (Forms.of_the_class, True),
        (Forms.static, True),
        (functools.partial(coroutine), True),
        (plain, False),
        (Plain(), False),
        (Plain().__call__, False),
        (functools.partial(plain), False),
        # What these return can only be told when they have been called.
        (lambda message: coroutine(message), False),
        (print, False),
        (None, False),
    ],
)
def test_coroutine_functions_are_told_from_others(callback: Any, found: bool) -> None:
    assert is_coroutine_callback(callback) is found


class Slow:
    """A runner whose callback ends after some seconds.

    Attributes:
        steps: What was done, and at what second.
    """

    in_order = True

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps: list[tuple[str, float]] = []

    def start(self) -> None:
        """Nothing to do."""

    def put(self, raw: object) -> None:
        """Nothing to do."""

    def halt(self) -> None:
        self.step("halted")

    async def finish(self) -> None:
        self.halt()
        await asyncio.sleep(self.seconds)
        self.step("ended")

    def abandon(self) -> None:
        self.step("abandoned")

    def warned(self) -> None:
        self.step("warned")

    def step(self, what: str) -> None:
        self.steps.append((what, now()))


@pytest.mark.parametrize(
    ("seconds", "patience", "waited", "told"),
    [
        (0.0, 60.0, 0.0, []),
        (0.4, 60.0, 0.4, []),
        (0.4, None, 0.4, []),
        (7.0, 60.0, 7.0, [WAITS]),
        (7000.0, None, 7000.0, [WAITS]),
    ],
)
def test_running_callback_is_waited_for(
    seconds: float, patience: float | None, waited: float, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        runner = Slow(seconds)
        await let_callbacks_end(runner, "q", patience, runner.warned)
        assert runner.steps == [("halted", 0.0), ("ended", waited)]

    with caplog.at_level(logging.INFO):
        run(main())
    assert caplog.messages == told


@pytest.mark.parametrize("patience", [2.0, 0.2, 0.0])
def test_callback_that_outlasts_patience_is_abandoned(
    patience: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        runner = Slow(7.0)
        await let_callbacks_end(runner, "q", patience, runner.warned)
        assert runner.steps == [("halted", 0.0), ("warned", patience), ("abandoned", patience)]
        assert now() == patience

    with caplog.at_level(logging.INFO):
        run(main())
    # Also when patience is shorter than the usual silence.
    assert caplog.messages == [WAITS]


def test_name_of_a_queue_is_printable_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    runner = Slow(1.0)
    with caplog.at_level(logging.INFO):
        run(let_callbacks_end(runner, "q\x1b[31m", None, runner.warned))
    assert caplog.messages == [WAITS + r"\x1b[31m"]


def test_runner_that_does_not_end_well_is_told() -> None:
    class Faulty(Slow):
        async def finish(self) -> None:
            raise ZeroDivisionError("a fault")

    runner = Faulty(0.0)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        run(let_callbacks_end(runner, "q", None, runner.warned))
    assert runner.steps == []


def test_runners_of_callbacks_settle_in_order() -> None:
    async def main() -> None:
        owner = Owner()
        assert CallbackRunner(plain, owner.stats, owner.report, owner.is_stale, owner.fail).in_order

    run(main())
