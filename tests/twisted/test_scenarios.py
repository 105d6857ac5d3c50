"""Every scenario of `tests.twisted.programs` in real reactors.

A reactor runs once in a process, so all scenarios of a reactor and broker share a process, which runs them
one after the other. On the asyncio reactor and on Linux's default one all are run, on the others those that
depend most on the reactor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.processes import Process, Processes
from tests.twisted.programs import connecting, consuming, publishing, services
from tests.twisted.programs.run import scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.brokers import Broker

_ROOT = Path(__file__).parents[2]

ALL = [name for module in (publishing, consuming, connecting, services) for name in scenarios(module)]
ESSENTIAL = [
    "publishing.round_trip",
    "publishing.from_threads_of_the_reactor",
    "publishing.in_coroutine_callbacks",
    "publishing.signals",
    "consuming.cancel_waits_for_a_coroutine",
    "consuming.halt",
    "connecting.p02_cut_while_idle",
    "connecting.login_refused",
    "services.monitoring",
    "services.restart",
]
REACTORS = {
    ("embedded", "asyncio"): ALL,
    ("embedded", "default"): ALL,
    ("embedded", "select"): ESSENTIAL,
    ("embedded", "poll"): ESSENTIAL,
    ("rabbitmq", "asyncio"): ALL,
    ("rabbitmq", "default"): ESSENTIAL,
}
CASES = [(broker, reactor, name) for (broker, reactor), names in REACTORS.items() for name in names]

WARNINGS = [
    "-Werror",
    # The oldest supported Twisted imports it.
    "-Wignore:'cgi' is deprecated:DeprecationWarning",
    # Twisted's ports warn of a file they keep.
    "-Wignore:unclosed file <_io.TextIOWrapper name='/dev/null':ResourceWarning",
]


class Runs:
    """The processes: one for each reactor and broker, with the scenarios that were asked for."""

    def __init__(self, processes: Processes, wanted: list[tuple[str, str, str]]) -> None:
        self._processes = processes
        self._wanted = wanted
        self._running: dict[tuple[str, str], Process] = {}

    def process(self, reactor: str, broker: Broker) -> Process:
        """The process of a reactor and broker; those of the broker's other reactors run meanwhile."""
        for kind, other, _name in self._wanted:
            if kind == broker.kind and (other, kind) not in self._running:
                names = [name for name_kind, on, name in self._wanted if (on, name_kind) == (other, kind)]
                self._running[other, kind] = self._processes.python(
                    *WARNINGS, "-m", "tests.twisted.programs.run", other, broker.url, *names
                )
        return self._running[reactor, broker.kind]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The processes, ended."""
    selected: list[tuple[str, str, str]] = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path:
            chosen: dict[str, Any] = item.callspec.params
            if "scenario" in chosen:
                selected.append((chosen["broker"], chosen["reactor"], chosen["scenario"]))
    with Processes(_ROOT) as processes:
        yield Runs(processes, selected)


@pytest.mark.parametrize(("broker", "reactor", "scenario"), CASES, indirect=["broker"])
def test_scenario(broker: Broker, runs: Runs, reactor: str, scenario: str) -> None:
    process = runs.process(reactor, broker)
    line = process.wait_for(rf'^\{{"scenario": "{scenario}".*$')
    error = json.loads(line.group())["error"]
    if error is not None:
        pytest.fail(error, pytrace=False)


@pytest.mark.parametrize(("broker", "reactor"), REACTORS, indirect=["broker"])
def test_end_of_the_process(broker: Broker, runs: Runs, reactor: str) -> None:
    """The reactor stopped, nothing kept the process alive, and nobody complained."""
    ended = runs.process(reactor, broker).end()
    assert (ended.status, ended.stderr) == (0, []), ended.output
