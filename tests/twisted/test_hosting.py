"""Running the reactor for programs that have one and cannot run it themselves.

A process runs one reactor once, so each test has a process of its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from tests.support.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = """
import sys, threading
from fedora_messaging.twisted import hosting

def reactor_threads():
    return [one for one in threading.enumerate() if one.name in ("reactor", "CrochetReactor")]

def answer_of(reactor):
    from twisted.internet.threads import blockingCallFromThread
    return blockingCallFromThread(reactor, threading.current_thread)
"""
NEEDS_CROCHET = pytest.mark.skipif(find_spec("crochet") is None, reason="needs crochet")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as made:
        yield made


def run(processes: Processes, program: str) -> None:
    """Run a program to its end, which is a good one."""
    ended = processes.python("-c", START + program).end()
    assert (ended.status, ended.stderr) == (0, []), ended.output


def test_a_program_without_a_reactor_gets_none(processes: Processes) -> None:
    run(
        processes,
        """
hosting.run_in_background()
assert "twisted.internet.reactor" not in sys.modules
assert reactor_threads() == []
""",
    )


@pytest.mark.parametrize("kind", ["select", "poll", "asyncio"])
def test_an_idle_reactor_is_run_in_one_thread(processes: Processes, kind: str) -> None:
    """The thread is a daemon: it does not keep the process alive."""
    run(
        processes,
        f"""
import warnings; warnings.simplefilter("ignore", ResourceWarning)
from twisted.internet import {kind}reactor
{kind}reactor.install()
from twisted.internet import reactor
for _ in range(3):
    hosting.run_in_background()
[thread] = reactor_threads()
assert (thread.name, thread.daemon) == ("reactor", True)
assert answer_of(reactor) is thread
assert reactor.running
hosting.run_in_background()
assert reactor_threads() == [thread]
""",
    )


def test_a_reactor_that_the_program_runs_is_left_alone(processes: Processes) -> None:
    run(
        processes,
        """
from twisted.internet import reactor
seen = []
def in_the_reactor():
    hosting.run_in_background()
    seen.append(reactor_threads())
    reactor.stop()
reactor.callWhenRunning(in_the_reactor)
reactor.run()
assert seen == [[]]
""",
    )


def test_the_programs_signal_handlers_stay(processes: Processes) -> None:
    run(
        processes,
        """
import signal
from twisted.internet import reactor
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
hosting.run_in_background()
answer_of(reactor)
after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
assert after == before
""",
    )


def test_loading_the_reactor_installs_the_asyncio_reactor_and_runs_it(processes: Processes) -> None:
    run(
        processes,
        """
from importlib.util import module_from_spec, spec_from_loader
loader = hosting.RunningAsyncioReactor()
spec = spec_from_loader("twisted.internet.reactor", loader)
module = module_from_spec(spec)
assert reactor_threads() == []
loader.exec_module(module)
from twisted.internet import reactor
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
assert type(reactor) is AsyncioSelectorReactor
[thread] = reactor_threads()
assert answer_of(reactor) is thread
""",
    )


@NEEDS_CROCHET
def test_crochet_runs_an_idle_reactor(processes: Processes) -> None:
    """Setting it up again does nothing, and the library starts no thread of its own."""
    run(
        processes,
        """
import crochet
hosting.set_up_crochet(crochet)
hosting.set_up_crochet(crochet)
hosting.run_in_background()
from twisted.internet import reactor
[thread] = reactor_threads()
assert thread.name == "CrochetReactor"
assert answer_of(reactor) is thread
""",
    )


@NEEDS_CROCHET
def test_crochet_is_told_of_a_reactor_that_runs(processes: Processes) -> None:
    """Its functions work then, though it runs nothing; twice is not too often."""
    run(
        processes,
        """
import crochet
from twisted.internet import reactor
hosting.run_in_background()
hosting.set_up_crochet(crochet)
hosting.set_up_crochet(crochet)
@crochet.wait_for(timeout=20)
def where():
    return threading.current_thread()
[thread] = reactor_threads()
assert thread.name == "reactor"
assert where() is thread
""",
    )
