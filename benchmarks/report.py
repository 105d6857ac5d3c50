"""Tables."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.brokers import EMBEDDED, EMBEDDED_DATA, RABBITMQ
from benchmarks.results import NO_BROKER, ByRound, Results
from benchmarks.rivals import Rivals
from benchmarks.targets import Target, all_targets

_STREAM_COLUMNS = (
    ("rate", "messages/s", 0),
    ("cpu_us", "client CPU us", 1),
    ("broker_us", "broker CPU us", 1),
)
_BROKER_ORDER = (RABBITMQ, EMBEDDED, EMBEDDED_DATA)


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _spread(values: ByRound, digits: int) -> str:
    if not values:
        return "-"
    numbers = list(values.values())
    middle = f"{median(numbers):.{digits}f}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.{digits}f}-{max(numbers):.{digits}f})"


def figures(results: Results) -> str:
    """Return a table of messages per second and CPU for each broker, and one of the other figures."""
    parts = []
    for broker in results.brokers():
        streams = [case for case in results.cases(broker) if results.figure(broker, case, "rate")]
        if streams:
            rows = [[f"broker: {broker}", *(title for _, title, _ in _STREAM_COLUMNS)]]
            for case in streams:
                cells = [
                    _spread(results.figure(broker, case, key), digits) for key, _, digits in _STREAM_COLUMNS
                ]
                rows.append([" ".join(case), *cells])
            parts.append(table(rows))
    parts.append(_other_figures(results))
    return "\n\n".join(part for part in parts if part)


def _other_figures(results: Results) -> str:
    rows = [["other figures", "broker", ""]]
    for broker in results.brokers():
        for case in results.cases(broker):
            if results.figure(broker, case, "rate"):
                continue
            names = dict.fromkeys(
                name
                for sample in results.samples
                if sample.broker == broker and (sample.client, sample.workload) == case
                for name in sample.figures
            )
            text = [f"{name} {_spread(results.figure(broker, case, name), 1)}" for name in names]
            rows.append([" ".join(case), broker, ", ".join(text)])
    return table(rows) if len(rows) > 1 else ""


def targets(results: Results) -> str:
    """Return the table of what we have and what we want."""
    brokers = [name for name in _BROKER_ORDER if name in results.brokers()]
    if not brokers and NO_BROKER in results.brokers():
        brokers = [EMBEDDED]
    rows = [["have / want", "against", *brokers]]
    for target in all_targets():
        cells = [_cell(results, broker, target) for broker in brokers]
        if any(cell != "" for cell in cells):
            rows.append([target.workload, target.against, *cells])
    return table(rows) if len(rows) > 1 else "Nothing that targets are set for was measured."


def _cell(results: Results, broker: str, target: Target) -> str:
    have = target.have(results, broker) if broker in target.brokers else None
    if have is None:
        return ""
    return f"{have:.3g} / {target.want} {'ok' if target.is_met(have) else 'MISSED'}"


def write_json(path: Path, results: Results, rivals: Rivals, loads: list[tuple[float, float, float]]) -> None:
    """Write everything that was measured."""
    computed = [
        {
            "workload": target.workload,
            "against": target.against,
            "broker": broker,
            "have": have,
            "want": target.want,
            "met": target.is_met(have),
        }
        for target in all_targets()
        for broker in target.brokers
        if (have := target.have(results, broker)) is not None
    ]
    everything = {
        "versions": rivals.versions,
        "load": loads,
        "samples": [sample.__dict__ for sample in results.samples],
        "targets": computed,
    }
    path.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
