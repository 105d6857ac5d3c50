"""aio-pika, plain and robust, as a client of the embedded broker."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from fedora_messaging import aio
from fedora_messaging.broker import AsyncBroker
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

    from fedora_messaging.broker import Broker

MIB = 1024 * 1024
DEADLINE = 20.0

BOTH = pytest.mark.parametrize(
    "connect", [aio_pika.connect, aio_pika.connect_robust], ids=["plain", "robust"]
)

HEADERS: dict[str, Any] = {
    "text": "žluťoučký kůň",
    "true": True,
    "small": 7,
    "negative": -7,
    "large": 2**62,
    # Written with single precision.
    "float": 0.25,
    "none": None,
    "list": [1, "two", [3.5, None], {"four": 5}],
    "table": {"deep": {"deeper": {"x": 1}}},
}


def run(
    broker: Broker,
    scenario: Callable[[AbstractChannel], Awaitable[None]],
    connect: Any = aio_pika.connect,
) -> None:
    """Run a scenario on a channel with confirms."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), await connect(broker.amqp_url) as connection:
            await scenario(await connection.channel())

    asyncio.run(main())


async def get(queue: AbstractQueue) -> AbstractIncomingMessage:
    message = await queue.get(no_ack=True)
    assert message is not None
    return message


def text(body: str, **properties: Any) -> aio_pika.Message:
    return aio_pika.Message(body.encode(), **properties)


# Publishing and consuming


@BOTH
def test_publish_and_consume(embedded_broker: Broker, connect: Any) -> None:
    """With confirms, prefetch and acknowledgements."""

    async def scenario(channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=7)
        queue = await channel.declare_queue(exclusive=True)
        for number in range(100):
            await channel.default_exchange.publish(text(str(number)), queue.name)
        found = []
        async with queue.iterator(timeout=DEADLINE) as messages:
            async for message in messages:
                async with message.process():
                    found.append(message.body.decode())
                if len(found) == 100:
                    break
        assert found == [str(number) for number in range(100)]
        assert (await channel.declare_queue(queue.name, passive=True)).declaration_result.message_count == 0

    run(embedded_broker, scenario, connect)


@BOTH
def test_publishes_under_way_at_the_same_time(embedded_broker: Broker, connect: Any) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        exchange = channel.default_exchange
        await asyncio.gather(*[exchange.publish(text(str(number)), queue.name) for number in range(500)])
        found = [int((await get(queue)).body) for _ in range(500)]
        assert sorted(found) == list(range(500))

    run(embedded_broker, scenario, connect)


@pytest.mark.parametrize("body", [b"", b"lost", b"x" * MIB], ids=["empty", "small", "large"])
def test_returned_publish(embedded_broker: Broker, body: bytes) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), await aio_pika.connect(embedded_broker.amqp_url) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange("amq.topic")
            with pytest.raises(aio_pika.exceptions.PublishError) as caught:
                await exchange.publish(aio_pika.Message(body, message_id="m1"), "no.where", mandatory=True)
            returned: Any = caught.value.message
            assert (returned.delivery.reply_code, returned.delivery.reply_text) == (312, "NO_ROUTE")
            assert returned.header.properties.message_id == "m1"
            assert returned.body == body
            await exchange.publish(aio_pika.Message(b"dropped"), "no.where", mandatory=False)

    asyncio.run(main())


def test_nacked_publish(embedded_broker: Broker) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=arguments)
        await channel.default_exchange.publish(text("fits"), queue.name)
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await channel.default_exchange.publish(text("does not"), queue.name)

    run(embedded_broker, scenario)


def test_reject_and_requeue(embedded_broker: Broker) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        for word in ("back", "gone"):
            await channel.default_exchange.publish(text(word), queue.name)
        first, second = [await queue.get(), await queue.get()]
        assert first is not None
        assert second is not None
        await second.reject()
        await first.nack(requeue=True)
        again = await get(queue)
        assert (again.body, again.redelivered) == (b"back", True)
        assert await queue.get(fail=False) is None

    run(embedded_broker, scenario)


