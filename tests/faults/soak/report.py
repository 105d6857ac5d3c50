"""What a soak came to, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.faults.soak.checker import Findings

_LISTED: Final = 10


@dataclass
class Report:
    """What a soak came to.

    Attributes:
        faults: How many of each kind there were.
        starts: How often each worker was started.
        slowest_end: Longest time in seconds from SIGTERM to the end of a worker.
        recovered: Seconds until every worker had something to do when all was mended.
        drained: Seconds until all was processed, or given up.
        complaints: What was not as it should be, apart from the messages.
    """

    broker: str
    minutes: float
    seed: int
    findings: Findings
    faults: dict[str, int]
    starts: dict[str, int]
    slowest_end: float
    recovered: float
    drained: float
    complaints: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything that was promised was kept."""
        return self.findings.good and not self.complaints

    @property
    def line(self) -> str:
        """The report in one line."""
        found = self.findings
        return (
            f"soak {self.broker}: {self.minutes:g} min, confirmed {found.confirmed}, lost {len(found.lost)}, "
            f"duplicates {found.duplicates}, faults {sum(self.faults.values())}, "
            f"longest silence {found.silence:.1f} s"
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}

    def __str__(self) -> str:
        found = self.findings
        failures = ", ".join(f"{name} {count}" for name, count in sorted(found.failures.items())) or "none"
        lines = [
            f"published  {found.intents}: confirmed {found.confirmed}; unknown {found.unknown_arrived} that "
            f"arrived and {found.unknown_gone} that did not; failures: {failures}",
            f"consumed   {found.delivered}: processed {found.acked}, dead letters {found.dead}, "
            f"failed on purpose {found.retried}, reordered {found.reordered}, "
            f"marked as redelivered {found.redelivered}; never confirmed nor processed {found.unsettled}",
            f"faults     {', '.join(f'{kind} {count}' for kind, count in sorted(self.faults.items()))}",
            f"workers    started {sum(self.starts.values())} times, slowest end {self.slowest_end:.1f} s; "
            f"all at work again after {self.recovered:.0f} s, drained after {self.drained:.0f} s",
            f"seed       {self.seed}",
            *_listed("LOST", found.lost),
            *_listed("NOT SENT SO", found.strangers),
            *_listed("NUMBER USED TWICE", found.reused),
            *_listed("TOLD AS UNSENT", found.told_unsent),
            *(f"WRONG      {complaint}" for complaint in self.complaints),
            self.line,
        ]
        return "\n".join(lines)


def _listed(title: str, keys: tuple[str, ...]) -> list[str]:
    more = [f"{title}: and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
    return [f"{title}: {key}" for key in keys[:_LISTED]] + more
