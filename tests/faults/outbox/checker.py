"""Compares what publishers were told with what has arrived."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.outbox import journal as j
from tests.faults.outbox.load import TRANSACTIONS, Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from tests.faults.journal import Event

_UNKNOWN: Final = "?"


@dataclass(frozen=True)
class Findings:
    """What became of the messages.

    Attributes:
        accepted: Those that were promised: publishing returned, or the transaction was committed.
        arrived: Those of them that are there.
        lost: The others.
        uncommitted: Messages that are there, though their transaction was rolled back, or never committed.
        strangers: Messages that are there, though nobody has published them so: another body, id or topic.
        reordered: First arrivals after that of a later message of their publisher, lane and topic.
        duplicates: Arrivals beyond the first.
        unknown_arrived: Messages that are there though their publisher was killed, or told of a failure.
        unknown_gone: Likewise, and they are not there.
        reused: Numbers that were used twice.
        failures: How publishing failed.
        hanging: Forked lanes that have not come to their end, though nobody kills them.
    """

    accepted: int
    arrived: int
    lost: tuple[str, ...]
    uncommitted: tuple[str, ...]
    strangers: tuple[str, ...]
    reordered: tuple[str, ...]
    duplicates: int
    unknown_arrived: int
    unknown_gone: int
    reused: tuple[str, ...]
    failures: dict[str, int]
    hanging: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.uncommitted or self.strangers or self.reordered or self.reused)


class _Told:
    """What is in the journals."""

    def __init__(self) -> None:
        self.intents: set[str] = set()
        self.accepted: set[str] = set()
        self.doomed: set[str] = set()
        self.reused: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.running: set[str] = set()

    def add(self, event: Event) -> None:
        """Take an event; those of one journal come in their order."""
        subject = event.arguments[0]
        if event.name in (j.INTENT, j.DOOMED):
            self._number(subject)
            (self.intents if event.name == j.INTENT else self.doomed).add(subject)
        elif event.name == j.ACCEPTED:
            self.accepted.add(subject)
        elif event.name == j.FAILED:
            self.failures[event.arguments[1]] += 1
        elif event.name == j.BORN:
            self.running.add(subject)
        elif event.name == j.DONE:
            self.running.discard(subject)

    def _number(self, key: str) -> None:
        if key in self.intents or key in self.doomed:
            self.reused.add(key)


def check(events: Iterable[Event], committed: AbstractSet[str], arrivals: Sequence[Key | None]) -> Findings:
    """Compare.

    Args:
        events: All journals, one after the other.
        committed: Keys in the application's own table: what its transactions have committed.
        arrivals: What has arrived, in this order; ``None`` is something that nobody has published so.
    """
    told = _Told()
    for event in events:
        told.add(event)
    there = {str(key) for key in arrivals if key is not None}
    promised = told.accepted | committed
    unknown = told.intents - promised
    return Findings(
        accepted=len(promised),
        arrived=len(promised & there),
        lost=tuple(sorted(promised - there)),
        uncommitted=tuple(sorted((told.doomed & there) | (_of_transactions(there) - committed))),
        strangers=tuple(sorted(_strangers(arrivals, told.intents | told.doomed))),
        reordered=tuple(_reordered(arrivals)),
        duplicates=sum(key is not None for key in arrivals) - len(there),
        unknown_arrived=len(unknown & there),
        unknown_gone=len(unknown - there),
        reused=tuple(sorted(told.reused)),
        failures=dict(told.failures),
        hanging=tuple(sorted(told.running)),
    )


def _of_transactions(keys: AbstractSet[str]) -> set[str]:
    return {key for key in keys if Key.parse(key).lane == TRANSACTIONS}


def _strangers(arrivals: Iterable[Key | None], known: AbstractSet[str]) -> set[str]:
    names = {_UNKNOWN if key is None else str(key) for key in arrivals}
    return names - known


def _reordered(arrivals: Iterable[Key | None]) -> list[str]:
    found = []
    seen: set[Key] = set()
    highest: Counter[tuple[str, str, str]] = Counter()
    for key in arrivals:
        if key is None or key in seen:
            continue
        seen.add(key)
        *source, number = key
        publisher, lane, topic = source
        if number < highest[publisher, lane, topic]:
            found.append(str(key))
        else:
            highest[publisher, lane, topic] = number
    return found