@BOTH
def test_server_named_queues(embedded_broker: Broker, connect: Any) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queues = [await channel.declare_queue(exclusive=True) for _ in range(3)]
        assert len({queue.name for queue in queues}) == 3
        for queue in queues:
            await queue.bind("amq.fanout")
        await (await channel.get_exchange("amq.fanout")).publish(text("all"), "")
        assert [(await get(queue)).body for queue in queues] == [b"all"] * 3

    run(embedded_broker, scenario, connect)


@pytest.mark.parametrize(
    ("kind", "binding", "arguments", "key"),
    [
        (aio_pika.ExchangeType.DIRECT, "a.b", None, "a.b"),
        (aio_pika.ExchangeType.FANOUT, "", None, "anything"),
        (aio_pika.ExchangeType.TOPIC, "*.b.#", None, "a.b.c.d"),
        (aio_pika.ExchangeType.HEADERS, "", {"x-match": "any", "h": "yes", "other": 1}, ""),
    ],
)
def test_exchange_types(
    embedded_broker: Broker, kind: Any, binding: str, arguments: dict[str, Any] | None, key: str
) -> None:
    """A binding between exchanges leads there."""

    async def scenario(channel: AbstractChannel) -> None:
        entry = await channel.declare_exchange(f"aio.{uuid.uuid4().hex}", "fanout")
        exchange = await channel.declare_exchange(f"aio.{uuid.uuid4().hex}", kind)
        await exchange.bind(entry)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, binding, arguments=arguments)
        await entry.publish(text("hit", headers={"h": "yes"}), key, mandatory=True)
        assert (await get(queue)).body == b"hit"
        await queue.unbind(exchange, binding, arguments=arguments)
        await entry.publish(text("miss", headers={"h": "yes"}), key)
        assert await queue.get(fail=False) is None
        await entry.delete()
        await exchange.delete()

    run(embedded_broker, scenario)


def test_header_types(embedded_broker: Broker) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(text("", headers=HEADERS), queue.name)
        assert (await get(queue)).headers == HEADERS

    run(embedded_broker, scenario)


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, MIB])
def test_body_sizes(embedded_broker: Broker, size: int) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        body = bytes(number % 251 for number in range(size))
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
        assert (await get(queue)).body == body

    run(embedded_broker, scenario)


