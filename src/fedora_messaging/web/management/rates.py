"""Rates of counters: how fast they have grown of late."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

#: Seconds over which a rate is measured, at least.
_INTERVAL: Final = 5.0


class _Sample:
    """The last measurement of an object."""

    __slots__ = ("at", "rates", "values")

    def __init__(self, at: float, values: dict[str, int]) -> None:
        self.at = at
        self.values = values
        self.rates: dict[str, float] = {}


class Rates:
    """Measures the rates of objects whenever somebody asks for them.

    Nothing is measured for objects that nobody looks at, so the first look finds no rates yet.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: WeakKeyDictionary[Any, dict[str, _Sample]] = WeakKeyDictionary()

    def with_details(self, source: Any, totals: Mapping[str, int], kind: str = "") -> dict[str, Any]:
        """Return totals, each followed by its rate.

        Args:
            source: Whose totals they are.
            totals: The totals by name.
            kind: Tells several groups of totals of one source apart.
        """
        now = self._clock()
        samples = self._samples.setdefault(source, {})
        sample = samples.get(kind)
        if sample is None:
            sample = samples[kind] = _Sample(now, dict(totals))
        elif now - sample.at >= _INTERVAL:
            elapsed = now - sample.at
            sample.rates = {
                name: (total - sample.values.get(name, 0)) / elapsed for name, total in totals.items()
            }
            sample.at, sample.values = now, dict(totals)
        answer: dict[str, Any] = {}
        for name, total in totals.items():
            answer[name] = total
            answer[f"{name}_details"] = {"rate": round(sample.rates.get(name, 0.0), 1)}
        return answer
