"""pika's BlockingConnection."""

import json
import threading
import time
import uuid
from typing import Any

import pika

from benchmarks.workers.common import Countdown, Job, Meter, load_message, report_latencies, run

_LATENCY_INTERVAL = 0.01


def properties_of(sample: dict[str, Any]) -> Any:
    """Return the properties of a new message."""
    return pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        headers=sample["headers"],
        message_id=str(uuid.uuid4()),
        priority=0,
    )


def encoded(sample: dict[str, Any]) -> bytes:
    """Encode the body, as every program does for every message."""
    return json.dumps(sample["body"]).encode()


def _publish(job: Job) -> None:
    meter = Meter(job)
    sample = load_message()
    connection = pika.BlockingConnection(pika.URLParameters(job.url))
    channel = connection.channel()
    channel.confirm_delivery()

    def publish_all(count: int) -> None:
        for _ in range(count):
            channel.basic_publish(job.exchange, sample["rk"], encoded(sample), properties_of(sample))

    publish_all(job.warmup)
    meter.start()
    publish_all(job.messages)
    meter.stop()
    connection.close()
    meter.report()


def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)
    connection = pika.BlockingConnection(pika.URLParameters(job.url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=job.prefetch)

    def callback(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        json.loads(body)
        channel.basic_ack(method.delivery_tag)
        if count.is_last():
            channel.stop_consuming()

    channel.basic_consume(job.queue, callback)
    channel.start_consuming()
    connection.close()
    meter.report()


def _latency(job: Job) -> None:
    sent: dict[str, float] = {}
    latencies: list[float] = []
    subscribed = threading.Event()

    def consume() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(job.url))
        channel = connection.channel()
        channel.basic_qos(prefetch_count=job.prefetch)

        def callback(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            latencies.append(time.perf_counter() - sent[json.loads(body)["key"]])
            channel.basic_ack(method.delivery_tag)
            if len(latencies) == job.total:
                channel.stop_consuming()

        channel.basic_consume(job.queue, callback)
        subscribed.set()
        channel.start_consuming()
        connection.close()

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    subscribed.wait()
    sample = load_message()
    connection = pika.BlockingConnection(pika.URLParameters(job.url))
    channel = connection.channel()
    channel.confirm_delivery()
    for number in range(job.total):
        key = str(number)
        sent[key] = time.perf_counter()
        channel.basic_publish(
            job.exchange, "latency", json.dumps({"key": key}).encode(), properties_of(sample)
        )
        time.sleep(max(0.0, _LATENCY_INTERVAL - (time.perf_counter() - sent[key])))
    consumer.join()
    connection.close()
    report_latencies(latencies[job.warmup :])


if __name__ == "__main__":
    run({"publish": _publish, "consume": _consume, "latency": _latency})
