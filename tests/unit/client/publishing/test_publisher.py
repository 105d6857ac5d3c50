"""The publisher without a connection: what waits, what is given up, and who waits for the end."""

from __future__ import annotations

import asyncio

from tests.client.support import run

from fedora_messaging.client.publishing.outgoing import Outgoing, encode, outgoing
from fedora_messaging.client.publishing.publisher import Publisher
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.message import Message

LOST = ConnectionException("the broker is away", reason="the broker is away")


def publish(outcomes: list[Exception | None]) -> Outgoing:
    return outgoing(encode(Message(topic="x"), "amq.topic", False), outcomes.append)


def test_publishes_wait_until_they_fail() -> None:
    async def main() -> None:
        publisher = Publisher()
        outcomes: list[Exception | None] = []
        assert not publisher.has_waiting
        for _ in range(2):
            publisher.submit(publish(outcomes))
        assert publisher.has_waiting
        publisher.fail_waiting(LOST)
        assert outcomes == [LOST, LOST]
        assert not publisher.has_waiting
        assert publisher.published == 0

    run(main())


def test_abandoned_publish_keeps_nobody_waiting() -> None:
    async def main() -> None:
        publisher = Publisher()
        out = publish([])
        publisher.submit(out)
        out.abandon()
        assert not publisher.has_waiting
        await publisher.idle()

    run(main())


def test_several_wait_for_the_end_and_one_gives_up() -> None:
    async def main() -> None:
        publisher = Publisher()
        publisher.submit(publish([]))
        waiters = [asyncio.ensure_future(publisher.idle()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(waiter.done() for waiter in waiters)
        waiters[-1].cancel()
        await asyncio.wait(waiters[-1:])
        publisher.fail_all(LOST)
        await asyncio.gather(*waiters[:-1])

    run(main())
