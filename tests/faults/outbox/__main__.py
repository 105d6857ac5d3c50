"""``make outbox-kills``, or ``python -m tests.faults.outbox``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import Final

from tests.faults.brokers import EmbeddedBroker, SingleRabbit
from tests.faults.children import HarnessError, run_program
from tests.faults.outbox.run import DELETE, WAL, Settings, kill
from tests.support.rabbitmq import RabbitNodeError

_BROKERS: Final = {kind.kind: kind for kind in (EmbeddedBroker, SingleRabbit)}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.outbox",
        description="Kill publishers that share an outbox, and their broker, and count what is lost. "
        "The exit status is 0 if everything that was promised was kept.",
    )
    add = parser.add_argument
    add("--kills", type=int, default=100, help="how many processes are killed; default 100")
    add("--broker", choices=_BROKERS, default="embedded", help="default embedded")
    add("--seed", type=int, help="of the kills; a random one by default")
    add("--no-forks", action="store_true", help="publishers do not fork")
    add("--journal-mode", choices=[WAL, DELETE], default=WAL, help="of the outbox; default wal")
    add(
        "--keep",
        type=Path,
        metavar="DIR",
        help="where to leave journals and logs; by default on failure only",
    )
    return parser.parse_args()


def _main() -> int:
    arguments = _arguments()
    seed = SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    settings = Settings(arguments.kills, seed, not arguments.no_forks, arguments.journal_mode)
    parent = arguments.keep or Path(tempfile.mkdtemp(prefix="fm-outbox-"))
    directory = parent.absolute() / f"{arguments.broker}-{seed}"
    if directory.exists():
        sys.exit(f"{directory} is there already")
    print(f"seed {seed}; journals and logs are in {directory}", flush=True)
    try:
        report = kill(settings, _BROKERS[arguments.broker], directory)
    except (HarnessError, RabbitNodeError) as error:
        print(f"outbox {arguments.broker} has failed: {error}")
        return 1
    if report.good and not arguments.keep:
        shutil.rmtree(parent)
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    run_program(_main)
