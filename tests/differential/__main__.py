"""``make differential``, or ``python -m tests.differential``."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

from tests.differential.finding import find, profile_of, side_by_side
from tests.support.rabbitmq import RabbitNode


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Compare the embedded broker with the installed RabbitMQ."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=main.__doc__)
    add = parser.add_argument
    add("--sequences", type=int, default=10_000, help="how many random sequences; default 10000")
    add("--seed", type=int, help="of the sequences; a random one by default")
    arguments = parser.parse_args()
    seed = SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    # The broker logs each connection that it closes because of a mistake; the clients make many.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory, RabbitNode(Path(directory)) as node:
        profile = profile_of(node)
        version = ".".join(map(str, node.version))
        _say(f"Profile {profile} and RabbitMQ {version}, seed {seed}")
        start = time.monotonic()
        with side_by_side(node) as comparison:
            found = find(comparison, profile, seed, arguments.sequences, _say)
    for entry, count in found.expected.most_common():
        _say(f"{count} times: {entry.what}")
    if found.unstable:
        _say(f"{found.unstable} differences were none the second time")
    _say(f"{found.steps} steps in {time.monotonic() - start:.0f} s")
    _say(f"{found.sequences} sequences, {len(found.differences)} differences")
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
