"""A network that changes bytes, or takes its time: publishing and consuming go on (P02, P14)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
from tests.client.support import message, run
from tests.faults.wire import Wire
from tests.support.waiting import WAIT

from fedora_messaging import aio
from fedora_messaging.config import conf
from fedora_messaging.exceptions import BaseException as LibraryException
from fedora_messaging.exceptions import PublishReturned
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.proxy import Direction

    from fedora_messaging.options import ConnectionOptions

#: How many connections are spoilt at the same time.
AT_ONCE: Final = 50
#: Seconds after which a broker that answers nothing, having taken what we send for something else, is left.
ANSWER_TIMEOUT: Final = 2.0
#: Seconds for a publish whose frame may have become longer than it is.
PATIENCE: Final = 1.0


async def come(subscription: aio.Subscription, number: int) -> None:
    """Return when a message has come."""
    async for delivery in subscription:
        if delivery.message.body.get("number") == number:
            return


async def measure(url: str, topic: str) -> dict[Direction, int]:
    """Count the bytes until a message is delivered."""
    async with Wire(url) as wire, aio.connect(wire.url) as bus, bus.subscribe(f"{topic}.#") as subscription:
        await bus.publish(message(topic, 0))
        await come(subscription, 0)
        return wire.passed[0].copy()


async def goes_on(bus: aio.Bus, subscription: aio.Subscription, topic: str) -> None:
    """Publish until it comes: what is in the way has an end.

    Raises:
        PublishReturned: The subscription is for something else.
    """
    coming = asyncio.create_task(come(subscription, 1))
    try:
        while not coming.done():
            try:
                await bus.publish(message(topic, 1), timeout=PATIENCE, mandatory=True)
            except PublishReturned:
                raise
            except LibraryException:
                pass
            await asyncio.wait([coming], timeout=PATIENCE / 2)
    finally:
        coming.cancel()
    await coming


@pytest.mark.parametrize(("broker", "step"), [("embedded", 4), ("rabbitmq", 16)], indirect=["broker"])
def test_p14_any_byte_is_changed(broker: Broker, names: Names, step: int) -> None:
    """AMQP has no checksums: a message may come changed or not at all, but nobody dies or waits for ever."""
    outcomes: Counter[str] = Counter()

    async def use(options: ConnectionOptions, topic: str) -> None:
        async with aio.Bus(options, WAIT) as bus, bus.subscribe(f"{topic}.#") as subscription:
            try:
                await bus.publish(message(topic, 0), timeout=PATIENCE)
                outcomes["confirmed"] += 1
            except LibraryException as error:
                outcomes[type(error).__name__] += 1
            try:
                await goes_on(bus, subscription, topic)
            except PublishReturned:
                outcomes["subscribed to something else"] += 1

    async def attempt(topic: str, direction: Direction, at: int) -> None:
        async with Wire(broker.url) as wire, asyncio.timeout(4 * WAIT):
            wire.corrupt_next(direction, at)
            options = connection_options(conf, f"{wire.url}?heartbeat=1")._replace(
                answer_timeout=ANSWER_TIMEOUT
            )
            try:
                await use(options, topic)
            except LibraryException as error:
                # The first connection or subscription: that is told, and done again by whoever wants to.
                outcomes[f"{type(error).__name__} at first"] += 1
                await use(options, topic)

    async def main() -> None:
        sizes = await measure(broker.url, names())
        flaws = iter([(way, at) for way, size in sizes.items() for at in range(0, size, step)])

        async def work() -> None:
            for way, at in flaws:
                await attempt(names(), way, at)

        await asyncio.gather(*[work() for _ in range(AT_ONCE)])

    run(main(), within=20 * WAIT)
    print(dict(outcomes))
    assert outcomes["confirmed"]
    assert outcomes["subscribed to something else"] <= len(f"{names()}.#") // step + 1


def test_p14_everything_takes_its_time(broker: Broker, names: Names) -> None:
    """Confirms that come late are confirms, and those who wait for them do so together."""
    topic = names()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Wire(broker.url) as wire:
            wire.delay = 0.05
            async with aio.connect(wire.url) as bus, bus.subscribe(f"{topic}.#") as subscription:
                begun = loop.time()
                await asyncio.gather(*[bus.publish(message(topic, number)) for number in range(200)])
                assert loop.time() - begun < 200 * wire.delay
                await come(subscription, 199)

    run(main())
