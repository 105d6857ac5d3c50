"""What a run came to, for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.storage.disk import Crash, Point
    from tests.faults.storage.run import Story
    from tests.faults.storage.vfs import Kind


class Finding(NamedTuple):
    """Something that is wrong after a crash."""

    points: Sequence[Point]
    what: str

    def __str__(self) -> str:
        return f"{self.what} ({', then '.join(map(str, self.points))})"


@dataclass
class Report:
    """What a run came to.

    Attributes:
        seed: Of everything.
        seconds: How long it took.
        recordings: How many runs of a broker were recorded.
        crashes: How many of each kind.
        operations: How many of each kind were recorded.
        failures: How many operations failed besides.
        findings: What was wrong, with the seed of the recording.
    """

    seed: int
    seconds: float = 0.0
    recordings: int = 0
    crashes: Counter[Crash] = field(default_factory=Counter)
    operations: Counter[Kind] = field(default_factory=Counter)
    failures: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def points(self) -> int:
        """How many crashes were tried."""
        return self.crashes.total()

    @property
    def good(self) -> bool:
        """Whether everything that was promised was kept."""
        return not self.findings

    def add(
        self,
        story: Story,
        points: Sequence[Point],
        findings: Sequence[Finding],
    ) -> None:
        """Add a recording and its crashes."""
        self.operations.update(operation.kind for operation in story.recording.operations)
        self.recordings += 1
        self.failures += story.recording.failures
        self.crashes.update(point.crash for point in points)
        self.findings += [f"recording {story.seed}: {finding}" for finding in findings]

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind.value}" for kind, count in self.operations.items())
        crashes = ", ".join(f"{count} {crash.value}" for crash, count in self.crashes.items())
        return (
            f"storage, seed {self.seed}, {self.seconds:.0f} s: {self.points} crashes ({crashes}) in "
            f"{self.recordings} recordings of {self.operations.total()} operations ({kinds}), besides "
            f"{self.failures} that failed: {len(self.findings)} findings"
        )
