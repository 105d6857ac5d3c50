"""How many instructions of the processor fixed pieces of work take, beside a committed baseline.

``python -m benchmarks.instructions`` needs valgrind. Unlike times, the counts are the same on a busy machine.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.report import table
from benchmarks.workers.fixed_work import WORKS

_ROOT: Final = Path(__file__).resolve().parent.parent
BASELINE: Final = Path(__file__).with_suffix(".json")
#: Part of the baseline by which a count may differ from it.
TOLERANCE: Final = 0.05
_WORKER: Final = "benchmarks.workers.fixed_work"
#: How often each piece of work is done; what starting takes is subtracted. Two starts differ by up to five
#: million instructions, so that a piece must take a hundred times as many in all.
_TIMES: Final = {
    "encode": 8000,
    "decode": 3000,
    "publish": 1500,
    "consume": 1700,
    "route": 4500,
    "store": 230,
}
_COUNT: Final = re.compile(r"I\s+refs:\s+([\d,]+)")


class CannotCount(Exception):
    """The work cannot be counted here; the text says why, and what to do."""


def interpreter() -> str:
    """Return what runs the work: counts of different builds of Python cannot be compared."""
    return f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"


def _environment() -> dict[str, str]:
    # Nothing else from here: coverage, say, would be counted too. Hashes that differ would change what
    # dictionaries do.
    return {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}


def _run(name: str, times: int) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(
        [*command, sys.executable, "-m", _WORKER, name, str(times)],
        cwd=_ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = _COUNT.search(done.stderr)
    if done.returncode or found is None:
        raise CannotCount(f"valgrind could not count the work {name!r}:\n{done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


def count(names: Iterable[str] = tuple(WORKS)) -> dict[str, int]:
    """Return the instructions of each piece of work, done once.

    Raises:
        CannotCount: valgrind is missing, or fails.
    """
    if shutil.which("valgrind") is None:
        raise CannotCount("valgrind is not installed: on Debian, apt install valgrind")
    for name in names:
        # Whoever comes first compiles modules, and writes the result down for the others.
        subprocess.run([sys.executable, "-m", _WORKER, name, "0"], cwd=_ROOT, env=_environment(), check=True)
    jobs = [(name, times) for name in names for times in (0, _TIMES[name])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(jobs, pool.map(lambda job: _run(*job), jobs), strict=True))
    return {name: (counts[name, times] - counts[name, 0]) // times for name, times in jobs if times}


def baseline() -> dict[str, int]:
    """Return the committed counts for this interpreter.

    Raises:
        CannotCount: There are none.
    """
    known: dict[str, dict[str, int]] = json.loads(BASELINE.read_text("utf-8"))
    if interpreter() not in known:
        raise CannotCount(
            f"{BASELINE.name} has no counts for {interpreter()}: python -m benchmarks.instructions --write"
        )
    return known[interpreter()]


def deviations(counted: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, float]:
    """Return by which part counts differ from the baseline, for those that differ by too much."""
    parts = {name: found / wanted[name] - 1 for name, found in counted.items()}
    return {name: part for name, part in parts.items() if abs(part) > TOLERANCE}


def _write(counted: dict[str, int]) -> None:
    known = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else {}
    known[interpreter()] = counted
    BASELINE.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", "utf-8")


def main() -> int:
    """Count, and print the counts beside the baseline; the exit status is 1 if one differs by too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make what is counted now the baseline")
    arguments = parser.parse_args()
    try:
        counted = count()
        if arguments.write:
            _write(counted)
        wanted = baseline()
    except CannotCount as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    rows = [["work", "instructions", "baseline", "difference"]]
    for name, found in counted.items():
        rows.append([name, str(found), str(wanted[name]), f"{100 * (found / wanted[name] - 1):+.1f} %"])
    print(table(rows))
    return 1 if deviations(counted, wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
