"""``make storage-crashes``, or ``python -m tests.faults.storage``."""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.faults.children import run_program
from tests.faults.storage.run import run
from tests.faults.storage.vfs import why_not


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.storage",
        description="Crash a broker's storage at many points, and count what is lost. The exit status is 0 "
        "if everything that was promised was kept.",
    )
    add = parser.add_argument
    add("--points", type=int, default=5000, help="how many crashes; default 5000, of about 15 a second")
    add("--seed", type=int, help="of all that is random; a random one by default")
    add("--keep", type=Path, metavar="DIR", help="where to leave the files with which something was wrong")
    return parser.parse_args()


def _main() -> int:
    arguments = _arguments()
    if (reason := why_not()) is not None:
        print(reason)
        return 1
    # What a broker says while its disk fails is what it should say.
    logging.disable(logging.CRITICAL)
    seed = SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    directory = Path(tempfile.mkdtemp(prefix="fm-storage-"))
    print(f"seed {seed}", flush=True)
    try:
        report = run(arguments.points, seed, directory, print, arguments.keep)
    finally:
        shutil.rmtree(directory)
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    run_program(_main)
