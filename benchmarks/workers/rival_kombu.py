"""kombu, the messaging library of Celery, which is built on py-amqp."""

import json
import uuid
from typing import Any

import kombu

from benchmarks.workers.common import Countdown, Job, Meter, load_message, run


def _publish(job: Job) -> None:
    meter = Meter(job)
    sample = load_message()
    with kombu.Connection(job.url, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()

        def publish_all(count: int) -> None:
            for _ in range(count):
                producer.publish(
                    json.dumps(sample["body"]).encode(),
                    exchange=job.exchange,
                    routing_key=sample["rk"],
                    headers=sample["headers"],
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                    priority=0,
                    message_id=str(uuid.uuid4()),
                )

        publish_all(job.warmup)
        meter.start()
        publish_all(job.messages)
        meter.stop()
    meter.report()


def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)
    is_done = False

    def callback(message: Any) -> None:
        nonlocal is_done
        json.loads(message.body)
        message.ack()
        is_done = is_done or count.is_last()

    with kombu.Connection(job.url) as connection:
        queue = kombu.Queue(job.queue, no_declare=True)
        consumer = connection.Consumer(
            [queue], on_message=callback, prefetch_count=job.prefetch, auto_declare=False
        )
        with consumer:
            while not is_done:
                connection.drain_events()
    meter.report()


if __name__ == "__main__":
    run({"publish": _publish, "consume": _consume})
