"""``make broker-kills``, or ``python -m tests.faults.kills``."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.faults.children import HarnessError, run_program
from tests.faults.kills.run import kill


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.kills",
        description="Kill the embedded broker while pika, aio-pika and aiormq use it, and count what is "
        "lost. The exit status is 0 if no message that was confirmed is.",
    )
    parser.add_argument("--kills", type=int, default=100, help="how many times; default 100")
    parser.add_argument("--seed", type=int, help="of the moments; a random one by default")
    arguments = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    # The libraries tell of each connection that they lose.
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="fm-kills-") as directory:
        try:
            report = kill(arguments.kills, seed, Path(directory) / "broker")
        except HarnessError as error:
            print(f"failed: {error}")
            return 1
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    run_program(_main)
