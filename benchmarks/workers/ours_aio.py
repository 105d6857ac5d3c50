"""Our asyncio face."""

import asyncio
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from benchmarks.workers.common import Countdown, Job, Meter, load_message, report_latencies, run
from fedora_messaging import aio, config
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message, get_class

#: Messages made beforehand where making them is not measured.
_POOL = 512
_LATENCY_INTERVAL = 0.01


def message_maker(prebuilt: bool = False) -> Callable[[], Message]:
    """Return what makes a message of the schema class, with an id of its own."""
    sample = load_message()
    cls = get_class(sample["headers"]["fedora_messaging_schema"])
    if cls is Message:
        raise SystemExit("the package bodhi-messages is missing: nothing would be validated")

    def make() -> Message:
        return cls(topic=sample["rk"], body=sample["body"])

    if prebuilt:
        return cycle([make() for _ in range(_POOL)]).__next__
    return make


def check_received(message: Message) -> None:
    """Refuse to measure what was not decoded into its schema class."""
    if type(message) is Message:
        raise SystemExit("the messages lost their schema on the way")


def consume_plan(job: Job) -> dict[str, Any]:
    """Return the arguments of ``consume`` after the callback, having set the prefetch."""
    config.conf["qos"] = {"prefetch_size": 0, "prefetch_count": job.prefetch}
    queue = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    return {
        "bindings": [{"exchange": job.exchange, "queue": job.queue, "routing_keys": ["#"]}],
        "queues": {job.queue: queue},
    }


async def _publish_all(bus: aio.Bus, make: Callable[[], Message], job: Job, count: int) -> None:
    left = count

    async def lane() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await bus.publish(make(), exchange=job.exchange)

    async with asyncio.TaskGroup() as lanes:
        for _ in range(job.window):
            lanes.create_task(lane())


async def _publish(job: Job) -> None:
    meter = Meter(job)
    make = message_maker(job.style == "prebuilt")
    async with aio.connect(job.url) as bus:
        await _publish_all(bus, make, job, job.warmup)
        meter.start()
        await _publish_all(bus, make, job, job.messages)
        meter.stop()
    meter.report()


async def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)
    first = True

    async def callback(message: Message) -> None:
        nonlocal first
        if first:
            first = False
            check_received(message)
        if count.is_last():
            raise HaltConsumer

    async with aio.connect(job.url) as bus:
        try:
            await bus.consume(callback, **consume_plan(job))
        except HaltConsumer:
            meter.report()


async def _latency(job: Job) -> None:
    sent: dict[str, float] = {}
    latencies: list[float] = []

    async def callback(message: Message) -> None:
        latencies.append(time.perf_counter() - sent[message.body["key"]])
        if len(latencies) == job.total:
            raise HaltConsumer

    async with aio.connect(job.url) as bus:
        consuming = asyncio.create_task(bus.consume(callback, **consume_plan(job)))
        for number in range(job.total):
            key = str(number)
            sent[key] = time.perf_counter()
            await bus.publish(Message(topic="latency", body={"key": key}))
            await asyncio.sleep(max(0.0, _LATENCY_INTERVAL - (time.perf_counter() - sent[key])))
        try:
            await consuming
        except HaltConsumer:
            report_latencies(latencies[job.warmup :])


if __name__ == "__main__":
    run(
        {
            "publish": lambda job: asyncio.run(_publish(job)),
            "consume": lambda job: asyncio.run(_consume(job)),
            "latency": lambda job: asyncio.run(_latency(job)),
        }
    )
