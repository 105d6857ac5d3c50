"""Runs scenarios in a reactor.

``python -m tests.twisted.programs.run REACTOR URL MODULE.SCENARIO...`` writes one JSON object per scenario:
its name, what went wrong or null, and how long it took.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import logging
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python import log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

    from tests.twisted.programs.stage import Stage

    Scenario = Callable[[Stage], Coroutine[Any, Any, None]]

#: Seconds for a scenario; nothing waits for all of it.
LIMIT = 25.0


def install(reactor: str) -> None:
    """Install a reactor; "default" leaves that to whoever needs one first."""
    if reactor == "asyncio":
        import asyncio

        from twisted.internet import asyncioreactor

        loop = asyncio.new_event_loop()
        atexit.register(loop.close)
        asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    elif reactor != "default":
        importlib.import_module(f"twisted.internet.{reactor}reactor").install()


def scenarios(module: ModuleType) -> list[str]:
    """Names of a module's scenarios: its coroutine functions, with the last part of its own name."""
    prefix = module.__name__.rpartition(".")[2]
    return [
        f"{prefix}.{name}"
        for name, value in vars(module).items()
        if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


class Complaints(logging.Handler):
    """Collects errors that nobody handled: of Deferreds, of tasks, of the reactor's calls."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []
        log.startLoggingWithObserver(self.observe, setStdout=False)  # type: ignore[no-untyped-call]
        logging.getLogger("asyncio").addHandler(self)

    def observe(self, event: dict[str, Any]) -> None:
        """The side of Twisted."""
        if event.get("isError"):
            self.found.append(log.textFromEventDict(event) or repr(event))

    def emit(self, record: logging.LogRecord) -> None:
        """The side of asyncio."""
        self.found.append(self.format(record))

    def take(self) -> list[str]:
        """What came since the last time."""
        found, self.found = self.found, []
        return found


def ours(thread: threading.Thread) -> bool:
    """Whether a thread is not one of the reactor's, which stay."""
    return not thread.name.startswith("PoolThread-")


async def perform(scenario: Scenario, url: str, reactor_name: str, complaints: Complaints) -> None:
    """Run a scenario in a fresh stage, and look at what it leaves."""
    from tests.twisted.programs.stage import Stage, the_reactor

    before = set(threading.enumerate())
    stage = Stage(url, reactor_name)
    try:
        playing: Deferred[None] = Deferred.fromCoroutine(scenario(stage))
        playing.addTimeout(LIMIT, the_reactor(), _say_where)
        await playing
    finally:
        await stage.close()
        # Also after a failure, so that it does not spoil the next scenario.
        await stage.eventually(lambda: not [t for t in threading.enumerate() if t not in before and ours(t)])
        gc.collect()
    # A Deferred that failed without anyone looking has complained when it was collected.
    left = complaints.take()
    assert not left, "\n".join(left)


def _say_where(failure: Any, seconds: float) -> Any:
    raise AssertionError(f"not done in {seconds} s; it was here:\n{failure.getTraceback()}")


def explain(error: BaseException) -> str:
    """A traceback with the variables of the tests' own functions."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in told.stack:
        if "/tests/twisted/" not in frame.filename or frame.filename == __file__:
            frame.locals = None
    return "".join(told.format())


async def perform_all(names: list[str], url: str, reactor_name: str) -> None:
    """Run scenarios one after the other."""
    complaints = Complaints()
    for name in names:
        module, _, function = name.partition(".")
        scenario = getattr(importlib.import_module(f"tests.twisted.programs.{module}"), function)
        error = None
        start = time.monotonic()
        try:
            await perform(scenario, url, reactor_name, complaints)
        except BaseException as raised:
            error = explain(raised)
            complaints.take()
        seconds = round(time.monotonic() - start, 3)
        print(json.dumps({"scenario": name, "error": error, "seconds": seconds}), flush=True)


def main(reactor_name: str, url: str, *names: str) -> None:
    """Run scenarios, then stop the reactor."""
    install(reactor_name)
    # Without a handler Python writes warnings to standard error, which is for what should not happen.
    logging.getLogger().addHandler(logging.NullHandler())
    # Imported before the clock of the first scenario starts.
    from tests.twisted.programs import stage  # noqa: F401
    from twisted.internet import reactor

    control: Any = reactor

    def begin() -> None:
        Deferred.fromCoroutine(perform_all(list(names), url, reactor_name)).addBoth(end)

    def end(result: Any) -> None:
        control.stop()
        if result is not None:
            result.printTraceback(sys.stderr)

    control.callWhenRunning(begin)
    control.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
