"""What a run came to, for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.faults.outbox.chaos import BROKER, PUBLISHERS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.faults.outbox.checker import Findings

_LISTED: Final = 10


@dataclass
class Report:
    """What a run came to.

    Attributes:
        broker: Which one.
        seed: Of the kills.
        kills: How many processes of each kind were killed.
        findings: What became of the messages.
        seconds: How long it took.
        complaints: What was not as it should be, apart from the messages.
    """

    broker: str
    seed: int
    kills: Mapping[str, int]
    findings: Findings
    seconds: float
    complaints: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything that was promised was kept."""
        return self.findings.good and not self.complaints

    @property
    def line(self) -> str:
        """The report in one line."""
        found, kills = self.findings, self.kills
        return (
            f"outbox {self.broker}: {sum(kills.values())} kills ({kills[PUBLISHERS]} publishers, "
            f"{kills[BROKER]} broker), accepted {found.accepted}, arrived {found.arrived}, "
            f"lost {len(found.lost)}, duplicates {found.duplicates}, out of order {len(found.reordered)}"
        )

    def __str__(self) -> str:
        found = self.findings
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s; outcome unknown to the publisher: "
            f"{found.unknown_arrived} arrived, {found.unknown_gone} did not",
            *_listed("LOST", found.lost),
            *_listed("NEVER COMMITTED", found.uncommitted),
            *_listed("NOT PUBLISHED SO", found.strangers),
            *_listed("OUT OF ORDER", found.reordered),
            *_listed("NUMBER USED TWICE", found.reused),
            *(f"WRONG: {complaint}" for complaint in self.complaints),
            self.line,
        ]
        return "\n".join(lines)


def _listed(title: str, keys: Collection[str]) -> list[str]:
    more = [f"{title}: and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
    return [f"{title}: {key}" for key in [*keys][:_LISTED]] + more
