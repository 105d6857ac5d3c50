"""Samples of the management API, as plots need them."""

from collections.abc import Mapping
from typing import Any, Final

#: Seconds that plots cover, and between two samples.
SPAN: Final = 600
STEP: Final = 5


def series(stats: Mapping[str, Any], names: Mapping[str, str], is_rate: bool = True) -> dict[str, Any]:
    """Return the samples of some totals, the oldest first.

    Args:
        stats: Totals as the management API writes them: ``name`` and ``name_details`` with ``samples``.
        names: What a person calls each.
        is_rate: Whether the growth per second is wanted, not the total.

    Returns:
        ``times`` in seconds since 1970, and for each name a list of as many values; no times if the broker
        keeps no samples yet.
    """
    found: dict[str, dict[float, float]] = {}
    for name, label in names.items():
        samples = (stats.get(f"{name}_details") or {}).get("samples") or []
        points = sorted((sample["timestamp"] / 1000, float(sample["sample"])) for sample in samples)
        if is_rate:
            points = [
                (later, max((value - before) / (later - earlier), 0.0))
                for (earlier, before), (later, value) in zip(points, points[1:], strict=False)
                if later > earlier
            ]
        if points:
            found[label] = dict(points)
    times = sorted({time for values in found.values() for time in values})
    return {
        "times": times,
        "series": {label: [values.get(time) for time in times] for label, values in found.items()},
        "unit": "per second" if is_rate else "messages",
    }
