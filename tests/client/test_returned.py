"""P32: a message that the broker returns is recognised, however the broker encoded its properties again.

RabbitMQ 4 sorts the header table of what it passes on, and so does 3.10 when it takes the header `BCC` out.
"""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika.exceptions
import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import Consuming, message, plan, run
from tests.support.admin import Admin
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging import aio, api
from fedora_messaging.exceptions import PublishReturned, PublishTimeout
from fedora_messaging.message import Message
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.support.admin import Names
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.protocol.events import ContentReceived

HEADERS: dict[str, dict[str, Any]] = {
    "none": {},
    "a text": {"zone": "eu"},
    "texts backwards": {"z": "1", "y": "2", "a": "3"},
    "types": {
        "z-text": "ü",
        "y-bytes": b"\x00\xff",
        "x-none": None,
        "w-true": True,
        "v-small": -1,
        "u-big": 2**62,
        "t-float": 0.1,
        "s-decimal": Decimal("1.50"),
        "r-time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    },
    "nested": {"z": {"y": [3, {"x": "deep", "w": []}, "2"], "a": {}}, "b": [[], [True]]},
    "long": {f"key{number:03}": "v" * 200 for number in range(99, 0, -1)},
    "upper and lower": {"b": 1, "B": 2, "a": 3, "A": 4},
    "hidden recipients": {"z": 1, "BCC": ["nobody.at.all"], "a": 2},
}


async def outcomes(*publishes: Awaitable[None]) -> list[str]:
    """Names of what publishes raised, "" for those that were confirmed."""
    found = await asyncio.gather(*publishes, return_exceptions=True)
    return ["" if error is None else type(error).__name__ for error in found]


def with_headers(name: str, number: int, headers: dict[str, Any]) -> Message:
    """A message with more headers than its own, in their order."""
    made = message(name, number)
    made._properties.headers = {**headers, **made._properties.headers}
    return made


@pytest.mark.parametrize("kind", HEADERS)
def test_p32_headers_of_a_returned_message(broker: Broker, queue: str, name: str, kind: str) -> None:
    async def main() -> list[str]:
        async with aio.connect(broker.url) as bus:
            nowhere, somewhere = (with_headers(topic, 0, HEADERS[kind]) for topic in (f"{name}x", queue))
            return await outcomes(*[bus.publish(one, mandatory=True) for one in (nowhere, somewhere)])

    assert run(main()) == ["PublishReturned", ""]


def test_p32_many_at_once_beside_routed_ones_with_the_same_body(
    broker: Broker, admin: Admin, queue: str
) -> None:
    """Nothing but the topic, or the identity, tells these messages apart."""
    kinds = [*HEADERS.values()]

    async def main() -> list[str]:
        async with aio.connect(broker.url) as bus:
            batch = []
            for number in range(600):
                topic = queue if number % 3 else f"{queue}x"
                one = Message(topic=f"{topic}.test", body={"same": True})
                one._properties.headers.update(kinds[number % len(kinds)])
                batch.append(bus.publish(one, mandatory=True))
            return await outcomes(*batch)

    assert run(main()) == ["" if number % 3 else "PublishReturned" for number in range(600)]
    assert admin.ready(queue) == 400


def test_p32_one_message_to_two_topics_at_once(broker: Broker, queue: str) -> None:
    """Body, properties and identity are the same; only the routing key tells."""

    async def main() -> list[str]:
        async with aio.connect(broker.url) as bus:
            somewhere = with_headers(queue, 0, HEADERS["a text"])
            nowhere = copy.deepcopy(somewhere)
            nowhere.topic = f"{queue}x.test"
            batch = [somewhere, nowhere] * 20
            return await outcomes(*[bus.publish(one, mandatory=True) for one in batch])

    assert run(main()) == ["", "PublishReturned"] * 20


def test_p32_api(queue: str, name: str, service: None, settings: LazyConfig) -> None:
    settings["publisher"] = {"mandatory": True}
    with pytest.raises(PublishReturned) as caught:
        api.publish(with_headers(f"{name}x", 0, HEADERS["a text"]))
    # NO_ROUTE alone says little to most people.
    [note] = caught.value.__notes__
    assert note == f"no queue is bound to the exchange 'amq.topic' for the routing key '{name}x.test'"
    api.publish(with_headers(queue, 0, HEADERS["a text"]))


@pytest.mark.parametrize("kind", ["a text", "types", "hidden recipients"])
def test_p32_outbox_keeps_what_no_queue_takes(
    admin: Admin, name: str, tmp_path: Path, service: None, settings: LazyConfig, kind: str
) -> None:
    settings["outbox"] = {"path": str(tmp_path / "outbox")}
    settings["publisher"] = {"mandatory": True}
    api.publish(with_headers(name, 7, HEADERS[kind]))
    outbox = api._twisted_service.outbox
    eventually(lambda: outbox.store.failures(10).result(WAIT))
    admin.declare(name)
    eventually(lambda: admin.ready(name) == 1)
    assert [json.loads(body)["number"] for body in admin.take(name)] == [7]


def test_p32_retry_when_the_delay_queues_were_removed(
    admin: Admin, names: Names, service: None, settings: LazyConfig
) -> None:
    """What is to be tried again waits in a delay queue, which an operator may delete at any time."""
    name = names()
    settings["consumer"] = {"retry": {"delay": 0.1, "max_delay": 0.1, "attempts": 10}}
    received: list[int] = []

    def fail_once(one: Message) -> None:
        received.append(one.body["number"])
        if received.count(one.body["number"]) == 1:
            # So the delay queue that the client has made for an earlier message is gone.
            for queue in delay_queues:
                deleter.delete(queue)
            raise ValueError("not yet")

    delay_queues = [f"{name}.retry.{milliseconds}" for milliseconds in (100, 90, 80, 70)]
    deleter = Admin(settings["amqp_url"])
    try:
        with Consuming(fail_once, **plan(name, **{"x-queue-type": "quorum"})):
            eventually(lambda: has_consumer(admin, name))
            for number in range(4):
                # One after the other, so that nothing is in the delay queues when they are deleted.
                api.publish(with_headers(name, number, HEADERS["a text"]))
                eventually(lambda number=number: received.count(number) == 2)  # type: ignore[misc]
    finally:
        for queue in delay_queues:
            admin.delete(queue)
        deleter.close()
    assert received == [0, 0, 1, 1, 2, 2, 3, 3]


def has_consumer(admin: Admin, name: str) -> bool:
    """Whether the queue is there, and consumed."""
    try:
        return admin.consumers(name) > 0
    except pika.exceptions.ChannelClosedByBroker:
        return False


# What real brokers do not do


def returned(link: ScriptedLink, content: ContentReceived, **changed: Any) -> None:
    """Return a message, with some of its parts changed."""
    method = content.method
    assert isinstance(method, m.BasicPublish)
    parts = {
        "exchange": method.exchange,
        "routing_key": method.routing_key,
        "properties": content.properties,
        "body": content.body,
        **changed,
    }
    back = m.BasicReturn(312, "NO_ROUTE", parts["exchange"], parts["routing_key"])
    link.machine.send_content(content.channel, back.encode(), parts["properties"], parts["body"])


def confirmed(link: ScriptedLink, content: ContentReceived) -> None:
    link.send(content.channel, m.BasicAck(link.tag(content.channel)))


def is_odd(content: ContentReceived) -> bool:
    return bool(json.loads(content.body or b"")["number"] % 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"properties": encode_properties(BasicProperties(message_id="another"))},
        {"properties": b"\x20\x00\xff\xff\xff\xff"},
        {"body": b"{}"},
        {"routing_key": "another.topic"},
        {"exchange": "another"},
    ],
    ids=["message id", "properties that cannot be read", "body", "routing key", "exchange"],
)
def test_p32_return_that_equals_no_message(changed: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """The messages in flight are published one by one then, so that it is clear which one is returned."""

    def act(link: ScriptedLink, content: ContentReceived) -> None:
        if is_odd(content):
            returned(link, content, **changed)
        confirmed(link, content)

    async def main() -> list[str]:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = lambda link, content: None
            gathered = asyncio.gather(
                *[bus.publish(message("q", n), mandatory=True) for n in range(6)], return_exceptions=True
            )
            await soon(lambda: len(broker.published) == 6)
            broker.on_publish = act
            returned(broker.link, broker.published[3], **changed)
            broker.link.send(broker.published[0].channel, m.BasicAck(6, multiple=True))
            found = await gathered
            return ["" if error is None else type(error).__name__ for error in found]

    assert run(main()) == ["", "PublishReturned"] * 3
    assert "returned a message (NO_ROUTE) that equals none in flight" in caplog.text


def test_p32_return_while_nothing_may_be_returned(caplog: pytest.LogCaptureFixture) -> None:
    """Publishes that are not mandatory are not sent again for it."""

    def act(link: ScriptedLink, content: ContentReceived) -> None:
        returned(link, content)
        confirmed(link, content)

    async def main() -> int:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = act
            await asyncio.gather(*[bus.publish(message("q", n)) for n in range(6)])
            return len(broker.published)

    assert run(main()) == 6
    assert "equals none in flight" in caplog.text


def test_p32_returned_once_and_routed_after_a_reconnect() -> None:
    """The connection ends between the return and the confirm; the next attempt is routed."""

    def lose(link: ScriptedLink, content: ContentReceived) -> None:
        returned(link, content)
        link.flush()
        broker.on_publish = confirmed
        link.close()

    broker = ScriptedBroker()

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            broker.on_publish = lose
            await bus.publish(message("q"), mandatory=True)
            assert len(broker.published) == 2

    run(main())


def test_p32_return_of_a_publish_that_was_given_up() -> None:
    """The caller no longer waits; an equal message but for its identity gets an outcome of its own."""

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = lambda _link, _content: None
            with pytest.raises(PublishTimeout):
                await bus.publish(message("q", 1), mandatory=True, timeout=0.1)
            waiting = asyncio.create_task(bus.publish(message("q", 1), mandatory=True))
            await soon(lambda: len(broker.published) == 2)
            returned(broker.link, broker.published[0])
            broker.link.send(broker.published[0].channel, m.BasicAck(2, multiple=True))
            await waiting

    run(main())


def test_p32_returns_in_another_order() -> None:
    """No broker we know does that, but nothing forbids it."""

    async def main() -> list[str]:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_publish = lambda _link, _content: None
            publishes = [asyncio.create_task(bus.publish(message("q", n), mandatory=True)) for n in range(6)]
            await soon(lambda: len(broker.published) == 6)
            for number in (5, 1, 3):
                returned(broker.link, broker.published[number])
            broker.link.send(broker.published[0].channel, m.BasicAck(6, multiple=True))
            return await outcomes(*publishes)

    assert run(main()) == ["", "PublishReturned"] * 3
