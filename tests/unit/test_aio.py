"""The asyncio face without a broker: checks of arguments, texts of errors, and the fate of a delivery."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fedora_messaging import aio, config
from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.consuming.inbox import Inbox
from fedora_messaging.exceptions import PublishTimeout
from fedora_messaging.message import Message
from fedora_messaging.options import QosOptions, QueueOptions
from fedora_messaging.testing import mock_sends

NOBODY = "amqp://127.0.0.1:1"


pytestmark = pytest.mark.usefixtures("settings")


def test_names() -> None:
    assert aio.__all__ == ["Bus", "Delivery", "Subscription", "connect"]


# The bus


def test_a_bus_that_nobody_entered() -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        assert type(bus) is aio.Bus
        assert not bus.connected
        await bus.close()
        await bus.close()
        assert not bus.connected

    asyncio.run(main())


def test_a_recorded_test_needs_no_broker(settings: config.LazyConfig) -> None:
    """Neither for entering the bus, nor for what it publishes, whatever the exchange and the limit."""
    settings["amqp_url"] = NOBODY

    async def main() -> None:
        first, second = Message(topic="a"), Message(topic="b")
        with mock_sends(first, second):
            async with aio.connect(timeout=0) as bus:
                await bus.publish(first)
                await bus.publish(second, "no.such", timeout=-1, mandatory=True)
                assert not bus.connected

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_no_time_to_publish(timeout: float) -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        with pytest.raises(PublishTimeout) as caught:
            await bus.publish(Message(topic="x"), timeout=timeout)
        assert caught.value.reason == f"Publishing timed out after waiting {timeout} seconds."
        assert not caught.value.sent
        await bus.close()

    asyncio.run(main())


@pytest.mark.parametrize("wrong", ["text", None, {"topic": "x"}])
def test_what_is_no_message(wrong: Any) -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        with pytest.raises(TypeError) as caught:
            await bus.publish(wrong)
        assert str(caught.value) == (
            f"publish() takes a fedora_messaging.message.Message, not a {type(wrong).__name__}"
        )
        await bus.close()

    asyncio.run(main())


# Subscribing


@pytest.mark.parametrize("prefetch", [-1, 65536, 10**6])
def test_prefetch_out_of_range_is_refused_before_the_iteration(prefetch: int) -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        with pytest.raises(ValueError) as caught:
            bus.subscribe("#", prefetch=prefetch)
        assert str(caught.value) == f"prefetch must be from 0 (no limit) to 65535, not {prefetch}"
        await bus.close()

    asyncio.run(main())


@pytest.mark.parametrize("prefetch", [0, 1, 65535])
def test_prefetch_in_range(prefetch: int) -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        assert isinstance(bus.subscribe("#", prefetch=prefetch), aio.Subscription)
        await bus.close()

    asyncio.run(main())


def test_name_of_the_queue_before_subscribing() -> None:
    """The broker has not chosen one yet."""

    async def main() -> None:
        bus = aio.connect(NOBODY)
        assert bus.subscribe("#", queue="mine").queue_name == "mine"
        assert bus.subscribe("#").queue_name == ""
        await bus.close()

    asyncio.run(main())


# Deliveries


def delivered(redelivered: bool = False) -> tuple[aio.Delivery, Consumer]:
    """A delivery, and its consumer, whose subscription is over."""
    consumer = Consumer(lambda _consumer: Inbox(), QueueOptions("q"), [], QosOptions(1))
    raw = Raw(1, 1, "q", "amq.topic", "t", redelivered, b"\0\0", b"{}")
    return aio.Delivery(Message(topic="t"), raw, consumer), consumer


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_new_delivery_is_not_settled(redelivered: bool) -> None:
    async def main() -> None:
        delivery, _consumer = delivered(redelivered)
        assert delivery.message.topic == "t"
        assert delivery.redelivered is redelivered
        assert not delivery.settled
        with pytest.raises(AttributeError):
            delivery.settled = True  # type: ignore[misc]

    asyncio.run(main())


FATES = {"ack": (1, 0, 0), "nack": (0, 1, 0), "reject": (0, 0, 1)}


@pytest.mark.parametrize("second", FATES)
@pytest.mark.parametrize("first", FATES)
def test_a_delivery_is_settled_and_counted_once(first: str, second: str) -> None:
    async def main() -> None:
        delivery, consumer = delivered()
        await getattr(delivery, first)()
        assert delivery.settled
        with pytest.raises(RuntimeError) as caught:
            await getattr(delivery, second)()
        assert str(caught.value) == f"the fate of message {delivery.message.id} is decided already"
        stats = consumer.stats
        assert (stats.processed, stats.rejected, stats.dropped) == FATES[first]

    asyncio.run(main())