@BOTH
def test_many_channels(embedded_broker: Broker, connect: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), await connect(embedded_broker.amqp_url) as connection:
            channels = await asyncio.gather(*[connection.channel() for _ in range(200)])
            await asyncio.gather(*[exchange(number, channel) for number, channel in enumerate(channels)])

    async def exchange(number: int, channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(text(str(number)), queue.name)
        assert (await get(queue)).body == str(number).encode()
        await channel.close()

    asyncio.run(main())


def test_transaction(embedded_broker: Broker) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), await aio_pika.connect(embedded_broker.amqp_url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            queue = await channel.declare_queue(exclusive=True)
            transaction = channel.transaction()
            await transaction.select()
            await channel.default_exchange.publish(text("given up"), queue.name)
            await transaction.rollback()
            await channel.default_exchange.publish(text("meant"), queue.name)
            await transaction.commit()
            assert (await get(queue)).body == b"meant"
            assert await queue.get(fail=False) is None

    asyncio.run(main())


def test_rpc_pattern(embedded_broker: Broker) -> None:
    """aio-pika's own: reply queues, correlation ids, dead letters."""

    async def scenario(channel: AbstractChannel) -> None:
        from aio_pika.patterns import RPC

        async def double(*, x: int) -> int:
            return 2 * x

        rpc = await RPC.create(channel)
        await rpc.register(f"double.{uuid.uuid4().hex}", double, auto_delete=True)
        (method,) = rpc.routes
        assert await asyncio.gather(*[rpc.call(method, {"x": x}) for x in range(10)]) == [
            2 * x for x in range(10)
        ]
        await rpc.close()

    run(embedded_broker, scenario)


def test_robust_connection_comes_back() -> None:
    """It restores queue, binding and consumer when the broker is there again, at the same address."""

    async def main() -> None:
        received: asyncio.Queue[bytes] = asyncio.Queue()
        reconnected = asyncio.Event()

        async def on_message(message: AbstractIncomingMessage) -> None:
            async with message.process():
                await received.put(message.body)

        async with asyncio.timeout(DEADLINE):
            async with AsyncBroker() as broker:
                url, port = broker.amqp_url, broker.port
                connection = await aio_pika.connect_robust(url, reconnect_interval=0.05)
                connection.reconnect_callbacks.add(lambda *_: reconnected.set())
                channel = await connection.channel()
                exchange = await channel.get_exchange("amq.topic")
                queue = await channel.declare_queue("robust", auto_delete=True)
                await queue.bind(exchange, "robust.#")
                await queue.consume(on_message)
                await exchange.publish(text("before"), "robust.a")
                assert await received.get() == b"before"
            async with AsyncBroker(port=port):
                await reconnected.wait()
                await exchange.publish(text("after"), "robust.b", mandatory=True)
                assert await received.get() == b"after"
                await connection.close()

    asyncio.run(main())


# Our library on the other side


def test_the_library_publishes(embedded_broker: Broker, library: None) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("amq.topic", "aio.#")
        sent = Message(topic="aio.hello", body={"text": "Dobrý den"}, severity=30)
        async with aio.connect() as bus:
            await bus.publish(sent, mandatory=True)
        received = await get(queue)
        assert (received.exchange, received.routing_key) == ("amq.topic", "aio.hello")
        assert json.loads(received.body) == {"text": "Dobrý den"}
        assert (received.content_type, received.content_encoding) == ("application/json", "utf-8")
        assert received.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
        assert received.message_id == sent.id
        assert received.headers == sent._headers
        assert received.headers["fedora_messaging_severity"] == 30

    run(embedded_broker, scenario)


def test_the_library_consumes(embedded_broker: Broker, library: None) -> None:
    headers = {
        **HEADERS,
        "fedora_messaging_schema": "base.message",
        "fedora_messaging_severity": 40,
        "sent-at": "2026-01-02T03:04:05+00:00",
    }
    sent = aio_pika.Message(
        '{"text": "Dobrý den"}'.encode(),
        content_type="application/json",
        content_encoding="utf-8",
        message_id="11111111-2222-3333-4444-555555555555",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=3,
        headers=headers,
    )

    async def scenario(channel: AbstractChannel) -> None:
        exchange = await channel.get_exchange("amq.topic")
        async with aio.connect() as bus, bus.subscribe("aio.#") as deliveries:
            await exchange.publish(sent, "aio.hello", mandatory=True)
            message = (await anext(deliveries)).message
        assert (message.topic, message.severity, message.priority) == ("aio.hello", 40, 3)
        assert message.body == {"text": "Dobrý den"}
        assert message.id == "11111111-2222-3333-4444-555555555555"
        assert message._headers == headers

    run(embedded_broker, scenario)


def test_a_library_message_forwarded_by_aio_pika_stays_equal(embedded_broker: Broker, library: None) -> None:
    async def scenario(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("amq.topic", "aio.forward")
        exchange = await channel.get_exchange("amq.topic")
        sent = Message(topic="aio.forward", body={"n": [1, 2.5, None, "ž"]}, headers={"deep": {"a": [1]}})
        sent.priority = 4
        async with aio.connect() as bus, bus.subscribe("aio.forwarded") as deliveries:
            await bus.publish(sent)
            await exchange.publish(await get(queue), "aio.forwarded")
            message = (await anext(deliveries)).message
        assert (message.body, message._headers) == (sent.body, sent._headers)
        assert (message.id, message.priority) == (sent.id, 4)

    run(embedded_broker, scenario)
