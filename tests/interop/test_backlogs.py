"""A backlog of any size arrives whole, however consumers acknowledge it: foreign clients and our faces."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aio_pika
import pika
import pytest
from tests.client.support import Consuming

from fedora_messaging import aio, api, config
from fedora_messaging.broker import Broker
from fedora_messaging.exceptions import HaltConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedora_messaging.message import Message

    #: Takes the broker's URL, how many messages there are, how many of them one acknowledgement covers, and
    #: the prefetch; returns the numbers that came.
    Consume = Callable[[str, int, int, int], list[int]]

#: Seconds for the next message to come.
DEADLINE = 20.0
QUEUE = "backlog"

SIZES = [50, 90, 1024, 65536, 300_000, 1024 * 1024]
#: How many messages one acknowledgement covers, and the prefetch (0: no limit). A batch of 0 messages
#: stands for no acknowledgements. What waits for 500 is more than the broker sends in one turn of its loop.
PATTERNS = [(0, 0), (1, 1), (1, 1000), (5, 10), (500, 1000), (10_000, 10_000)]


def count_of(size: int) -> int:
    """How many bodies of a size are more than the broker sends in one turn of its event loop."""
    return max(3, 400_000 // (size + 150))


def last_of_each_batch(number: int, batch: int, count: int) -> bool:
    return batch > 0 and ((number + 1) % batch == 0 or number + 1 == count)


@pytest.fixture(scope="module", params=["memory", "data"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    data = tmp_path_factory.mktemp("broker") if request.param == "data" else None
    with Broker(data=data) as broker:
        yield broker


@pytest.fixture(params=SIZES)
def backlog(broker: Broker, request: pytest.FixtureRequest) -> Iterator[int]:
    """A queue full of numbered bodies of one size; yields how many."""
    count = count_of(request.param)
    properties = pika.BasicProperties("application/json", "utf-8", delivery_mode=2)
    with pika.BlockingConnection(pika.URLParameters(broker.amqp_url)) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        for number in range(count):
            body = json.dumps({"number": number, "padding": ""})
            body = body.replace('""', json.dumps("x" * (request.param - len(body))))
            channel.basic_publish("", QUEUE, body.encode(), properties)
        assert channel.queue_declare(QUEUE, passive=True).method.message_count == count
        yield count
        channel.queue_delete(QUEUE)


@pytest.fixture
def library(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has the library's process-wide connection go to the broker, and closes it."""
    monkeypatch.setattr(config, "conf", config.LazyConfig())
    config.conf["amqp_url"] = broker.amqp_url
    yield
    api.close()


def with_pika(url: str, count: int, batch: int, prefetch: int) -> list[int]:
    found: list[int] = []
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=prefetch)
        for method, _, body in channel.consume(QUEUE, auto_ack=not batch, inactivity_timeout=DEADLINE):
            if method is None:
                break
            if last_of_each_batch(len(found), batch, count):
                channel.basic_ack(method.delivery_tag, multiple=batch > 1)
            found.append(json.loads(body)["number"])
            if len(found) == count:
                break
    return found


def with_aio_pika(url: str, count: int, batch: int, prefetch: int) -> list[int]:
    found: list[int] = []

    async def main() -> None:
        arrived = asyncio.Event()

        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            number = len(found)
            found.append(json.loads(message.body)["number"])
            if last_of_each_batch(number, batch, count):
                await message.ack(multiple=batch > 1)
            arrived.set()

        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch)
            queue = await channel.get_queue(QUEUE)
            await queue.consume(on_message, no_ack=not batch)
            while len(found) < count:
                arrived.clear()
                await asyncio.wait_for(arrived.wait(), DEADLINE)

    asyncio.run(main())
    return found


def with_our_asyncio_face(url: str, count: int, batch: int, prefetch: int) -> list[int]:
    found: list[int] = []

    async def main() -> None:
        waiting = []
        async with (
            aio.connect(url) as bus,
            bus.subscribe(queue=QUEUE, prefetch=prefetch, auto_ack=False) as subscription,
        ):
            for number in range(count):
                async with asyncio.timeout(DEADLINE):
                    waiting.append(await anext(subscription))
                found.append(waiting[-1].message.body["number"])
                if last_of_each_batch(number, batch, count):
                    for delivery in waiting:
                        await delivery.ack()
                    waiting.clear()

    asyncio.run(main())
    return found


@pytest.mark.parametrize(("batch", "prefetch"), PATTERNS)
@pytest.mark.parametrize("consume", [with_pika, with_aio_pika, with_our_asyncio_face])
def test_p42_backlog_arrives_whole(
    broker: Broker, backlog: int, consume: Consume, batch: int, prefetch: int
) -> None:
    assert consume(broker.amqp_url, backlog, batch, prefetch) == list(range(backlog))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("prefetch", [1, 10_000])
def test_p42_backlog_arrives_whole_at_our_sync_face(broker: Broker, backlog: int, prefetch: int) -> None:
    found: list[int] = []

    def callback(message: Message) -> None:
        found.append(message.body["number"])
        if len(found) == backlog:
            raise HaltConsumer

    settings = {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}
    config.conf["qos"] = {"prefetch_size": 0, "prefetch_count": prefetch}
    with Consuming(callback, bindings=[], queues={QUEUE: settings}) as consuming:
        assert isinstance(consuming.ended(DEADLINE), HaltConsumer)
    assert found == list(range(backlog))
