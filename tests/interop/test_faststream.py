"""FastStream: an application as a process, and its client, on every broker."""

from __future__ import annotations

import asyncio
import signal
import uuid
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from faststream.rabbit import Channel, QueueType, RabbitQueue
from tests.interop.apps.shop import DEAD, DELIVERY_LIMIT, PREFETCH, make_broker
from tests.interop.support import close_connections, own_vhost
from tests.support.admin import Admin
from tests.support.processes import Processes
from tests.support.waiting import WAIT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from faststream.rabbit import RabbitBroker, RabbitMessage
    from tests.conftest import BrokerUnderTest

    Scenario = Callable[["Customer"], Awaitable[None]]

SHOP: Final = Path(__file__).parent / "apps" / "shop.py"


class Shop:
    """The application, and those who use it.

    Attributes:
        broker: Where it runs.
        directory: Its working directory.
        process: The application.
    """

    def __init__(self, broker: BrokerUnderTest, directory: Path) -> None:
        self.broker = broker
        self.directory = directory
        self._processes = Processes(directory, INTEROP_URL=broker.url)

    def open(self) -> None:
        """Start the application, and wait until it has declared what it needs, and consumes."""
        self.process = self._processes.python(SHOP)
        self.process.wait_for("app started successfully")

    def close(self) -> None:
        self._processes.__exit__()

    def serve(self, scenario: Scenario) -> None:
        """Run a scenario with a customer."""

        async def main() -> None:
            async with asyncio.timeout(2 * WAIT), customer(self.broker.url) as one:
                await scenario(one)

        asyncio.run(main())


class Customer:
    """Sends messages to the application.

    Attributes:
        broker: FastStream's client.
        url: Where it is connected.

    Args:
        replies: What comes to its own queue.
    """

    def __init__(
        self, broker: RabbitBroker, url: str, name: str, replies: AsyncIterator[RabbitMessage]
    ) -> None:
        self.broker = broker
        self.url = url
        self._name = name
        self._replies = replies

    async def send(self, body: Any, *place: Any, **arguments: Any) -> None:
        """Publish a message whose replies come to the own queue."""
        await self.broker.publish(body, *place, reply_to=self._name, **arguments)

    async def replies(self, count: int) -> list[Any]:
        """The next replies."""
        messages = [await anext(self._replies) for _ in range(count)]
        return [await message.decode() for message in messages]


@asynccontextmanager
async def customer(url: str) -> AsyncIterator[Customer]:
    """Connect a customer."""
    broker = make_broker(url, "customer")
    name = f"replies.{uuid.uuid4().hex}"
    async with receiving(broker, RabbitQueue(name, exclusive=True)) as replies:
        yield Customer(broker, url, name, replies)


@asynccontextmanager
async def receiving(
    broker: RabbitBroker, queue: RabbitQueue, **settings: Any
) -> AsyncIterator[AsyncIterator[RabbitMessage]]:
    """Connect, and receive what is in a queue."""
    subscriber = broker.subscriber(queue, **settings)
    async with broker:
        await broker.start()
        async with aclosing(aiter(subscriber)) as messages:  # type: ignore[type-var]
            yield messages


