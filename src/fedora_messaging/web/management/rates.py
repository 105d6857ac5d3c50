"""Rates of counters: how fast they have grown of late, and what they were before."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from .samples import Range, range_of

if TYPE_CHECKING:
    from .samples import Samples

#: Seconds over which a rate is measured, at least.
_INTERVAL: Final = 5.0


class _Measurement:
    """The last measurement of an object."""

    __slots__ = ("at", "rates", "values")

    def __init__(self, at: float, values: dict[str, int]) -> None:
        self.at = at
        self.values = values
        self.rates: dict[str, float] = {}


class Rates:
    """Measures the rates of objects whenever somebody asks for them.

    The first look at an object finds no rates yet, unless there are samples of it.

    Args:
        clock: Returns the time in seconds.
        samples: Samples of virtual hosts, exchanges and queues; ``None`` if nobody takes them.
    """

    def __init__(self, clock: Callable[[], float], samples: "Samples | None" = None) -> None:
        self._clock = clock
        self._measured: WeakKeyDictionary[Any, dict[str, _Measurement]] = WeakKeyDictionary()
        self.samples = samples
        self._ranges: dict[str, Range | None] = {}

    def with_samples(self, query: Mapping[str, str]) -> "Rates":
        """Return rates that have the samples with them that a client asks for.

        Raises:
            RequestError: 400 for a range that makes no sense.
        """
        found = copy(self)
        found._ranges = {"": range_of(query, "msg_rates"), "messages": range_of(query, "lengths")}
        return found

    def with_details(
        self, source: Any, totals: Mapping[str, int], kind: str = "", parts: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Return totals, each followed by its rate and samples.

        Args:
            source: Whose totals they are.
            totals: The totals by name.
            kind: Tells several groups of totals of one source apart.
            parts: The objects whose totals are summed up, if that is not the source.
        """
        now = self._clock()
        rates = self._rates(source, totals, kind, now, [source] if parts is None else parts)
        answer: dict[str, Any] = {}
        for name, total in totals.items():
            answer[name] = total
            answer[f"{name}_details"] = {"rate": round(rates.get(name, 0.0), 1)}
        wanted = self._ranges.get(kind)
        if wanted is not None and self.samples is not None:
            times = _times(wanted, now)
            known = self.samples.at_times([source] if parts is None else parts, times)
            for name in totals:
                answer[f"{name}_details"] |= _sampled(name, times, known)
        return answer

    def _rates(
        self, source: Any, totals: Mapping[str, int], kind: str, now: float, parts: Sequence[Any]
    ) -> dict[str, float]:
        before = int((now - _INTERVAL) // _INTERVAL * _INTERVAL)
        if self.samples is not None and kind in ("", "messages"):
            (then,) = self.samples.at_times(parts, [before])
            if then is not None:
                return _growth(then, totals, now - before)
        return self._measure(source, totals, kind, now)

    def _measure(self, source: Any, totals: Mapping[str, int], kind: str, now: float) -> dict[str, float]:
        measured = self._measured.setdefault(source, {})
        last = measured.get(kind)
        if last is None:
            last = measured[kind] = _Measurement(now, dict(totals))
        elif now - last.at >= _INTERVAL:
            last.rates = _growth(last.values, totals, now - last.at)
            last.at, last.values = now, dict(totals)
        return last.rates


def _growth(before: Mapping[str, int], totals: Mapping[str, int], elapsed: float) -> dict[str, float]:
    return {name: (total - before.get(name, 0)) / elapsed for name, total in totals.items()}


def _times(wanted: Range, now: float) -> list[int]:
    newest = int(now // wanted.step * wanted.step)
    return list(range(newest, newest - wanted.age - 1, -wanted.step))


def _sampled(name: str, times: Sequence[int], known: Sequence[dict[str, int] | None]) -> dict[str, Any]:
    found = [
        (time, totals.get(name, 0)) for time, totals in zip(times, known, strict=True) if totals is not None
    ]
    details: dict[str, Any] = {
        "samples": [{"sample": total, "timestamp": time * 1000} for time, total in found]
    }
    if len(found) > 1:
        (end, last), (begin, first) = found[0], found[-1]
        details["avg_rate"] = (last - first) / (end - begin)
        details["avg"] = sum(total for _, total in found) / len(found)
    return details
