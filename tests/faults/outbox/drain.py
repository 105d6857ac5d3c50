"""The queue of a run, looked at by a client of another library."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, cast

from tests.faults.outbox.load import EXCHANGE, QUEUE, key_of
from tests.support.admin import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pika
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.faults.outbox.load import Key

    Delivery = tuple[pika.spec.Basic.Deliver | None, pika.BasicProperties, bytes]

#: Seconds without a delivery after which a queue that should have messages is given up.
_PATIENCE: Final = 30.0


def declare(url: str) -> None:
    """Make the queue, so that whatever is published arrives in it."""
    with closing(connect(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        channel.queue_bind(QUEUE, EXCHANGE, f"{QUEUE}.#")


def drain(url: str) -> list[Key | None]:
    """Take everything out of the queue; ``None`` is a message that nobody has published so."""
    arrivals: list[Key | None] = []
    with closing(connect(url)) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=500)
        while count := _count(channel):
            for _, (method, properties, body) in zip(range(count), _deliveries(channel), strict=False):
                if method is None:
                    raise AssertionError(f"{count} messages are in the queue, and do not come")
                arrivals.append(key_of(method.routing_key, properties.message_id, body))
                channel.basic_ack(method.delivery_tag)
            channel.cancel()
    return arrivals


def depth(url: str) -> int:
    """How many messages are in the queue."""
    with closing(connect(url)) as connection:
        return _count(connection.channel())


def _count(channel: BlockingChannel) -> int:
    return cast("int", channel.queue_declare(QUEUE, passive=True).method.message_count)


def _deliveries(channel: BlockingChannel) -> Iterator[Delivery]:
    deliveries = channel.consume(QUEUE, inactivity_timeout=_PATIENCE)
    return cast("Iterator[Delivery]", deliveries)
