"""RabbitMQ's streams: read by consumer arguments, and read on after a reconnect from where it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import Consuming, message, numbers, queue_settings, run
from tests.support.proxy import BASIC_CONSUME, Proxy
from tests.support.waiting import eventually, soon

from fedora_messaging import aio

if TYPE_CHECKING:
    from tests.conftest import BrokerUnderTest
    from tests.support.admin import Admin

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message

# The embedded broker has no streams.
on_rabbitmq = pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
STREAM = {"x-queue-type": "stream"}


@pytest.fixture
def stream(admin: Admin, name: str) -> str:
    """A stream that is bound for its messages."""
    return admin.declare(name, **STREAM)


def publish(admin: Admin, stream: str, *which: int) -> None:
    for number in which:
        admin.publish(stream, message(stream, number)._encoded_body)


def arguments(stream: str) -> dict[str, Any]:
    return {"queues": {stream: queue_settings(**STREAM)}, "bindings": []}


@on_rabbitmq
@pytest.mark.usefixtures("proxied_service")
def test_stream_from_its_beginning(
    broker: BrokerUnderTest, proxy: Proxy, admin: Admin, stream: str, settings: LazyConfig
) -> None:
    """Each reader gets everything; after a reconnect it goes on, instead of beginning anew."""
    settings["consumer"] = {"arguments": {"x-stream-offset": "first"}, "watchdog": 0.05}
    publish(admin, stream, *range(5))
    received: list[Message] = []
    with Consuming(received.append, **arguments(stream)):
        eventually(lambda: len(received) == 5)
        proxy.cut()
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        publish(admin, stream, *range(5, 10))
        eventually(lambda: received and received[-1].body["number"] == 9)
        # In a stream there are always messages; that is no reason to think that none arrives.
        assert proxy.accepted == 2
    assert numbers(received) == list(range(10))


@on_rabbitmq
def test_stream_goes_on_with_what_was_not_settled(
    broker: BrokerUnderTest, proxy: Proxy, admin: Admin, stream: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            publish(admin, stream, *range(6))
            async with bus.subscribe(
                queue=stream, arguments=STREAM, consumer_arguments={"x-stream-offset": 1}, auto_ack=False
            ) as subscription:
                first = [await anext(subscription) for _ in range(4)]
                assert numbers(delivery.message for delivery in first) == [1, 2, 3, 4]
                for delivery in (first[0], first[1], first[3]):
                    await delivery.ack()
                proxy.cut()
                await soon(lambda: proxy.count(BASIC_CONSUME) == 2)
                again = [await anext(subscription) for _ in range(3)]
                assert numbers(delivery.message for delivery in again) == [3, 4, 5]

    run(main())


@on_rabbitmq
def test_stream_from_now_on_loses_nothing_in_a_reconnect(
    broker: BrokerUnderTest, proxy: Proxy, admin: Admin, stream: str
) -> None:
    """To begin with what comes next is to begin at the first subscription, whatever breaks after it."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            async with bus.subscribe(queue=stream, arguments=STREAM) as subscription:
                proxy.refuse()
                proxy.cut()
                await soon(lambda: not bus.connected)
                # A chunk of the stream is found by its time in whole seconds.
                publish(admin, stream, 7)
                proxy.resume()
                delivery = await asyncio.wait_for(anext(subscription), 15)
                assert delivery.message.body["number"] == 7

    run(main())
