"""Where the time goes: profiles of our publisher, our consumer and the embedded broker."""

import io
import pstats
from dataclasses import replace
from pathlib import Path

from benchmarks.brokers import EMBEDDED, EmbeddedBroker, empty_queue
from benchmarks.cases import Case
from benchmarks.measure import Bench
from benchmarks.processes import ROOT
from benchmarks.rivals import OURS

_LINES = 30


def profile(bench: Bench, *, of_broker: bool, durable: bool = False) -> str:
    """Return the functions that take most time, of the client or of the broker, publishing and consuming.

    A profile makes calls dear: it tells where to look, not how long something takes.
    """
    parts = []
    cases = (
        Case(OURS, "publish 256", "publish", "ours_aio", window=256),
        Case(OURS, "consume 100", "consume", "ours_aio", prefetch=100),
    )
    for case in cases:
        whose = "broker" if of_broker else "client"
        name = f"profile-{whose}-{case.kind}{'-data' if durable else ''}"
        file = bench.directory / f"{name}.pstats"
        with (
            EmbeddedBroker(
                EMBEDDED,
                bench.directory / name,
                bench.source,
                durable=durable,
                profile=file if of_broker else None,
            ) as broker,
            empty_queue(broker),
        ):
            job = bench.job(case, broker, case.kind)
            if case.kind == "consume":
                bench.preload(broker, job.total + job.prefetch)
            profiled = replace(job, profile_broker=True) if of_broker else replace(job, profile=str(file))
            bench.work(case, broker, profiled)
        parts.append(f"== {whose}, {case.workload}, {job.messages} messages\n{_top(file, bench.source)}")
    return "\n".join(parts)


def _top(file: Path, source: Path) -> str:
    text = io.StringIO()
    pstats.Stats(str(file), stream=text).sort_stats("tottime").print_stats(_LINES)
    lines = text.getvalue().splitlines()
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("ncalls"))
    return "\n".join(
        line.replace(f"{source.parent}/", "").replace(f"{ROOT}/", "")
        for line in lines[first:]
        if line.strip()
    )
