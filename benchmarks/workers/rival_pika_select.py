"""pika's SelectConnection, with a window of unconfirmed messages."""

import json
from collections.abc import Callable
from typing import Any

import pika

from benchmarks.workers.common import Countdown, Job, Meter, load_message, run
from benchmarks.workers.rival_pika_blocking import encoded, properties_of


def _with_channel(job: Job, use: Callable[[Any], None]) -> None:
    """Connect, call a function with an open channel, and return when the connection is closed."""

    def opened(connection: Any) -> None:
        connection.channel(on_open_callback=use)

    def failed(_connection: Any, error: BaseException) -> None:
        raise error

    connection = pika.SelectConnection(
        pika.URLParameters(job.url),
        on_open_callback=opened,
        on_open_error_callback=failed,
        on_close_callback=lambda connection, _reason: connection.ioloop.stop(),
    )
    connection.ioloop.start()


class _Publisher:
    """Keeps the window full until everything is sent and confirmed."""

    def __init__(self, job: Job, meter: Meter, channel: Any) -> None:
        self._job = job
        self._meter = meter
        self._channel = channel
        self._sample = load_message()
        self._target = job.warmup
        self._sent = 0
        self._confirmed = 0
        self._oldest = 1
        self._outstanding: set[int] = set()

    def start(self) -> None:
        """Ask for confirms, and begin when they are granted."""
        self._channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._fill())

    def _fill(self) -> None:
        while self._sent < self._target and len(self._outstanding) < self._job.window:
            self._sent += 1
            self._outstanding.add(self._sent)
            self._channel.basic_publish(
                self._job.exchange, self._sample["rk"], encoded(self._sample), properties_of(self._sample)
            )

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            raise SystemExit("the broker refused a message")
        if method.multiple:
            while self._oldest <= method.delivery_tag:
                self._outstanding.discard(self._oldest)
                self._oldest += 1
        else:
            self._outstanding.discard(method.delivery_tag)
        self._confirmed = self._sent - len(self._outstanding)
        if self._confirmed == self._target:
            self._next_part()
        self._fill()

    def _next_part(self) -> None:
        if self._target == self._job.warmup:
            self._target = self._job.total
            self._meter.start()
        else:
            self._meter.stop()
            self._channel.connection.close()


def _publish(job: Job) -> None:
    meter = Meter(job)

    def use(channel: Any) -> None:
        _Publisher(job, meter, channel).start()

    _with_channel(job, use)
    meter.report()


def _consume(job: Job) -> None:
    meter = Meter(job)
    count = Countdown(job, meter)

    def callback(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        if channel.is_closing or channel.is_closed:
            return
        json.loads(body)
        channel.basic_ack(method.delivery_tag)
        if count.is_last():
            channel.connection.close()

    def use(channel: Any) -> None:
        channel.basic_qos(
            prefetch_count=job.prefetch,
            callback=lambda _frame: channel.basic_consume(job.queue, callback),
        )

    _with_channel(job, use)
    meter.report()


if __name__ == "__main__":
    run({"publish": _publish, "consume": _consume})
