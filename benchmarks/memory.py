"""The memory of a publisher, a consumer and a broker over many messages: ``python -m benchmarks.memory``."""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.brokers import EMBEDDED, EMBEDDED_DATA, RABBITMQ, empty_queue, start_brokers
from benchmarks.cases import Case
from benchmarks.measure import Bench
from benchmarks.processes import running, snapshot_source
from benchmarks.report import table
from benchmarks.rivals import OURS, find_rivals
from benchmarks.workers.common import rss_mb

_CASE = Case(OURS, "memory", "both", "ours_aio", window=256, prefetch=100)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    add = parser.add_argument
    add("--messages", type=int, metavar="N", default=10_000_000, help="default 10000000")
    add("--broker", choices=(EMBEDDED, EMBEDDED_DATA, RABBITMQ), default=EMBEDDED)
    add("--every", type=float, metavar="SECONDS", default=60.0, help="default 60")
    return parser.parse_args()


def main() -> int:
    """Measure, and print a table; the exit status is 1 if a program fails."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="fm-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        source, _ = snapshot_source(directory)
        bench = Bench(find_rivals((OURS,), None, directory), arguments.messages, directory, source)
        [broker] = stack.enter_context(start_brokers([arguments.broker], directory, source))
        consume = bench.job(_CASE, broker, "consume")
        stack.enter_context(empty_queue(broker, consume.exchange))
        programs = {}
        for role, job in (("consumer", consume), ("publisher", replace(consume, workload="publish"))):
            command, variables = bench.command(_CASE, broker, job), bench.variables(_CASE, broker)
            programs[role] = stack.enter_context(
                running(command, variables, stdout=subprocess.DEVNULL, stderr=sys.stderr)
            )
        pids = {role: program.pid for role, program in programs.items()} | {"broker": broker.pid}
        begin = time.monotonic()
        rows = [["after, s", *(f"{role}, MB" for role in pids)]]
        while any(program.poll() is None for program in programs.values()):
            for _ in range(int(arguments.every * 10)):
                time.sleep(0.1)
                if any(program.poll() is not None for program in programs.values()):
                    break
            else:
                found = [rss_mb(pid, "VmRSS") for pid in pids.values()]
                rows.append([f"{time.monotonic() - begin:.0f}", *(f"{memory:.1f}" for memory in found)])
                print("  ".join(rows[-1]), flush=True)
        seconds = time.monotonic() - begin
    print(table(rows))
    print(f"{consume.total} messages in {seconds:.0f} s: {consume.total / seconds:.0f} messages/s")
    return max(program.returncode != 0 for program in programs.values())


if __name__ == "__main__":
    sys.exit(main())
