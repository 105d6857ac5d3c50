"""A big message on a slow line: bytes that flow are progress, and no deadline ends the connection meanwhile.

Sizes, rates and deadlines are those of 12 MB at 64 KB a second, made smaller in proportion.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import message, numbers, run
from tests.support.slow_line import SlowLine
from tests.support.waiting import soon

from fedora_messaging import config
from fedora_messaging.client.amqp.topology import count
from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.group import runner_for
from fedora_messaging.client.outbox.sender import Outbox
from fedora_messaging.client.publishing.outgoing import encode, outgoing
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.options import OutboxOptions, QosOptions, QueueOptions
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.client.publishing.outgoing import Encoded
    from fedora_messaging.message import Message

#: Bytes a second, bytes of a message, and seconds for an answer: the message takes five times as long.
RATE = 200_000
SIZE = 1_000_000
TIMEOUT = 1.0


async def ignore(_message: Message) -> None:
    pass


def big(queue: str, number: int) -> Encoded:
    return encode(message(queue, number, padding="x" * SIZE), "amq.topic", False)


@asynccontextmanager
async def slow_client(broker: Broker) -> AsyncIterator[tuple[SlowLine, Supervisor]]:
    """A client whose line is slow."""
    async with SlowLine(broker.url, RATE) as line:
        options = connection_options(config.conf, broker.url)
        options = options._replace(host="127.0.0.1", port=line.port, heartbeat=1, answer_timeout=TIMEOUT)
        supervisor = Supervisor(options)
        try:
            yield line, supervisor
        finally:
            await supervisor.close()


def test_p36_requests_wait_behind_a_big_publish(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with slow_client(broker) as (line, supervisor):
            outcomes: list[Exception | None] = []
            await supervisor.connection()
            supervisor.submit(outgoing(big(queue, 1), outcomes.append))
            await soon(lambda: list(supervisor.publisher._in_flight()))
            # Its answer comes when the message has left.
            assert await supervisor.with_connection(lambda connection: count(connection, queue)) <= 1
            await soon(lambda: outcomes)
            assert outcomes == [None]
            assert line.connections == 1
        assert admin.ready(queue) == 1

    run(main())


def test_p36_answers_wait_behind_a_big_delivery(broker: Broker, admin: Admin, queue: str) -> None:
    received: list[Message] = []

    async def callback(one: Message) -> None:
        received.append(one)

    async def main() -> None:
        async with slow_client(broker) as (line, supervisor):
            admin.publish(queue, big(queue, 1).body)
            consumer = Consumer(runner_for(callback), QueueOptions(queue, durable=True), [], QosOptions(2))
            await supervisor.consume(consumer)
            await supervisor.with_connection(lambda connection: count(connection, queue))
            await soon(lambda: received)
            assert numbers(received) == [1]
            assert line.connections == 1

    run(main())
    assert admin.ready(queue) == 0


def test_p36_stopping_waits_behind_a_big_delivery(broker: Broker, admin: Admin, queue: str) -> None:
    """The connection, on which others work, lives on."""

    async def main() -> None:
        async with slow_client(broker) as (line, supervisor):
            # It takes longer than the five seconds that a broker has for its answer.
            body = message(queue, 1, padding="x" * (7 * RATE))._encoded_body
            admin.publish(queue, body)
            consumer = Consumer(runner_for(ignore), QueueOptions(queue, durable=True), [], QosOptions(1))
            connection = await supervisor.connection()
            channel = await connection.open_channel()
            await supervisor.consume(consumer)
            await soon(lambda: connection.machine.buffered)
            await consumer.stop()
            assert channel.is_open
            assert line.connections == 1

    run(main())


def test_p36_outbox_does_not_send_from_the_beginning_again(
    broker: Broker, admin: Admin, queue: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with slow_client(broker) as (line, supervisor):
            outbox = Outbox(
                OutboxOptions(path=str(tmp_path / "outbox.db"), **LIMITS), confirm_timeout=TIMEOUT
            )
            supervisor.attach_sender(outbox)
            await asyncio.wrap_future(outbox.put(big(queue, 1)))
            await outbox.empty()
            assert supervisor.publisher.published == 1
            assert line.connections == 1
        assert len(admin.take(queue)) == 1

    run(main())


LIMITS: dict[str, Any] = {"max_messages": 10, "max_bytes": 10**8, "max_age": None}


@pytest.mark.parametrize("direction", ["up", "down"])
def test_p36_line_that_stands_still_is_given_up(
    broker: Broker, admin: Admin, queue: str, direction: str
) -> None:
    """Progress is what counts: a line on which nothing moves any more is another one's business."""

    async def main() -> None:
        async with slow_client(broker) as (line, supervisor):
            connection = await supervisor.connection()
            line.halt()
            if direction == "up":
                supervisor.submit(outgoing(big(queue, 1), lambda _error: None))
            else:
                admin.publish(queue, big(queue, 1).body)
            asked = asyncio.ensure_future(count(connection, queue))
            await asyncio.wait([asked])
            assert asked.exception() is not None
            assert connection.closed.done()
            line.go_on()

    run(main())
