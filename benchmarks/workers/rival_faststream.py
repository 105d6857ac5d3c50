"""FastStream on RabbitMQ, which is built on aio-pika."""

import asyncio
import json
import logging
import uuid
from typing import Any

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage

from benchmarks.workers.common import Countdown, Job, Meter, in_lanes, load_message, run


def _broker(job: Job) -> Any:
    # Its log has a line for each message, which nobody would have in production.
    return RabbitBroker(job.url, logger=None, log_level=logging.CRITICAL)


async def _publish(job: Job) -> None:
    meter = Meter(job)
    sample = load_message()
    exchange = RabbitExchange(job.exchange, declare=False)
    async with _broker(job) as broker:

        async def publish() -> None:
            await broker.publish(
                json.dumps(sample["body"]).encode(),
                exchange=exchange,
                routing_key=sample["rk"],
                headers=sample["headers"],
                content_type="application/json",
                content_encoding="utf-8",
                persist=True,
                priority=0,
                message_id=str(uuid.uuid4()),
                mandatory=False,
            )

        await in_lanes(job.window, job.warmup, publish)
        meter.start()
        await in_lanes(job.window, job.messages, publish)
        meter.stop()
    meter.report()


async def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)
    done = asyncio.Event()
    broker = _broker(job)
    queue = RabbitQueue(job.queue, declare=False, durable=True)

    async def callback(message: RabbitMessage) -> None:
        if done.is_set():
            return
        json.loads(message.body)
        await message.ack()
        if count.is_last():
            done.set()

    broker.subscriber(queue, ack_policy=AckPolicy.MANUAL, channel=Channel(prefetch_count=job.prefetch))(
        callback
    )
    async with broker:
        await broker.start()
        await done.wait()
    meter.report()


if __name__ == "__main__":
    run(
        {"publish": lambda job: asyncio.run(_publish(job)), "consume": lambda job: asyncio.run(_consume(job))}
    )
