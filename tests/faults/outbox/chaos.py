"""Who is killed, and when: the same for the same seed, but for what the machine makes of it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from tests.faults.children import await_that
from tests.faults.outbox.drain import depth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.faults.brokers import Broker
    from tests.faults.outbox.workers import PublisherProgram

BROKER: Final = "broker"
PUBLISHERS: Final = "publishers"

_LONGEST_WAIT: Final = 0.8
#: Kinds of rounds, drawn like cards, so that a short run has some of each; the last card is one of several.
_CARDS: Final = ("publisher", "publisher", "publisher", "broker", "broker")
_LAST_CARDS: Final = ("both", "both", "two", "all")
#: How often a victim is killed while it is still starting.
_EARLY: Final = 0.15
_STAYS_AWAY: Final = 0.5
_SHORTEST_ABSENCE: Final = 0.5
_LONGEST_ABSENCE: Final = 2.0
#: Seconds for whoever is not killed to do its work. Attempts to connect may be half a minute apart.
PATIENCE: Final = 90.0


class Round(NamedTuple):
    """Kills at one moment.

    Attributes:
        wait: Seconds before, when the victims work.
        broker: Whether the broker is killed.
        publishers: Numbers of the publishers that are.
        early: Whether the victims may be starting still.
        broker_first: Who is first if both are.
        away: Seconds for which the broker stays away.
    """

    wait: float
    broker: bool
    publishers: tuple[int, ...]
    early: bool
    broker_first: bool
    away: float

    @property
    def kills(self) -> int:
        """How many processes are killed."""
        return self.broker + len(self.publishers)


def schedule(seed: int, kills: int, publishers: int) -> Iterator[Round]:
    """Give rounds that kill so many processes in all."""
    random = Random(seed)
    cards: list[str] = []
    while kills > 0:
        if not cards:
            cards = [*_CARDS, random.choice(_LAST_CARDS)]
            random.shuffle(cards)
        one = _round(random, cards.pop(), publishers)
        if one.kills > kills:
            one = one._replace(publishers=one.publishers[: kills - one.broker])
        kills -= one.kills
        yield one


def _round(random: Random, kind: str, publishers: int) -> Round:
    count = {"broker": 0, "two": 2, "all": publishers}.get(kind, 1)
    return Round(
        wait=random.uniform(0.0, _LONGEST_WAIT),
        broker=kind in ("broker", "both"),
        publishers=tuple(random.sample(range(publishers), count)),
        early=random.random() < _EARLY,
        broker_first=random.random() < 0.5,
        away=random.uniform(_SHORTEST_ABSENCE, _LONGEST_ABSENCE) * (random.random() < _STAYS_AWAY),
    )


class Chaos:
    """Kills processes and starts them again; a context manager that waits for the broker on leaving.

    Args:
        broker: It runs.
        publishers: They were started.
        note: Takes a line for each round.

    Attributes:
        counts: How many processes of each kind were killed.
    """

    def __init__(
        self, broker: Broker, publishers: Sequence[PublisherProgram], note: Callable[[str], None]
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._broker = broker
        self._publishers = publishers
        self._note = note
        self._calm = threading.Event()
        # The broker comes back while publishers are killed.
        self._pool = ThreadPoolExecutor(1, "broker")
        self._returning: Future[None] | None = None
        self._depth = 0

    def kill(self, one: Round) -> None:
        """Kill the victims of a round as soon as they work, and start them again.

        Raises:
            HarnessError: Somebody does not do its work.
        """
        victims = [self._publishers[number] for number in one.publishers]
        if one.broker:
            self._await_broker()
        if not one.early:
            self._await_work(victims, broker=one.broker)
        self._calm.wait(one.wait)
        self._note(str(one))
        if one.broker and one.broker_first:
            self._kill_broker(one)
        for victim in victims:
            victim.kill()
        self.counts[PUBLISHERS] += len(victims)
        if one.broker and not one.broker_first:
            self._kill_broker(one)
        for victim in victims:
            victim.start()

    def _kill_broker(self, one: Round) -> None:
        self._broker.nodes[0].kill()
        self.counts[BROKER] += 1
        self._returning = self._pool.submit(self._start_broker, one.away)

    def _start_broker(self, away: float) -> None:
        self._calm.wait(away)
        self._broker.nodes[0].start()

    def _await_broker(self) -> None:
        if self._returning is not None:
            self._returning.result()
            self._returning = None
            self._depth = depth(self._broker.urls[0])

    def _await_work(self, victims: Sequence[PublisherProgram], *, broker: bool) -> None:
        for victim in victims:
            victim.await_work(PATIENCE)
        if broker:
            await_that(self._has_grown, PATIENCE, lambda: "anybody sends what is in the outbox")

    def _has_grown(self) -> bool:
        return depth(self._broker.urls[0]) > self._depth

    def mend(self) -> None:
        """Wait until everybody works; raises what :meth:`kill` does."""
        self._await_broker()
        self._depth = depth(self._broker.urls[0])
        self._await_work(self._publishers, broker=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._calm.set()
        self._pool.shutdown()
