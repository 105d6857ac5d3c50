"""Idle connections of all clients with a heartbeat every second stay up, all at the same time."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import aio_pika
import pika

from fedora_messaging import aio
from fedora_messaging.message import Message

if TYPE_CHECKING:
    import pytest

    from fedora_messaging.broker import Broker

IDLE = 7.5
"""Seconds. The broker gives up after 2 or 3, pika after 6, aio-pika after 6 without a sign of life."""


def blocking(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat=1")) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        deadline = time.monotonic() + IDLE
        while (left := deadline - time.monotonic()) > 0:
            connection.process_data_events(time_limit=left)
        # The queue is the connection's, so that it would be gone with it.
        assert channel.queue_declare(queue, passive=True).method.queue == queue


def selecting(url: str) -> None:
    ended = []

    def close() -> None:
        ended.append("idle")
        connection.close()

    def on_close(_connection: object, reason: object) -> None:
        ended.append(type(reason).__name__)
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        pika.URLParameters(f"{url}?heartbeat=1"),
        on_open_callback=lambda opened: opened.ioloop.call_later(IDLE, close),
        on_close_callback=on_close,
    )
    connection.ioloop.start()
    connection.ioloop.close()
    assert ended == ["idle", "ConnectionClosedByClient"]


async def asynchronous(url: str) -> None:
    async with await aio_pika.connect(f"{url}?heartbeat=1") as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await asyncio.sleep(IDLE)
        await channel.declare_queue(queue.name, passive=True)


async def our_own(url: str) -> None:
    async with aio.connect(f"{url}?heartbeat=1") as bus, bus.subscribe("heartbeats") as deliveries:
        queue = deliveries.queue_name
        await asyncio.sleep(IDLE)
        await bus.publish(Message(topic="heartbeats"), mandatory=True)
        assert (await anext(deliveries)).message.topic == "heartbeats"
        # A new connection would have a new one.
        assert deliveries.queue_name == queue


def test_heartbeats(embedded_broker: Broker, library: None, caplog: pytest.LogCaptureFixture) -> None:
    url = embedded_broker.amqp_url

    async def main() -> None:
        await asyncio.gather(
            asyncio.to_thread(blocking, url),
            asyncio.to_thread(selecting, url),
            asynchronous(url),
            our_own(url),
        )

    with caplog.at_level(logging.WARNING, "fedora_messaging"):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records if record.name.startswith("fedora")] == []
