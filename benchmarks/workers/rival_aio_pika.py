"""aio-pika."""

import asyncio
import json
import uuid

import aio_pika

from benchmarks.workers.common import Countdown, Job, Meter, in_lanes, load_message, run


async def _publish(job: Job) -> None:
    meter = Meter(job)
    sample = load_message()
    async with await aio_pika.connect_robust(job.url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.get_exchange(job.exchange)

        async def publish() -> None:
            message = aio_pika.Message(
                json.dumps(sample["body"]).encode(),
                headers=sample["headers"],
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                priority=0,
                message_id=str(uuid.uuid4()),
            )
            await exchange.publish(message, sample["rk"], mandatory=False)

        await in_lanes(job.window, job.warmup, publish)
        meter.start()
        await in_lanes(job.window, job.messages, publish)
        meter.stop()
    meter.report()


async def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)
    done = asyncio.Event()

    async def callback(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        if done.is_set():
            return
        json.loads(message.body)
        await message.ack()
        if count.is_last():
            done.set()

    async with await aio_pika.connect_robust(job.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=job.prefetch)
        queue = await channel.get_queue(job.queue)
        await queue.consume(callback)
        await done.wait()
    meter.report()


if __name__ == "__main__":
    run(
        {"publish": lambda job: asyncio.run(_publish(job)), "consume": lambda job: asyncio.run(_consume(job))}
    )
