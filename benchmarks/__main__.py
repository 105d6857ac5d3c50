"""``make bench``, or ``python -m benchmarks``."""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import report
from benchmarks.brokers import EMBEDDED, EMBEDDED_DATA, RABBITMQ, Broker, start_brokers
from benchmarks.cases import CASES, Case
from benchmarks.measure import Bench, measure_full_queue
from benchmarks.processes import ProgramFailed, snapshot_source
from benchmarks.profiling import profile
from benchmarks.results import NO_BROKER, Results, Sample
from benchmarks.rivals import CLIENTS, OURS, Rivals, find_rivals

_QUICK_ROUNDS = 1
_QUICK_MESSAGES = 2000


def _clients(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in CLIENTS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(CLIENTS)}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed; see README.md.")
    add = parser.add_argument
    add("--broker", choices=("embedded", "rabbitmq", "both"), default="both")
    add("--rounds", type=_positive, metavar="N", default=3, help="default 3")
    add("--messages", type=_positive, metavar="N", default=20_000, help="for each measurement; default 20000")
    add("--clients", type=_clients, metavar="NAMES", default=CLIENTS, help=f"from {','.join(CLIENTS)}")
    add("--cases", metavar="TEXT", help="only cases with this in their name, as in 'publish 256'")
    add("--old-python", metavar="PATH", help="interpreter of an environment with the old fedora-messaging")
    add("--quick", action="store_true", help=f"{_QUICK_ROUNDS} round, {_QUICK_MESSAGES} messages")
    add("--million", action="store_true", help="also with a million messages in a queue (minutes)")
    add("--profile", action="store_true", help="instead, print where our client and broker spend their time")
    add("--json", type=Path, metavar="FILE", help="write all figures")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as a page")
    add("--svg", type=Path, metavar="FILE", help="draw the rates on the first broker")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = _QUICK_ROUNDS
        arguments.messages = min(arguments.messages, _QUICK_MESSAGES)
    return arguments


def _say(text: str) -> None:
    print(text, flush=True)


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _broker_names(wanted: str, rivals: Rivals) -> list[str]:
    names = [EMBEDDED, EMBEDDED_DATA] if wanted != "rabbitmq" else []
    if wanted != "embedded":
        if "rabbitmq" in rivals.versions:
            names.insert(0, RABBITMQ)
        else:
            _say("left out: rabbitmq (install rabbitmq-server)")
    return names


class _Run:
    """Measures everything, and goes on when one client fails."""

    def __init__(self, bench: Bench, cases: list[Case], brokers: list[Broker]) -> None:
        self.results = Results()
        self.failed = False
        self._bench = bench
        self._cases = cases
        self._brokers = brokers

    def round(self, number: int) -> None:
        """Measure each case once on each broker; every other round in the opposite order."""
        step = 1 if number % 2 else -1
        for case in self._cases[::step]:
            if case.brokerless:
                self._measure(case, None, number)
                continue
            for broker in self._brokers[::step]:
                if broker.name != EMBEDDED_DATA or case.with_data:
                    self._measure(case, broker, number)

    def _measure(self, case: Case, broker: Broker | None, number: int) -> None:
        where = NO_BROKER if broker is None else broker.name
        try:
            figures = self._bench.measure(case, broker)
        except ProgramFailed as error:
            self.failed = True
            _say(f"  FAILED {case.name} on {where}: {error}")
            return
        self.results.add(Sample(where, case.client, case.workload, number, figures))
        _say(f"  {where:14} {case.name:28} " + "  ".join(f"{k} {v:.1f}" for k, v in figures.items()))

    def full_queue(self) -> None:
        """Measure our brokers with a million messages."""
        for broker in self._brokers:
            if broker.name == RABBITMQ:
                continue
            for workload, figures in measure_full_queue(self._bench, broker).items():
                self.results.add(Sample(broker.name, OURS, workload, 1, figures))


def _print_profiles(bench: Bench) -> None:
    _say(profile(bench, of_broker=False))
    _say(profile(bench, of_broker=True))
    _say("\nWith a data directory:")
    _say(profile(bench, of_broker=True, durable=True))


def _print_start(rivals: Rivals) -> None:
    for client, reason in rivals.missing.items():
        _say(f"left out: {client} ({reason})")
    _say("versions: " + ", ".join(f"{name} {version}" for name, version in rivals.versions.items()))


def _main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="fm-bench-") as name:
        directory = Path(name)
        rivals = find_rivals(arguments.clients, arguments.old_python, directory)
        source, rivals.versions["source"] = snapshot_source(directory)
        bench = Bench(rivals, arguments.messages, directory, source)
        _print_start(rivals)
        if arguments.profile:
            _print_profiles(bench)
            return 0
        wanted = arguments.cases or ""
        cases = [case for case in CASES if case.client in rivals.clients and wanted in case.name]
        if not cases:
            _say("No case has that name and a client that can be run.")
            return 2
        names = _broker_names(arguments.broker, rivals)
        if not names:
            _say("There is no broker to measure with.")
            return 2
        with start_brokers(names, directory, source) as brokers:
            return _measure_all(arguments, bench, cases, brokers)


def _measure_all(
    arguments: argparse.Namespace, bench: Bench, cases: list[Case], brokers: list[Broker]
) -> int:
    for broker in brokers:
        _say(f"{broker.name}: ready after {broker.start_ms:.0f} ms, {broker.idle_rss_mb:.0f} MB idle")
    run = _Run(bench, cases, brokers)
    loads = []
    begin = time.monotonic()
    for number in range(1, arguments.rounds + 1):
        loads.append(os.getloadavg())
        _say(f"round {number} of {arguments.rounds}, load {_load()}")
        run.round(number)
    if arguments.million:
        run.full_queue()
    loads.append(os.getloadavg())
    _say(f"\n{report.figures(run.results)}\n\n{report.targets(run.results)}\n")
    _say(f"load {_load()}, took {time.monotonic() - begin:.0f} s")
    if arguments.json:
        report.write_json(arguments.json, run.results, bench.rivals, loads)
    if arguments.markdown:
        report.write_markdown(arguments.markdown, run.results, bench.rivals)
    if arguments.svg:
        report.write_svg(arguments.svg, run.results, brokers[0].name)
    return 1 if run.failed else 0


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(_main())
    except KeyboardInterrupt:
        sys.exit(130)
