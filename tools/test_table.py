"""Prints how many tests of each suite passed where: ``test_table.py JUNIT_XML...``.

A file is one run of pytest and gives a column for each kind of broker that its tests used, which the
property ``broker`` of each test says (see ``tests/conftest.py``).
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

_KINDS = ("embedded or none", "RabbitMQ", "cluster")


def main(paths: list[Path]) -> None:
    """Print the table, and how long each run took."""
    counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    skipped: Counter[str] = Counter()
    for path in paths:
        for suite, kind, outcome in _cases(path):
            if outcome == "skipped":
                skipped[path.stem] += 1
            else:
                counts[suite][path.stem, kind] += 1
    runs = [path.stem for path in paths]
    columns = [
        (run, kind)
        for run in runs
        for kind in _KINDS
        if any(per_suite[run, kind] for per_suite in counts.values())
    ]
    _row("suite", *(f"{run}, {kind}" for run, kind in columns))
    _row("---", *("---:" for _ in columns))
    for suite in sorted(counts):
        _row(suite, *(str(counts[suite][column] or "") for column in columns))
    _row("all", *(str(sum(per_suite[column] for per_suite in counts.values())) for column in columns))
    for path in paths:
        seconds = sum(float(suite.get("time", 0)) for suite in _parse(path).iter("testsuite"))
        print(f"{path.stem}: {seconds / 60:.1f} min, {skipped[path.stem]} skipped")


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def _cases(path: Path) -> Iterator[tuple[str, str, str]]:
    for case in _parse(path).iter("testcase"):
        suite = (case.get("classname") or "").split(".")[1:2]
        kinds = [one.get("value", "") for one in case.iter("property") if one.get("name") == "broker"]
        outcome = "skipped" if case.find("skipped") is not None else "run"
        yield (suite or ["?"])[0], (kinds or [_KINDS[0]])[0], outcome


def _parse(path: Path) -> ET.Element:
    return ET.parse(path).getroot()


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
