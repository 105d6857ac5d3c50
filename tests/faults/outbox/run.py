"""Kills from beginning to end."""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.children import Child
from tests.faults.journal import read
from tests.faults.outbox import chaos as c
from tests.faults.outbox import journal as j
from tests.faults.outbox.checker import check
from tests.faults.outbox.drain import declare, drain
from tests.faults.outbox.family import Family
from tests.faults.outbox.load import WORK
from tests.faults.outbox.publisher import CHILD_LIFE
from tests.faults.outbox.report import Report
from tests.faults.outbox.workers import PublisherProgram
from tests.support.processes import FEDORA_MESSAGING, environment

from fedora_messaging.client.outbox import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.faults.brokers import Broker
    from tests.faults.outbox.checker import Findings

WAL: Final = "wal"
DELETE: Final = "delete"
_FLUSH: Final = 120.0


@dataclass(frozen=True)
class Settings:
    """What a run is to be.

    Attributes:
        kills: How many processes are killed.
        seed: Of the kills, and of what is published.
        forks: Whether publishers fork.
        journal_mode: Of the file: ``wal`` if the library has made it, ``delete`` if it is the application's.
    """

    kills: int
    seed: int
    forks: bool = True
    journal_mode: str = WAL

    def of_publishers(self) -> dict[str, list[str]]:
        """Arguments of the publishers, by name."""
        forks = ["--forks"] if self.forks else []
        # SQLite has connections of the application closed before a fork, so that it is others that fork.
        each = {
            "publisher-1": forks,
            "publisher-2": ["--transactions", "--threads", "1"],
            "publisher-3": forks,
        }
        return {name: ["--seed", str(self.seed), *arguments] for name, arguments in each.items()}


class Run:
    """Publishers that share an outbox, a broker, and kills.

    Args:
        settings: What it is to be.
        broker: It runs.
        directory: For everything that is written.
    """

    def __init__(self, settings: Settings, broker: Broker, directory: Path) -> None:
        self._settings = settings
        self._broker = broker
        self._directory = directory
        self._outbox = directory / "outbox.db"
        self._config = directory / "config.toml"
        self._complaints: list[str] = []

    def run(self) -> Report:
        """Run it.

        Raises:
            HarnessError: It could not come to its end.
        """
        begin = time.monotonic()
        self._prepare()
        with Family() as family, ExitStack() as stack:
            publishers = [
                stack.enter_context(
                    PublisherProgram(name, arguments, self._config, self._directory, family.writer)
                )
                for name, arguments in self._settings.of_publishers().items()
            ]
            counts = self._torment(publishers)
            self._stop(publishers)
            if not family.have_ended(CHILD_LIFE):
                self._complaints.append("forked children do not end")
        findings = self._look([publisher.journal for publisher in publishers])
        return Report(
            broker=self._broker.kind,
            seed=self._settings.seed,
            kills=counts,
            findings=findings,
            seconds=time.monotonic() - begin,
            complaints=[
                *self._complaints,
                *(f"publishing failed {count} times by {name}" for name, count in findings.failures.items()),
                *(f"a forked child has hung or crashed: {lane}" for lane in findings.hanging),
            ],
        )

    def _prepare(self) -> None:
        if self._settings.journal_mode == DELETE:
            with closing(sqlite3.connect(self._outbox)) as database:
                database.execute(f"CREATE TABLE {WORK} (key TEXT PRIMARY KEY)")
        self._config.write_text(
            f'amqp_url = "{self._broker.urls[0]}"\n[outbox]\npath = "{self._outbox}"\n', encoding="utf-8"
        )
        declare(self._broker.urls[0])
        self._broker.write_definitions()

    def _torment(self, publishers: Sequence[PublisherProgram]) -> dict[str, int]:
        for publisher in publishers:
            publisher.start()
        with (
            (self._directory / "kills").open("w", encoding="utf-8") as log,
            c.Chaos(self._broker, publishers, _writer(log.write, log.flush)) as chaos,
        ):
            for one in c.schedule(self._settings.seed, self._settings.kills, len(publishers)):
                chaos.kill(one)
            chaos.mend()
            return {kind: chaos.counts[kind] for kind in (c.PUBLISHERS, c.BROKER)}

    def _stop(self, publishers: Sequence[PublisherProgram]) -> None:
        for publisher in publishers:
            publisher.terminate()
        for publisher in publishers:
            publisher.await_end()
            self._complaints += publisher.complaints

    def _look(self, journals: Sequence[Path]) -> Findings:
        """Empty the outbox and the queue, and compare."""
        self._flush()
        with closing(sqlite3.connect(self._outbox)) as database:
            committed = {key for (key,) in database.execute(f"SELECT key FROM {WORK}")}
            self._inspect(database)
        events = (event for journal in journals for event in read(journal, j.EVENTS))
        return check(events, committed, drain(self._broker.urls[0]))

    def _flush(self) -> None:
        command = [str(FEDORA_MESSAGING), "outbox", "flush", "--timeout", str(_FLUSH)]
        flush = Child(
            command,
            directory=self._directory,
            environment=environment(FEDORA_MESSAGING_CONF=str(self._config)),
            output=self._directory / "flush.out",
        )
        try:
            status = flush.await_end(2 * _FLUSH)
        finally:
            flush.kill()
        if status != 0:
            self._complaints.append(f"`outbox flush`: status {status}\n{flush.last_words()}")

    def _inspect(self, database: sqlite3.Connection) -> None:
        ((verdict,),) = database.execute("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            self._complaints.append(f"the outbox is damaged: {verdict}")
        ((mode,),) = database.execute("PRAGMA journal_mode").fetchall()
        if mode != self._settings.journal_mode:
            self._complaints.append(f"the journal mode of the outbox is {mode}")
        ((left,),) = database.execute(f"SELECT count(*) FROM {table.NAME}").fetchall()
        if left:
            self._complaints.append(f"{left} messages are left in the outbox")


def _writer(write: Callable[[str], object], flush: Callable[[], object]) -> Callable[[str], None]:
    def note(line: str) -> None:
        write(f"{time.time():.3f} {line}\n")
        flush()

    return note


def kill(settings: Settings, make_broker: Callable[[Path], Broker], directory: Path) -> Report:
    """Start a broker, run, and end everything.

    Args:
        settings: What it is to be.
        make_broker: Makes the broker, which writes to a directory.
        directory: For everything that is written; it is made.

    Raises:
        HarnessError: It could not come to its end.
    """
    directory.mkdir(parents=True)
    with make_broker(directory / "broker") as broker:
        return Run(settings, broker, directory).run()
