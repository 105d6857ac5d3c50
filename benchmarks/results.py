"""What was measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measure import Figures

#: Stands for the broker of cases that need none.
NO_BROKER = "-"

Key = tuple[str, str]
ByRound = dict[int, float]


@dataclass(frozen=True)
class Sample:
    """Figures of one case in one round."""

    broker: str
    client: str
    workload: str
    round: int
    figures: Figures


@dataclass
class Results:
    """All samples."""

    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def brokers(self) -> list[str]:
        """Names of brokers with figures, in the order of measuring."""
        return list(dict.fromkeys(sample.broker for sample in self.samples))

    def cases(self, broker: str) -> list[Key]:
        """Clients and workloads measured on a broker."""
        found = [(sample.client, sample.workload) for sample in self.samples if sample.broker == broker]
        return list(dict.fromkeys(found))

    def figure(self, broker: str, case: Key, metric: str) -> ByRound:
        """Return one figure of a case, by round; cases without broker are found with every broker."""
        return {
            sample.round: sample.figures[metric]
            for sample in self.samples
            if sample.broker in (broker, NO_BROKER)
            and (sample.client, sample.workload) == case
            and metric in sample.figures
        }


def typical(values: ByRound) -> float | None:
    """Return the median."""
    return median(values.values()) if values else None


def ratio(above: ByRound, below: ByRound) -> float | None:
    """Return the median of the ratios within a round: both sides had the same neighbours then."""
    rounds = [number for number in above if below.get(number)]
    return median(above[number] / below[number] for number in rounds) if rounds else None


Computed = Callable[[Results, str], float | None]
