"""The same steps on two brokers; the first step after which their clients saw something different."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.differential.operations import CHANNELS, LIMITED, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.differential.side import Side

#: Seconds after which what is still different stays so. RabbitMQ does much after it has answered.
PATIENCE: Final = 2.0
#: Seconds for the rest if the answer to a step is different.
_REST: Final = 0.3
#: Seconds between two looks: first, and at most.
_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05

#: After each sequence the channels are closed one by one, so that all messages are back in their queues.
_LAST: Final = tuple(
    Operation("channel.close", connection, channel)
    for connection in range(LIMITED + 1)
    for channel in CHANNELS
)


@dataclass(frozen=True)
class Difference:
    """A step after which the clients of two brokers saw different things.

    Attributes:
        operations: The steps up to it.
        facts: By what it is about, what the judge showed and what the embedded broker did.
        added: How many of the last steps every sequence ends with.
    """

    operations: tuple[Operation, ...]
    facts: dict[str, tuple[Any, Any]]
    added: int = 0

    @property
    def given(self) -> tuple[Operation, ...]:
        """The steps without those that every sequence ends with."""
        return self.operations[: len(self.operations) - self.added]

    @property
    def kind(self) -> str:
        """What a smaller sequence must show for the same difference."""
        told = []
        for name, values in sorted(self.facts.items()):
            about = name.split()[-1] if "/" in name else name.split()[0]
            told.append(" ".join((about, *(_outline(value) for value in values))))
        return f"{self.operations[-1].kind}: {'; '.join(told)}"

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.operations))
        facts = "\n".join(
            f"  {name}\n    RabbitMQ: {theirs}\n    embedded: {ours}"
            for name, (theirs, ours) in self.facts.items()
        )
        return f"{steps}\n{facts}"


class Comparison:
    """Two brokers side by side.

    Args:
        judge: A RabbitMQ, which is right.
        embedded: The embedded broker in the profile of that RabbitMQ.
    """

    def __init__(self, judge: Side, embedded: Side) -> None:
        self._sides = (judge, embedded)
        self._runs = 0
        self._mark = f"d{time.time_ns() % 10**9}"
        self.has_management = judge.has_management and embedded.has_management

    def run(self, operations: Sequence[Operation], patience: float = PATIENCE) -> Difference | None:
        """Do the steps on both brokers, and stop at the first difference."""
        self._runs += 1
        for side in self._sides:
            side.begin(f"{self._mark}.{self._runs}.")
        done: list[Operation] = []
        try:
            for number, operation in enumerate([*operations, *_LAST]):
                if number >= len(operations) and not all(side.has_open(operation) for side in self._sides):
                    continue
                done.append(operation)
                for side in self._sides:
                    side.perform(operation, number)
                if facts := self._settled(patience):
                    return Difference(tuple(done), facts, max(len(done) - len(operations), 0))
            for side in self._sides:
                side.drain()
            facts = self._facts()
            if not facts:
                return None
            done.append(Operation("drain"))
            return Difference(tuple(done), facts, len(done) - len(operations))
        finally:
            for side in self._sides:
                side.end()

    def _settled(self, patience: float) -> dict[str, tuple[Any, Any]]:
        """Look until both brokers show the same; return what remains different."""
        start = time.monotonic()
        pause = _PAUSE
        while (facts := self._differing()) or any(side.awaits_confirms() for side in self._sides):
            # The answer itself stays what it is; only the rest gets a little time.
            if time.monotonic() - start > (min(patience, _REST) if "answer" in facts else patience):
                return facts
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        for side in self._sides:
            side.forget_gone()
        return {}

    def _differing(self) -> dict[str, tuple[Any, Any]]:
        for side in self._sides:
            side.ask()
        return self._facts()

    def _facts(self) -> dict[str, tuple[Any, Any]]:
        theirs, ours = (side.look() for side in self._sides)
        names = [*theirs, *(name for name in ours if name not in theirs)]
        return {
            name: (_readable(theirs.get(name)), _readable(ours.get(name)))
            for name in names
            if _readable(theirs.get(name)) != _readable(ours.get(name))
        }


def _outline(value: Any) -> str:
    """Return error texts without the names and numbers of one sequence, and of other things the kind."""
    closes = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    if not closes:
        return type(value).__name__
    return " ".join(re.sub(r"'[qx]\d'|<<[^>]*>>|\b\d+\b(?! [A-Z_]+)", "_", one) for one in closes)


def _readable(value: Any) -> Any:
    """Return what came on a channel by consumer: the order between consumers is the broker's affair."""
    if not isinstance(value, list) or not value or not all(isinstance(one, tuple | str) for one in value):
        return value
    return sorted(value, key=_consumer)


def _consumer(one: Any) -> str:
    """Return the consumer of a delivery; what else there is comes after all of these, cancels first."""
    if isinstance(one, tuple):
        return str(one[0])
    return f"~{one}" if one.startswith("cancelled") else "~~"
