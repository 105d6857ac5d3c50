"""``make soak``, or ``python -m tests.faults.soak``."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from tests.faults.brokers import BROKERS
from tests.faults.children import HarnessError, run_program
from tests.faults.soak.run import Settings, soak
from tests.support.rabbitmq import RabbitNodeError, find_rabbitmq

if TYPE_CHECKING:
    from tests.faults.soak.report import Report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description="Publish and consume while everything breaks, and count what is lost.",
    )
    add = parser.add_argument
    add("--minutes", type=float, default=10.0, help="how long there are faults; default 10")
    add("--broker", choices=BROKERS, help="default: embedded, then cluster if RabbitMQ is installed")
    add("--seed", type=int, help="of the faults; a random one by default")
    add("--rate", type=float, default=100.0, help="messages per second; default 100")
    add("--report", type=Path, metavar="FILE", help="write all figures as JSON")
    add(
        "--keep",
        type=Path,
        metavar="DIR",
        help="where to leave journals and logs; by default kept on failure only",
    )
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, flush=True)


def _chosen(broker: str | None) -> list[str]:
    if broker is not None:
        return [broker]
    if find_rabbitmq() is None:
        _say("left out: cluster (install rabbitmq-server)")
        return ["embedded"]
    return ["embedded", "cluster"]


def _run(kind: str, settings: Settings, directory: Path) -> Report | None:
    try:
        report = soak(settings, BROKERS[kind](directory / "broker"), directory, _say)
    except (HarnessError, RabbitNodeError) as error:
        _say(f"soak {kind} has failed: {error}")
        return None
    _say(str(report))
    return report


def _main() -> int:
    arguments = _arguments()
    seed = SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    settings = Settings(arguments.minutes, seed, arguments.rate)
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="fm-soak-"))
    reports = {kind: _run(kind, settings, directory / kind) for kind in _chosen(arguments.broker)}
    if arguments.report:
        figures = {kind: report and report.as_dict() for kind, report in reports.items()}
        arguments.report.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    good = all(report is not None and report.good for report in reports.values())
    if good and not arguments.keep:
        shutil.rmtree(directory)
    else:
        _say(f"journals and logs are in {directory}")
    return 0 if good else 1


if __name__ == "__main__":
    run_program(_main)
