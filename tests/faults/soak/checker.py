"""Counts in the journals of a soak what became of each message."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.faults.journal import Event, JournalReader
from tests.faults.soak import journal as j
from tests.faults.soak.journal import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Findings:
    """What a soak came to.

    Attributes:
        intents: Publishes that were begun.
        confirmed: Those whose success was told.
        delivered: Messages that came to a callback.
        acked: Those with a callback that ended well.
        dead: Those that were found in the dead-letter queue.
        lost: Confirmed, but neither processed nor kept as a dead letter.
        strangers: Messages that came, though nobody sent them so: another body, another topic, another run.
        reused: Numbers that were published twice.
        told_unsent: Messages that came though the publisher was told that they were not sent.
        unknown_arrived: Publishes that failed, or never ended, whose message came nevertheless.
        unknown_gone: Likewise, whose message never came.
        unsettled: Those that came at last and were never processed, though nobody had promised that.
        retried: Callbacks that failed on purpose.
        redelivered: Deliveries that the broker had marked as such, where a consumer can see that.
        duplicates: Deliveries beyond the first that no failure explains.
        reordered: First deliveries that came after that of a later message of their publisher and topic.
        silence: Longest time in seconds without any delivery between the first and the last.
        failures: How publishes failed.
    """

    intents: int
    confirmed: int
    delivered: int
    acked: int
    dead: int
    lost: tuple[str, ...]
    strangers: tuple[str, ...]
    reused: tuple[str, ...]
    told_unsent: tuple[str, ...]
    unknown_arrived: int
    unknown_gone: int
    unsettled: int
    retried: int
    redelivered: int
    duplicates: int
    reordered: int
    silence: float
    failures: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether everything that was promised was kept."""
        return not (self.lost or self.strangers or self.reused or self.told_unsent)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Ledger:
    """Takes the events of all journals, those of one journal in their order."""

    def __init__(self) -> None:
        self._intents: set[str] = set()
        self._confirmed: set[str] = set()
        self._unsent: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._deliveries: Counter[str] = Counter()
        self._first: dict[str, float] = {}
        self._times: list[float] = []
        self._raised: Counter[str] = Counter()
        self._redelivered = 0
        self._acked: set[str] = set()
        self._dead: set[str] = set()
        self._corrupt: set[str] = set()
        self._reused: set[str] = set()
        self._takers: dict[str, Callable[[Event], None]] = {
            j.INTENT: self._intent,
            j.CONFIRMED: lambda event: self._confirmed.add(event.arguments[0]),
            j.FAILED: self._failed,
            j.UNSENT: self._not_sent,
            j.DELIVERED: self._delivered,
            j.ACKED: lambda event: self._acked.add(event.arguments[0]),
            j.RAISED: self._has_raised,
            j.CORRUPT: lambda event: self._corrupt.add(event.arguments[0]),
            j.DEAD: lambda event: self._dead.add(event.arguments[0]),
        }

    def add(self, events: Iterable[Event]) -> None:
        """Take some events."""
        for event in events:
            if take := self._takers.get(event.name):
                take(event)

    def _intent(self, event: Event) -> None:
        (key,) = event.arguments
        if key in self._intents:
            self._reused.add(key)
        self._intents.add(key)

    def _failed(self, event: Event) -> None:
        self._failures[event.arguments[1]] += 1

    def _not_sent(self, event: Event) -> None:
        self._unsent.add(event.arguments[0])
        self._failed(event)

    def _has_raised(self, event: Event) -> None:
        self._raised[event.arguments[0]] += 1

    def _delivered(self, event: Event) -> None:
        key, redelivered = event.arguments
        self._deliveries[key] += 1
        self._first[key] = min(event.time, self._first.get(key, event.time))
        self._times.append(event.time)
        self._redelivered += redelivered == "1"

    @property
    def settled(self) -> int:
        """How many messages were processed or kept."""
        return len(self._acked | self._dead)

    @property
    def missing(self) -> set[str]:
        """Messages that were confirmed, and not processed so far."""
        return self._confirmed - self._acked - self._dead

    @property
    def last_delivery(self) -> float:
        """When the last delivery came; 0 if none has."""
        return max(self._times, default=0.0)

    def findings(self) -> Findings:
        """Count."""
        arrived = self._deliveries.keys() | self._dead
        unknown = self._intents - self._confirmed
        settled = self._acked | self._dead
        return Findings(
            intents=len(self._intents),
            confirmed=len(self._confirmed),
            delivered=len(self._deliveries),
            acked=len(self._acked),
            dead=len(self._dead),
            lost=tuple(sorted(self.missing)),
            strangers=tuple(sorted(self._corrupt | (arrived - self._intents))),
            reused=tuple(sorted(self._reused)),
            told_unsent=tuple(sorted(self._unsent & arrived)),
            unknown_arrived=len(unknown & arrived),
            unknown_gone=len(unknown - arrived),
            unsettled=len((arrived & unknown) - settled),
            retried=self._raised.total(),
            redelivered=self._redelivered,
            duplicates=sum(max(0, count - 1 - self._raised[key]) for key, count in self._deliveries.items()),
            reordered=self._reordered(),
            silence=max((later - sooner for sooner, later in pairwise(sorted(self._times))), default=0.0),
            failures=dict(self._failures),
        )

    def _reordered(self) -> int:
        count = 0
        highest: dict[tuple[str, str, str], int] = {}
        for text in sorted(self._first, key=self._first.__getitem__):
            *source, number = Key.parse(text)
            run, publisher, topic = source
            last = highest.get((run, publisher, topic), 0)
            count += number < last
            highest[run, publisher, topic] = max(number, last)
        return count


class Watcher:
    """Follows journals while they are written.

    Attributes:
        ledger: What they came to so far.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._readers = [JournalReader(path, j.EVENTS) for path in paths]
        self.ledger = Ledger()

    def read(self) -> None:
        """Take what is new."""
        for reader in self._readers:
            self.ledger.add(reader.read())


def check(paths: Iterable[Path]) -> Findings:
    """Read journals and count.

    Raises:
        JournalError: One is damaged by more than a kill.
    """
    watcher = Watcher(paths)
    watcher.read()
    return watcher.ledger.findings()
