"""How each kind of case is measured."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.brokers import (
    EMBEDDED,
    QUEUE,
    Broker,
    EmbeddedBroker,
    empty_queue,
    exchange_with_bindings,
    queue_length,
)
from benchmarks.cases import EMPTY_QUEUE, FULL_QUEUE, MILLION, Case
from benchmarks.processes import ROOT, Ended, ProgramFailed, collect, environment, run, running
from benchmarks.rivals import COMPILED, LIBRABBITMQ, OLD, OURS, Rivals
from benchmarks.workers.common import EXCHANGE, Job, rss_mb

Figures = dict[str, float]

_WORKERS = ROOT / "benchmarks" / "workers"
_MOST_WARMUP = 1000
_LEAST_MESSAGES = 200
_LATENCY_MESSAGES = 500
_LATENCY_WARMUP = 50
_COLD_REPEATS = 5
_PRELOAD_WINDOW = 1024


@dataclass
class Bench:
    """What all measurements share."""

    rivals: Rivals
    messages: int
    directory: Path
    source: Path
    _exchanges: dict[tuple[str, int], str] = field(default_factory=dict)

    def measure(self, case: Case, broker: Broker | None) -> Figures:
        """Measure a case once.

        Raises:
            ProgramFailed: The client did not do it.
        """
        if broker is None:
            return _WITHOUT_BROKER[case.kind](self, case)
        return _WITH_BROKER[case.kind](self, case, broker)

    def python(self, client: str) -> str:
        """Interpreter of a client's environment."""
        if client == OLD:
            assert self.rivals.old_python is not None
            return self.rivals.old_python
        return sys.executable

    def job(self, case: Case, broker: Broker, workload: str) -> Job:
        """Say what a worker has to do for a case."""
        messages = max(_LEAST_MESSAGES, int(self.messages * case.share))
        return Job(
            workload=workload,
            url=broker.url,
            broker_pid=broker.pid,
            queue=QUEUE,
            exchange=self._exchange(case, broker),
            messages=messages,
            warmup=min(_MOST_WARMUP, max(50, messages // 10)),
            window=case.window,
            prefetch=case.prefetch,
            style=case.style,
        )

    def _exchange(self, case: Case, broker: Broker) -> str:
        if not case.bindings:
            return EXCHANGE
        key = (broker.name, case.bindings)
        if key not in self._exchanges:
            self._exchanges[key] = exchange_with_bindings(broker, case.bindings)
        return self._exchanges[key]

    def variables(self, case: Case, broker: Broker | None) -> dict[str, str]:
        """Return the environment of a case's client."""
        conf = "" if broker is None else str(broker.conf)
        sources = {OURS: self.source, COMPILED: self.rivals.compiled}
        return environment(conf=conf, source=sources.get(case.client))

    def command(self, case: Case, broker: Broker, job: Job) -> list[str | Path]:
        """Return the command that does a job."""
        if case.client != LIBRABBITMQ:
            return [self.python(case.client), "-m", f"benchmarks.workers.{case.worker}", job.to_argument()]
        c_client = self.rivals.c_client
        assert c_client is not None
        window = job.window if job.workload == "publish" else job.prefetch
        sizes = [str(number) for number in (broker.port, job.messages, job.warmup, window)]
        message: list[str | Path] = [
            job.queue,
            job.exchange,
            c_client.routing_key,
            c_client.body,
            c_client.headers,
        ]
        return [c_client.program, job.workload, *sizes, *message, str(job.broker_pid)]

    def work(self, case: Case, broker: Broker, job: Job) -> Figures:
        """Let a worker do a job."""
        return run(self.command(case, broker, job), self.variables(case, broker)).figures()

    def preload(self, broker: Broker, count: int) -> None:
        """Fill the queue."""
        job = Job("publish", broker.url, broker.pid, QUEUE, messages=count, warmup=0, window=_PRELOAD_WINDOW)
        self.work(Case(OURS, "preload", "publish", "ours_aio"), broker, job)


def _publish(bench: Bench, case: Case, broker: Broker) -> Figures:
    job = bench.job(case, broker, "publish")
    with empty_queue(broker, job.exchange):
        figures = bench.work(case, broker, job)
        # A client that is quick because it loses messages is not quick.
        if (arrived := queue_length(broker)) != job.total:
            raise ProgramFailed(f"{job.total} messages were published, but {arrived} arrived")
        return figures


def _consume(bench: Bench, case: Case, broker: Broker) -> Figures:
    job = bench.job(case, broker, "consume")
    with empty_queue(broker):
        bench.preload(broker, job.total + job.prefetch)
        return bench.work(case, broker, job)


def _both(bench: Bench, case: Case, broker: Broker) -> Figures:
    """A publisher and a consumer at once; what counts is when the consumer has everything."""
    job = bench.job(case, broker, "consume")
    publish = replace(job, workload="publish", style="")
    with empty_queue(broker), _piped(bench, case, broker, job) as consumer:
        publisher = bench.work(case, broker, publish)
        figures = collect(consumer, 0.0).figures()
    return {**figures, "publisher_rate": publisher["rate"], "publisher_cpu_us": publisher["cpu_us"]}


@contextmanager
def _piped(bench: Bench, case: Case, broker: Broker, job: Job) -> "Iterator[subprocess.Popen[str]]":
    command, variables = bench.command(case, broker, job), bench.variables(case, broker)
    with running(command, variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        yield process


def _latency(bench: Bench, case: Case, broker: Broker) -> Figures:
    job = bench.job(case, broker, "latency")
    messages = min(_LATENCY_MESSAGES, job.messages)
    with empty_queue(broker):
        return bench.work(case, broker, replace(job, messages=messages, warmup=_LATENCY_WARMUP))


def _script(bench: Bench, case: Case, broker: Broker | None = None) -> Ended:
    script = _WORKERS / f"{case.worker}.py"
    return run([bench.python(case.client), script], bench.variables(case, broker))


def _cold_publish(bench: Bench, case: Case, broker: Broker) -> Figures:
    with empty_queue(broker):
        ends = [_script(bench, case, broker) for _ in range(_COLD_REPEATS)]
    memory = [int(end.output.split()[1]) * 1024 / 1e6 for end in ends]
    return {"wall_ms": median(end.wall for end in ends) * 1e3, "rss_mb": median(memory)}


def _cold_import(bench: Bench, case: Case) -> Figures:
    ends = [_script(bench, case) for _ in range(_COLD_REPEATS)]
    bare = [run([bench.python(case.client), "-c", "pass"], environment()) for _ in range(_COLD_REPEATS)]
    return {
        "wall_ms": median(float(end.output) for end in ends),
        "bare_python_ms": median(end.wall for end in bare) * 1e3,
    }


def _broker_start(bench: Bench, case: Case) -> Figures:
    inside = [_script(bench, case).output.split() for _ in range(_COLD_REPEATS)]
    commands = []
    for number in range(_COLD_REPEATS):
        directory = bench.directory / f"start-{time.monotonic_ns()}-{number}"
        with EmbeddedBroker(EMBEDDED, directory, bench.source, durable=False) as broker:
            commands.append((broker.start_ms, broker.idle_rss_mb))
    return {
        "wall_ms": median(start for start, _ in commands),
        "rss_mb": median(memory for _, memory in commands),
        "in_process_with_import_ms": median(float(both) for both, _ in inside),
        "in_process_ms": median(float(alone) for _, alone in inside),
    }


_WITH_BROKER: dict[str, Callable[[Bench, Case, Broker], Figures]] = {
    "publish": _publish,
    "consume": _consume,
    "both": _both,
    "latency": _latency,
    "cold_publish": _cold_publish,
}
_WITHOUT_BROKER: dict[str, Callable[[Bench, Case], Figures]] = {
    "cold_import": _cold_import,
    "broker_start": _broker_start,
}


def measure_full_queue(bench: Bench, broker: Broker) -> dict[str, Figures]:
    """Publish and consume with an empty queue, and behind and before a million messages."""
    case = Case(OURS, "million", "publish", "ours_aio", window=256, prefetch=100)
    job = bench.job(case, broker, "publish")
    taken = replace(job, workload="consume")

    def both() -> Figures:
        publishing = bench.work(case, broker, job)
        consuming = bench.work(case, broker, taken)
        return {
            "broker_us": publishing["broker_us"] + consuming["broker_us"],
            "publish_broker_us": publishing["broker_us"],
            "consume_broker_us": consuming["broker_us"],
            "rss_mb": rss_mb(broker.pid, "VmRSS"),
        }

    with empty_queue(broker):
        empty = both()
        bench.preload(broker, MILLION)
        full = both()
    return {EMPTY_QUEUE: empty, FULL_QUEUE: full}


__all__ = ["Bench", "Figures", "ProgramFailed", "measure_full_queue"]
