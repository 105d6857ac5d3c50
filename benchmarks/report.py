"""Tables."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from benchmarks.brokers import EMBEDDED, EMBEDDED_DATA, RABBITMQ
from benchmarks.results import NO_BROKER, ByRound, Results, typical
from benchmarks.rivals import COMPILED, OURS, Rivals
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


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    return "\n".join(lines)


def _spread(values: ByRound, digits: int) -> str:
    if not values:
        return "-"
    numbers = list(values.values())
    middle = f"{median(numbers):.{digits}f}"
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):.{digits}f}-{max(numbers):.{digits}f})"


#: Makes a table of rows, the first of which has the titles.
Render = Callable[[Sequence[Sequence[str]]], str]


def figures(results: Results, render: Render = table) -> str:
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
            parts.append(render(rows))
    parts.append(_other_figures(results, render))
    return "\n\n".join(part for part in parts if part)


def _other_figures(results: Results, render: Render) -> str:
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
    return render(rows) if len(rows) > 1 else ""


def targets(results: Results, render: Render = table) -> str:
    """Return the table of what we have and what we want."""
    brokers = [name for name in _BROKER_ORDER if name in results.brokers()]
    if not brokers and NO_BROKER in results.brokers():
        brokers = [EMBEDDED]
    rows = [["have / want", "against", *brokers]]
    for target in all_targets():
        cells = [_cell(results, broker, target) for broker in brokers]
        if any(cell != "" for cell in cells):
            rows.append([target.workload, target.against, *cells])
    return render(rows) if len(rows) > 1 else "Nothing that targets are set for was measured."


def _cell(results: Results, broker: str, target: Target) -> str:
    have = target.have(results, broker) if broker in target.brokers else None
    if have is None:
        return ""
    return f"{have:.3g} / {target.want} {'ok' if target.is_met(have) else 'MISSED'}"


def write_markdown(path: Path, results: Results, rivals: Rivals) -> None:
    """Write the tables, with the versions of what took part, as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in rivals.versions.items())
    text = f"Versions: {versions}.\n\n{figures(results, markdown)}\n\n{targets(results, markdown)}\n"
    path.write_text(text, encoding="utf-8")


#: Pixels of the picture: of a bar that is as long as the longest, of a row, and of the names.
_BAR, _ROW, _NAMES = 360, 22, 170
#: What is ours stands out.
_COLOURS = {OURS: "#1f5fbf", COMPILED: "#6d9be0"}


def write_svg(path: Path, results: Results, broker: str) -> None:
    """Draw how many messages a second each client does on a broker, for each workload that several do."""
    groups: dict[str, list[tuple[str, float]]] = {}
    for client, workload in results.cases(broker):
        rate = typical(results.figure(broker, (client, workload), "rate"))
        if rate is not None:
            groups.setdefault(workload, []).append((client, rate))
    parts, y = [], _ROW
    for workload, bars in groups.items():
        if {client for client, _ in bars} <= set(_COLOURS):
            continue
        parts.append(f'<text x="0" y="{y}" font-weight="bold">{escape(workload)}</text>')
        most = max(rate for _, rate in bars)
        for client, rate in sorted(bars, key=lambda bar: -bar[1]):
            y += _ROW
            width = _BAR * rate / most
            colour = _COLOURS.get(client, "#9aa4b2")
            parts.append(f'<text x="{_NAMES - 8}" y="{y}" text-anchor="end">{escape(client)}</text>')
            parts.append(f'<rect x="{_NAMES}" y="{y - 13}" width="{width:.0f}" height="16" fill="{colour}"/>')
            parts.append(f'<text x="{_NAMES + width + 6:.0f}" y="{y}">{rate:,.0f}</text>')
        y += 2 * _ROW
    size = f'width="{_NAMES + _BAR + 90}" height="{y}"'
    # A rectangle behind it, so that it can be read on a dark page, too.
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">\n'
        f"<title>Messages a second on {escape(broker)}</title>\n"
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8",
    )


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
