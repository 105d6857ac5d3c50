"""Publishers and a consumer that are written with other people's libraries, each in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import aio_pika
import aiormq
import pika
from pamqp.exceptions import PAMQPException
from pika.exceptions import AMQPError
from tests.faults.children import await_that

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_PATIENCE: Final = 60.0
#: Publishes whose confirms are awaited together.
_TOGETHER: Final = 8
#: Confirms between two kills, at least.
_PROGRESS: Final = 5
#: Seconds after which the consumer looks again into queues that were empty.
_PAUSE: Final = 0.01
#: What the libraries raise when the broker has gone.
_GONE: Final = (AMQPError, aiormq.AMQPException, PAMQPException, OSError, RuntimeError, asyncio.TimeoutError)


class Publisher(threading.Thread):
    """Publishes numbered messages to a queue of its own until it is told to stop; connects again and again.

    Args:
        library: What it is written with, also the name of its queue.
        work: Connects, and publishes until the broker is gone.

    Attributes:
        sent: How many it has published.
        confirmed: The numbers of those that were confirmed.
        connects: How often it has connected.
    """

    def __init__(self, library: str, work: Callable[[Publisher], None]) -> None:
        super().__init__(name=f"publisher {library}")
        self.library = library
        self.sent = 0
        self.confirmed: set[int] = set()
        self.connects = 0
        self.done = threading.Event()
        self._work = work

    def run(self) -> None:
        while not self.done.is_set():
            with suppress(*_GONE):
                self._work(self)

    def next(self) -> tuple[int, bytes]:
        """Return the number and body of the next message."""
        self.sent += 1
        return self.sent, b"%d" % self.sent + b" " * (self.sent % 5 * 1000)

    def await_progress(self) -> None:
        """Wait until something is confirmed that is published from now on.

        Raises:
            HarnessError: Nothing is.
        """
        goal = len(self.confirmed) + _PROGRESS
        await_that(lambda: len(self.confirmed) >= goal, _PATIENCE, lambda: f"{self.library} publishes")


def pika_publisher(url: str) -> Callable[[Publisher], None]:
    """Publishes with pika's blocking connection, which waits for each confirm."""

    def work(publisher: Publisher) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        with connection, connection.channel() as channel:
            publisher.connects += 1
            channel.queue_declare(publisher.library, durable=True)
            channel.confirm_delivery()
            while not publisher.done.is_set():
                number, body = publisher.next()
                channel.basic_publish("", publisher.library, body, pika.BasicProperties(delivery_mode=2))
                publisher.confirmed.add(number)

    return work


async def _together(publisher: Publisher, publish: Callable[[bytes], Awaitable[object]]) -> None:
    """Publish several at once, and note which of them are confirmed."""

    async def one(number: int, body: bytes) -> None:
        await publish(body)
        publisher.confirmed.add(number)

    results = await asyncio.gather(
        *(one(*publisher.next()) for _ in range(_TOGETHER)), return_exceptions=True
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


def aio_pika_publisher(url: str) -> Callable[[Publisher], None]:
    """Publishes with aio-pika, several messages at once."""

    async def main(publisher: Publisher) -> None:
        connection = await aio_pika.connect(url)
        async with connection:
            publisher.connects += 1
            channel = await connection.channel(publisher_confirms=True)
            await channel.declare_queue(publisher.library, durable=True)

            def publish(body: bytes) -> Awaitable[object]:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                return channel.default_exchange.publish(message, publisher.library)

            while not publisher.done.is_set():
                await _together(publisher, publish)

    return lambda publisher: asyncio.run(main(publisher))


def aiormq_publisher(url: str) -> Callable[[Publisher], None]:
    """Publishes with aiormq, to a quorum queue."""

    async def main(publisher: Publisher) -> None:
        connection = await aiormq.connect(url)
        try:
            publisher.connects += 1
            channel = await connection.channel(publisher_confirms=True)
            await channel.queue_declare(
                publisher.library,
                durable=True,
                arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
            )

            def publish(body: bytes) -> Awaitable[object]:
                properties = aiormq.spec.Basic.Properties(delivery_mode=2)
                return channel.basic_publish(body, routing_key=publisher.library, properties=properties)

            while not publisher.done.is_set():
                await _together(publisher, publish)
        finally:
            with suppress(*_GONE):
                await connection.close()

    return lambda publisher: asyncio.run(main(publisher))


LIBRARIES: Final = {"pika": pika_publisher, "aio-pika": aio_pika_publisher, "aiormq": aiormq_publisher}


class Consumer(threading.Thread):
    """Takes messages from all queues with pika, and acknowledges them, until it is told to stop.

    Args:
        url: Of the broker.
        queues: The queues.

    Attributes:
        times: How often each message came, by queue and number.
        surprises: Messages that came again without the mark of that.
    """

    def __init__(self, url: str, queues: Sequence[str]) -> None:
        super().__init__(name="consumer")
        self.times: Counter[tuple[str, int]] = Counter()
        self.surprises: list[tuple[str, int]] = []
        self.done = threading.Event()
        self._url = url
        self._queues = queues

    def run(self) -> None:
        while not self.done.is_set():
            with suppress(*_GONE):
                self._work()

    def _work(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        with connection, connection.channel() as channel:
            while not self.done.is_set():
                taken = [self._take(channel, queue) for queue in self._queues]
                if not any(taken):
                    connection.process_data_events(_PAUSE)

    def _take(self, channel: pika.adapters.blocking_connection.BlockingChannel, queue: str) -> bool:
        method, _, body = channel.basic_get(queue)
        if method is None:
            return False
        key = queue, int(body)
        if self.times[key] and not method.redelivered:
            self.surprises.append(key)
        self.times[key] += 1
        channel.basic_ack(method.delivery_tag)
        return True

    def drain(self) -> None:
        """Take all that is left."""
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        with connection, connection.channel() as channel:
            for queue in self._queues:
                while self._take(channel, queue):
                    pass


class Crew:
    """A publisher of each library, and a consumer; leaving the context ends them."""

    def __init__(self, url: str) -> None:
        self.publishers = [Publisher(name, make(url)) for name, make in LIBRARIES.items()]
        self.consumer = Consumer(url, [*LIBRARIES])

    def __enter__(self) -> Self:
        for thread in (*self.publishers, self.consumer):
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all threads; the broker has to run, or to be gone."""
        for done in (*(publisher.done for publisher in self.publishers), self.consumer.done):
            done.set()
        for thread in (*self.publishers, self.consumer):
            thread.join()
