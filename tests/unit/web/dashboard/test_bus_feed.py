"""The live feed without an archive goes on, whatever happens to its queue and to the broker."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.rabbitmq import free_ports
from tests.support.waiting import soon

from fedora_messaging.broker import AsyncBroker
from fedora_messaging.web.dashboard import feed as module
from fedora_messaging.web.dashboard.feed import BusFeed
from fedora_messaging.web.dashboard.management import Management, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
#: Seconds; a feed that is deaf is noticed by then, also on a busy machine.
PATIENCE = 60.0


class Bus:
    """A broker, asked over HTTP as an administrator.

    Args:
        url: Of the management API, without a user.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(base_url=f"{url}/api/", auth=("guest", "guest"), trust_env=False)

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = await self._client.request(method, path, json=body or None)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def publish(self, topic: str, payload: str = "{}") -> bool:
        """Publish a message; return whether a queue has it."""
        message = {"routing_key": topic, "payload": payload, "payload_encoding": "string", "properties": {}}
        answer = await self.ask("POST", "exchanges/%2F/amq.topic/publish", **message)
        return bool(answer["routed"])

    async def queues(self) -> list[str]:
        return [queue["name"] for queue in await self.ask("GET", "queues")]

    async def is_empty(self) -> bool:
        return not await self.queues()

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def bus_on(broker: AsyncBroker) -> AsyncIterator[Bus]:
    assert broker.management_url is not None
    bus = Bus(broker.management_url)
    yield bus
    await bus.close()


def management_of(bus: Bus, user: str = "guest") -> Management:
    return connect(bus.url.replace("://", f"://{user}:{user}@"))


@asynccontextmanager
async def feed_of(management: Management) -> AsyncIterator[BusFeed]:
    feed = BusFeed(management)
    try:
        yield feed
    finally:
        await feed.close()
        await management.close()


async def topics(feed: BusFeed, seen: asyncio.Queue[str]) -> None:
    """Read the feed."""
    async for some in feed.follow():
        for one in some:
            seen.put_nowait(one.topic)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - it is asked over HTTP
            await asyncio.sleep(0.05)


async def heard(bus: Bus, seen: asyncio.Queue[str], topic: str) -> None:
    """Publish until the feed listens, and then wait for the message."""
    await until(lambda: bus.publish(topic))
    async with asyncio.timeout(PATIENCE):
        while await seen.get() != topic:
            pass


async def until_in_trouble(feed: BusFeed, text: str) -> None:
    await soon(lambda: text in feed.trouble, PATIENCE)


def test_messages_of_the_bus_are_heard_and_the_queue_goes_with_the_feed() -> None:
    async def main() -> None:
        async with AsyncBroker(port=0, http_port=0) as broker, bus_on(broker) as bus:
            assert not await bus.publish("nobody.listens")
            async with feed_of(management_of(bus)) as feed:
                seen: asyncio.Queue[str] = asyncio.Queue()
                reader = asyncio.create_task(topics(feed, seen))
                await heard(bus, seen, "one")
                (queue,) = await bus.queues()
                assert queue.startswith("dashboard-live-")
                # What is not ours is kept as well, and what is no JSON.
                await bus.publish("two", "no JSON")
                assert await seen.get() == "two"
                reader.cancel()
            assert await bus.queues() == []

    asyncio.run(main())


def test_a_queue_that_somebody_deletes_is_made_anew() -> None:
    async def main() -> None:
        async with AsyncBroker(port=0, http_port=0) as broker, bus_on(broker) as bus:
            async with feed_of(management_of(bus)) as feed:
                seen: asyncio.Queue[str] = asyncio.Queue()
                reader = asyncio.create_task(topics(feed, seen))
                await heard(bus, seen, "before")
                (queue,) = await bus.queues()
                await bus.ask("DELETE", f"queues/%2F/{queue}")
                await heard(bus, seen, "after")
                assert await bus.queues() == [queue]
                assert feed.trouble == ""
                reader.cancel()

    asyncio.run(main())


def test_a_broker_that_comes_back() -> None:
    """Nothing was stored there; the feed tells its trouble, makes its queue again and goes on."""

    async def main() -> None:
        (port,) = free_ports(1)
        async with feed_of(connect(f"http://guest:guest@127.0.0.1:{port}")) as feed:
            seen: asyncio.Queue[str] = asyncio.Queue()
            reader = asyncio.create_task(topics(feed, seen))
            for topic in ("before", "after"):
                await until_in_trouble(feed, "does not answer")
                async with AsyncBroker(port=0, http_port=port) as broker, bus_on(broker) as bus:
                    await heard(bus, seen, topic)
                    assert feed.trouble == ""
            reader.cancel()

    asyncio.run(main())


def test_a_user_who_may_not_listen_is_told_and_listens_once_he_may() -> None:
    async def main() -> None:
        async with AsyncBroker(port=0, http_port=0) as broker, bus_on(broker) as bus:
            await bus.ask("PUT", "users/anna", password="anna", tags="monitoring")
            async with feed_of(management_of(bus, "anna")) as feed:
                seen: asyncio.Queue[str] = asyncio.Queue()
                reader = asyncio.create_task(topics(feed, seen))
                await until_in_trouble(feed, "Not Found")  # as for RabbitMQ, the virtual host
                assert await bus.queues() == []
                await bus.ask("PUT", "permissions/%2F/anna", **EVERYTHING)
                await heard(bus, seen, "now")
                assert feed.trouble == ""
                reader.cancel()

    asyncio.run(main())


def test_nobody_looks_so_the_queue_is_deleted_and_the_next_reader_has_one_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_IDLE", 1.0)

    async def main() -> None:
        async with AsyncBroker(port=0, http_port=0) as broker, bus_on(broker) as bus:
            async with feed_of(management_of(bus)) as feed:
                for topic in ("first", "second"):
                    seen: asyncio.Queue[str] = asyncio.Queue()
                    reader = asyncio.create_task(topics(feed, seen))
                    await heard(bus, seen, topic)
                    reader.cancel()
                    await until(bus.is_empty)

    asyncio.run(main())


GOOD = {"payload": "{}", "payload_encoding": "string", "routing_key": "good", "properties": {"headers": {}}}


@pytest.mark.parametrize(
    "odd",
    [
        b"[{}]",
        b"[1]",
        b'"x"',
        b'[{"payload": 5}]',
        b"<html>",
        b'[{"payload": "a", "payload_encoding": "base64"}]',
    ],
)
def test_after_an_answer_that_makes_no_sense_the_feed_goes_on(odd: bytes) -> None:
    """A proxy may answer in the place of the broker."""
    answers = [odd, json.dumps([GOOD]).encode()]
    troubles: list[str] = []

    async def main() -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            if not request.url.path.endswith("/get"):
                return httpx.Response(201)
            troubles.append(feed.trouble)
            return httpx.Response(200, content=answers.pop(0) if answers else b"[]")

        client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://localhost/")
        async with feed_of(Management(client, "a broker")) as feed:
            seen: asyncio.Queue[str] = asyncio.Queue()
            reader = asyncio.create_task(topics(feed, seen))
            async with asyncio.timeout(PATIENCE):
                assert await seen.get() == "good"
            reader.cancel()

    asyncio.run(main())
    assert troubles[0] == ""
    assert troubles[1]
