"""What the measured programs share. Standard library only: rivals run it in environments of their own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cProfile
    from collections.abc import Awaitable, Callable

EXCHANGE = "amq.topic"

_MESSAGE_FILE = Path(__file__).resolve().parent.parent / "message.json"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_BYTES_PER_MB = 1_000_000

# Told to benchmarks.workers.profiled_broker.
START_PROFILE = signal.SIGUSR1
STOP_PROFILE = signal.SIGUSR2


@dataclass(frozen=True)
class Job:
    """What a worker has to do; it comes as JSON in the first argument.

    Attributes:
        workload: One of those the worker knows.
        url: The broker's.
        broker_pid: The broker's process, whose CPU is counted too.
        queue: Queue to consume, or bound for what is published.
        exchange: Where to publish.
        messages: How many are measured.
        warmup: How many come before those.
        window: Publishes under way at once.
        prefetch: Deliveries the broker may send ahead.
        style: A variant of the workload.
        profile: File for the profile of the measured part.
        profile_broker: Tell the broker to profile itself meanwhile.
    """

    workload: str
    url: str
    broker_pid: int
    queue: str
    messages: int
    warmup: int
    exchange: str = EXCHANGE
    window: int = 1
    prefetch: int = 0
    style: str = ""
    profile: str = ""
    profile_broker: bool = False

    @classmethod
    def from_arguments(cls) -> Job:
        return cls(**json.loads(sys.argv[1]))

    def to_argument(self) -> str:
        return json.dumps(self.__dict__)

    @property
    def total(self) -> int:
        """Messages with those of the warm-up."""
        return self.warmup + self.messages


def load_message() -> dict[str, Any]:
    """Read the message everybody sends: ``body``, ``headers``, and ``rk``, its routing key."""
    with _MESSAGE_FILE.open(encoding="utf-8") as file:
        message: dict[str, Any] = json.load(file)
    return message


def process_cpu_seconds(pid: int) -> float:
    """User and system CPU of another process so far, in steps of 10 ms (proc(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    # The second field is the command in brackets, and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def rss_mb(pid: int | str = "self", field: str = "VmHWM") -> float:
    """Memory in MB: the most there ever was (``VmHWM``), or what there is now (``VmRSS``).

    Not getrusage's ru_maxrss, which on Linux counts the parent's memory at the time of the fork.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / _BYTES_PER_MB
    return 0.0


def _own_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Takes time and CPU, ours and the broker's, between `start` and `stop`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._begin = (0.0, 0.0, 0.0)
        self._spent: list[float] = []
        self._profile: cProfile.Profile | None = None

    def start(self) -> None:
        if self._job.profile_broker:
            os.kill(self._job.broker_pid, START_PROFILE)
        self._begin = self._now()
        if self._job.profile:
            import cProfile

            self._profile = cProfile.Profile()
            self._profile.enable()

    def stop(self) -> None:
        if self._profile is not None:
            self._profile.disable()
        self._spent = [end - begin for end, begin in zip(self._now(), self._begin, strict=True)]
        if self._job.profile_broker:
            os.kill(self._job.broker_pid, STOP_PROFILE)
        if self._profile is not None:
            self._profile.dump_stats(self._job.profile)

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), _own_cpu_seconds(), process_cpu_seconds(self._job.broker_pid)

    def report(self) -> None:
        """Write what was measured, per message, where the harness reads it."""
        seconds, cpu, broker_cpu = self._spent
        count = self._job.messages
        write_report(
            rate=count / seconds,
            cpu_us=cpu / count * 1e6,
            broker_us=broker_cpu / count * 1e6,
            rss_mb=rss_mb(),
        )


class Countdown:
    """Counts deliveries: measures those after the warm-up, until there were enough."""

    def __init__(self, job: Job, meter: Meter) -> None:
        self._meter = meter
        self._first = job.warmup
        self._last = job.total
        self._seen = 0

    def is_last(self) -> bool:
        """Count one, and tell whether it was the last."""
        self._seen += 1
        if self._seen == self._first:
            self._meter.start()
        elif self._seen == self._last:
            self._meter.stop()
            return True
        return False


async def in_lanes(window: int, count: int, publish: Callable[[], Awaitable[object]]) -> None:
    """Publish so many messages, of which some are under way at once."""
    left = count

    async def lane() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await publish()

    async with asyncio.TaskGroup() as lanes:
        for _ in range(window):
            lanes.create_task(lane())


def write_report(**figures: float) -> None:
    """Write figures where the harness reads them."""
    print(json.dumps(figures), flush=True)


def report_latencies(seconds: list[float]) -> None:
    """Write the median and the 99th percentile of latencies."""
    ordered = sorted(seconds)
    write_report(
        p50_ms=ordered[len(ordered) // 2] * 1e3,
        p99_ms=ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3,
    )


def run(workloads: dict[str, Callable[[Job], None]]) -> None:
    """Do the job given in the first argument."""
    job = Job.from_arguments()
    workloads[job.workload](job)
