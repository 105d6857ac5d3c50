"""Kills from beginning to end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from tests.faults.brokers import EmbeddedBroker
from tests.faults.kills.clients import Crew

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.kills.clients import Consumer, Publisher

#: Longest time in seconds from a publish to the kill, so that kills hit different moments of a commit.
_LONGEST: Final = 0.05


@dataclass(frozen=True)
class Row:
    """What became of the messages of one library.

    Attributes:
        library: Its name.
        connects: How often it has connected.
        sent: How many messages were published.
        confirmed: How many were confirmed.
        arrived: How many arrived.
        lost: The confirmed ones that did not arrive.
        duplicates: How many came more than once.
        surprises: How many of them came again without being marked.
    """

    library: str
    connects: int
    sent: int
    confirmed: int
    arrived: int
    lost: tuple[int, ...]
    duplicates: int
    surprises: int

    def __str__(self) -> str:
        lost = f" {self.lost[:10]}" if self.lost else ""
        return (
            f"{self.library:>8}: {self.connects} connects, sent {self.sent}, confirmed {self.confirmed}, "
            f"arrived {self.arrived}, lost {len(self.lost)}{lost}, duplicates {self.duplicates}, "
            f"of them not marked {self.surprises}"
        )


@dataclass(frozen=True)
class Report:
    """What a run came to, a row for each library."""

    seed: int
    kills: int
    seconds: float
    rows: tuple[Row, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and each duplicate was marked as such."""
        return not any(row.lost or row.surprises for row in self.rows)

    def __str__(self) -> str:
        head = f"seed {self.seed}, {self.seconds:.0f} s, {self.kills} kills of the broker"
        return "\n".join((head, *map(str, self.rows)))


def kill(kills: int, seed: int, directory: Path, *, remembers: bool = True) -> Report:
    """Kill a broker so many times while clients use it.

    Args:
        kills: How many times.
        seed: Of the moments.
        directory: For what the broker writes.
        remembers: Whether the broker has a data directory; without one messages are lost.

    Raises:
        HarnessError: A client does not go on.
    """
    begin = time.monotonic()
    random = Random(seed)
    with EmbeddedBroker(directory, remembers=remembers) as broker, Crew(broker.urls[0]) as crew:
        for _ in range(kills):
            for publisher in crew.publishers:
                publisher.await_progress()
            time.sleep(random.random() * _LONGEST)
            broker.kill()
            broker.start()
        for publisher in crew.publishers:
            publisher.await_progress()
        crew.stop()
        crew.consumer.drain()
        rows = tuple(_row(publisher, crew.consumer) for publisher in crew.publishers)
    return Report(seed, kills, time.monotonic() - begin, rows)


def _row(publisher: Publisher, consumer: Consumer) -> Row:
    times = {number: count for (queue, number), count in consumer.times.items() if queue == publisher.library}
    return Row(
        library=publisher.library,
        connects=publisher.connects,
        sent=publisher.sent,
        confirmed=len(publisher.confirmed),
        arrived=len(times),
        lost=tuple(sorted(publisher.confirmed - times.keys())),
        duplicates=sum(count > 1 for count in times.values()),
        surprises=sum(queue == publisher.library for queue, _ in consumer.surprises),
    )
