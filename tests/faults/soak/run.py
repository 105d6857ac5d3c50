"""A soak from beginning to end."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.children import HarnessError
from tests.faults.journal import Journal
from tests.faults.soak import chaos as c
from tests.faults.soak import load
from tests.faults.soak import workers as w
from tests.faults.soak.checker import Watcher
from tests.faults.soak.drain import Drain
from tests.faults.soak.network import Network
from tests.faults.soak.report import Report
from tests.faults.soak.workers import Workforce
from tests.support.admin import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.faults.brokers import Broker
    from tests.faults.soak.checker import Findings

_START_PATIENCE: Final = 60.0
_POLL: Final = 0.1
#: A client that is told to back off waits for up to 30 seconds between two attempts to connect, and a quorum
#: queue for up to three minutes for another that was to take a message and had no leader.
_PATIENCE: Final = 240.0
_DRAIN_LIMIT: Final = 900.0
#: How a publish may fail while the broker is away, or does not know what it can promise.
_EXPECTED_FAILURES: Final = {"ConnectionException", "HandshakeCut", "PublishNacked", "PublishTimeout"}


@dataclass(frozen=True)
class Settings:
    """What a soak is to be.

    Attributes:
        minutes: How long there are faults.
        seed: Of the faults.
        rate: Messages per second.
        kinds: Faults that may happen, if the broker is capable of them.
        patience: Seconds in which, when all is mended, each worker must have something to do, and without
            any progress after which a message counts as lost.
    """

    minutes: float
    seed: int
    rate: float = 100.0
    kinds: Collection[str] = c.KINDS
    patience: float = _PATIENCE


class Soak:
    """Publishers, consumers, a broker and faults.

    Args:
        settings: What it is to be.
        broker: It runs.
        directory: For journals and everything else that is written.
        say: Takes lines that tell what goes on.
    """

    def __init__(
        self, settings: Settings, broker: Broker, directory: Path, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._directory = directory
        self._say = say

    def run(self) -> Report:
        """Run it.

        Raises:
            HarnessError: It could not come to its end.
        """
        settings = self._settings
        with (
            Network(self._broker.urls) as network,
            Workforce(
                self._directory, network.urls, self._broker.queue_arguments, uuid.uuid4().hex, settings.rate
            ) as workers,
        ):
            self._start(workers)
            with (self._directory / "faults").open("a", encoding="utf-8") as log:

                def note(line: str) -> None:
                    log.write(f"{line}\n")
                    log.flush()

                with c.Chaos(self._broker, network, workers, note) as chaos:
                    self._torment(chaos, workers)
            self._say("all is mended")
            return self._finish(workers, dict(chaos.counts))

    def _start(self, workers: Workforce) -> None:
        # The queues are to be there before anything is published: nothing else is promised.
        if self._broker.wants_queues_first:
            self._declare_delay_queues()
        idle = w.start(workers.consumers, _START_PATIENCE) or w.start(workers.publishers, _START_PATIENCE)
        if idle:
            words = "\n".join(f"{worker.name}: {worker.child.last_words()}" for worker in idle)
            raise HarnessError(f"not all workers come to work\n{words}")
        self._broker.write_definitions()
        self._say(f"{len(workers.all)} workers are at work")

    def _declare_delay_queues(self) -> None:
        with connect(self._broker.urls[0]) as connection:
            channel = connection.channel()
            for name, arguments in load.delay_queues().items():
                channel.queue_declare(name, durable=True, arguments=arguments)

    def _torment(self, chaos: c.Chaos, workers: Workforce) -> None:
        seconds = 60 * self._settings.minutes
        begin = time.monotonic()
        kinds = [kind for kind in chaos.kinds if kind in self._settings.kinds]

        def pass_until(when: float) -> None:
            while time.monotonic() < begin + when:
                time.sleep(_POLL)
                workers.attend()
                chaos.check()

        for fault in c.schedule(self._settings.seed, seconds, kinds):
            pass_until(fault.at)
            chaos.inflict(fault)
        pass_until(seconds)
        chaos.calm()

    def _finish(self, workers: Workforce, faults: dict[str, int]) -> Report:
        self._broker.await_whole()
        begin = time.monotonic()
        idle = w.await_work(workers.all, self._settings.patience)
        recovered = time.monotonic() - begin
        w.stop([publisher for publisher in workers.publishers if publisher.is_ready])
        self._say("publishers have stopped")
        begin = time.monotonic()
        findings, queues = self._drain(workers)
        return Report(
            broker=self._broker.kind,
            minutes=self._settings.minutes,
            seed=self._settings.seed,
            findings=findings,
            faults=faults,
            starts={worker.name: worker.starts for worker in workers.all},
            slowest_end=max(worker.slowest_end for worker in workers.all),
            recovered=recovered,
            drained=time.monotonic() - begin,
            complaints=[
                *(f"{worker.name} has nothing to do, though all is mended" for worker in idle),
                *workers.unexpected,
                *(f"publishing failed by {name}" for name in findings.failures.keys() - _EXPECTED_FAILURES),
                *([f"the queues are not drained\n{queues}"] if queues is not None else []),
            ],
        )

    def _drain(self, workers: Workforce) -> tuple[Findings, str | None]:
        """Let everything be consumed; returns what came out, and what the broker says if that did not end."""
        path = self._directory / "dead-letters.journal"
        watcher = Watcher([*(worker.journal for worker in workers.all), path])
        with Journal(path) as journal, Drain(self._broker, watcher, journal) as drain:
            is_over = drain.wait(self._settings.patience, _DRAIN_LIMIT, workers.attend_consumers)
        queues = None if is_over else self._broker.describe_queues()
        w.stop(workers.consumers)
        watcher.read()
        return watcher.ledger.findings(), queues


def soak(settings: Settings, broker: Broker, directory: Path, say: Callable[[str], None] = print) -> Report:
    """Start a broker, run a soak on it, and end everything.

    Raises:
        HarnessError: It could not come to its end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with broker:
        say(f"soak {broker.kind}: {settings.minutes:g} min, seed {settings.seed}")
        return Soak(settings, broker, directory, say).run()