@pytest.fixture(scope="module")
def shop(any_broker: BrokerUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The application runs."""
    with own_vhost(any_broker) as broker:
        made = Shop(broker, tmp_path_factory.mktemp("shop"))
        made.open()
        yield made
        made.close()


@pytest.fixture
def admin(shop: Shop) -> Iterator[Admin]:
    made = Admin(shop.broker.url)
    yield made
    made.close()


# Publishing and replies


def test_request(shop: Shop) -> None:
    """The reply comes without a queue for it."""

    async def scenario(one: Customer) -> None:
        async def double(number: int) -> Any:
            return await (await one.broker.request(number, "shop.double")).decode()

        assert await asyncio.gather(*map(double, range(50))) == [2 * number for number in range(50)]

    shop.serve(scenario)


def test_reply_to_a_queue(shop: Shop) -> None:
    async def scenario(one: Customer) -> None:
        for number in range(5):
            await one.send(number, "shop.double")
        assert sorted(await one.replies(5)) == [0, 2, 4, 6, 8]

    shop.serve(scenario)


def test_chain_of_handlers(shop: Shop, admin: Admin) -> None:
    """Each publishes what it returns, for the next one."""
    admin.channel.queue_declare("shop.served", durable=True)

    async def scenario(one: Customer) -> None:
        await one.broker.publish("soup", "shop.raw")

    shop.serve(scenario)
    assert eventually(lambda: admin.take("shop.served")) == [b"served cooked soup"]


def test_middleware(shop: Shop) -> None:
    """It sees what comes, and writes headers into what goes."""

    async def scenario(one: Customer) -> None:
        counts = []
        for _ in range(3):
            reply = await one.broker.request(1, "shop.double", headers={"x-count": True})
            counts.append(reply.headers["x-stamp"])
        assert counts == [counts[0], counts[0] + 1, counts[0] + 2]

    shop.serve(scenario)


# Exchanges


def test_topic_exchange(shop: Shop) -> None:
    async def scenario(one: Customer) -> None:
        for key in ("shop.log.error.disk", "shop.log.info", "shop.log.warning.net"):
            # What is not routed comes back, and is an error unless it is not mandatory.
            await one.send("full", routing_key=key, exchange="shop.logs", mandatory=False)
        assert sorted(await one.replies(2)) == ["error of disk: full", "warning of net: full"]

    shop.serve(scenario)


def test_headers_exchange(shop: Shop) -> None:
    async def scenario(one: Customer) -> None:
        async def send(name: str, **headers: Any) -> None:
            await one.send(name, exchange="shop.parcels", headers=headers, mandatory=False)

        await send("plain", size=3)
        await send("vase", size=3, fragile=True)
        await send("pen", size=1, colour="blue")
        assert sorted(await one.replies(2)) == ["large and fragile, 3: vase", "small or red: pen"]
        await send("lamp", size=3, fragile=True, colour="red")
        assert sorted(await one.replies(2)) == ["large and fragile, 3: lamp", "small or red: lamp"]

    shop.serve(scenario)


def test_fanout_exchange(shop: Shop) -> None:
    async def scenario(one: Customer) -> None:
        await one.send("news", exchange="shop.news")
        assert sorted(await one.replies(2)) == ["left news", "right news"]

    shop.serve(scenario)


# Acknowledgements and retries, in quorum queues


def test_manual_acknowledgements(shop: Shop, admin: Admin) -> None:
    """A message that is returned comes again; one that is rejected is a dead letter."""

    async def scenario(one: Customer) -> None:
        for verdict, replies in (
            ("ack", ["acknowledged"]),
            ("nack", ["returned", "acknowledged after its return"]),
            ("reject", ["rejected"]),
        ):
            await one.send(verdict, "shop.orders")
            assert await one.replies(len(replies)) == replies

    shop.serve(scenario)
    assert eventually(lambda: admin.take(DEAD.name)) == [b"reject"]
    eventually(lambda: admin.ready("shop.orders") == 0)


def test_retries_up_to_the_limit(shop: Shop, admin: Admin) -> None:
    """The broker counts them, and makes the message a dead letter."""

    async def scenario(one: Customer) -> None:
        await one.send("luck", "shop.hopeless")
        assert await one.replies(DELIVERY_LIMIT + 1) == ["attempt at luck"] * (DELIVERY_LIMIT + 1)

    shop.serve(scenario)
    assert eventually(lambda: admin.take(DEAD.name)) == [b"luck"]


# Streams


async def read(url: str, offset: int | str, count: int) -> list[str]:
    """Read so many lines of the stream."""
    found: list[str] = []
    enough = asyncio.Event()
    broker = make_broker(url, "reader")

    @broker.subscriber(
        RabbitQueue("shop.journal", queue_type=QueueType.STREAM),
        channel=Channel(prefetch_count=5),
        consume_args={"x-stream-offset": offset},
    )
    async def on_line(line: str) -> None:
        found.append(line)
        if len(found) == count:
            enough.set()

    async with broker:
        await broker.start()
        await enough.wait()
    return found


def test_stream(shop: Shop) -> None:
    """The application reads it from its beginning, and whoever comes later from where they like."""
    lines = [f"line {number}" for number in range(20)]

    async def scenario(one: Customer) -> None:
        for line in lines:
            await one.send(line, "shop.journal")
        # It works on several at a time.
        assert set(await one.replies(20)) == {f"{offset}: {line}" for offset, line in enumerate(lines)}
        for offset, first in (("first", 0), (15, 15)):
            found = await read(one.url, offset, len(lines) - first)
            assert set(found) == set(lines[first:])

    shop.serve(scenario)


# The end of a connection, and of the application


def test_connection_that_the_operator_closes(shop: Shop) -> None:
    """The application connects again, and goes on."""
    close_connections(shop.broker, "shop")
    test_request(shop)
    test_topic_exchange(shop)


def test_application_that_is_stopped(shop: Shop, admin: Admin) -> None:
    """It finishes what it has begun. What waits for its turn is there for the next one."""
    names = [f"task{number}" for number in range(PREFETCH + 3)]

    async def scenario(one: Customer) -> None:
        for name in names:
            await one.send(name, "shop.slow")
        assert set(await one.replies(PREFETCH)) == {f"begun {name}" for name in names[:PREFETCH]}
        shop.process.signal(signal.SIGTERM)
        await asyncio.to_thread(shop.process.wait_for, "app shutting down")
        for name in names:
            (shop.directory / name).touch()
        assert set(await one.replies(PREFETCH)) == {f"done {name}" for name in names[:PREFETCH]}
        assert (await asyncio.to_thread(shop.process.end)).status == 0
        assert admin.ready("shop.slow") == len(names) - PREFETCH
        await asyncio.to_thread(shop.open)
        rest = [f"{what} {name}" for name in names[PREFETCH:] for what in ("begun", "done")]
        assert sorted(await one.replies(len(rest))) == sorted(rest)

    shop.serve(scenario)
