"""Fixtures that hold for each test of a folder whose `conftest.py` imports them."""

from __future__ import annotations

import faulthandler
import gc
import logging
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import eventually

from fedora_messaging.sync import turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.config import LazyConfig


class _Complaints(logging.Handler):
    """Collects what asyncio can only log, such as errors of tasks that nobody awaited."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@pytest.fixture(scope="module", autouse=True)
def light_heap() -> Iterator[None]:
    """Let the collections between tests look at what the module's tests made only."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No error is lost in asyncio, no thread and no socket outlives its test."""
    complaints = _Complaints()
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    before = {*threading.enumerate()}
    try:
        yield
        # Sockets, tasks and futures that were forgotten complain when they are collected.
        gc.collect()
    finally:
        logger.removeHandler(complaints)
    assert not complaints.found, "\n".join(complaints.found)

    # The embedded broker is started by the first test of a module and serves all of it.
    def left() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in before and t.name != "broker"]

    try:
        eventually(lambda: not left())
    except AssertionError:
        faulthandler.dump_traceback(all_threads=True)
        raise AssertionError(f"the test has left threads: {left()}") from None


@pytest.fixture(autouse=True)
def fresh_settings(settings: LazyConfig) -> None:
    """Every test begins with the defaults."""


@pytest.fixture(autouse=True)
def main_thread_publishes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler with which pytest-timeout ends a test counts as plain: it does nothing but raise."""
    handler = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(turn, "_PLAIN", (*turn._PLAIN, handler))
