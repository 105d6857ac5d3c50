"""Our blocking face."""

import threading

from benchmarks.workers.common import Countdown, Job, Meter, run
from benchmarks.workers.ours_aio import check_received, consume_plan, message_maker
from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message


def publish(job: Job) -> None:
    """As many threads as the window is wide, each publishing one message at a time."""
    meter = Meter(job)
    make = message_maker()

    def lane(count: int) -> None:
        for _ in range(count):
            api.publish(make(), exchange=job.exchange)

    def publish_all(count: int) -> None:
        if job.window == 1:
            lane(count)
            return
        threads = [
            threading.Thread(target=lane, args=(len(range(i, count, job.window)),)) for i in range(job.window)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    publish_all(job.warmup)
    meter.start()
    publish_all(job.messages)
    meter.stop()
    meter.report()


def consume(job: Job) -> None:
    """A plain function as callback."""
    meter = Meter(job)
    count = Countdown(job, meter)
    first = True

    def callback(message: Message) -> None:
        nonlocal first
        if first:
            first = False
            check_received(message)
        if count.is_last():
            raise HaltConsumer

    try:
        api.consume(callback, **consume_plan(job))
    except HaltConsumer:
        meter.report()


if __name__ == "__main__":
    run({"publish": publish, "consume": consume})
