"""`aio.Bus.publish`: confirms, refusals, deadlines, and connections that end meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.client.support import message, plan, run
from tests.support.proxy import CHANNEL_OPEN, DOWN, START_OK, UP, Proxy
from tests.support.waiting import WAIT, soon

from fedora_messaging import aio, config
from fedora_messaging.exceptions import (
    ConfigurationException,
    ConnectionException,
    EncodingError,
    ExchangeNotFound,
    PublishException,
    PublishForbidden,
    PublishReturned,
    PublishTimeout,
    Unroutable,
)
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

# Nobody listens there: the port is reserved and below those that the system hands out.
NOBODY = "amqp://user:canary-password@127.0.0.1:1"


@pytest.fixture
def without_logs() -> Iterator[None]:
    """Nothing is logged, and so nothing kept by pytest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def outcomes(*publishes: Coroutine[Any, Any, None]) -> list[BaseException | None]:
    """Publish all at once; what became of each."""
    return await asyncio.gather(*publishes, return_exceptions=True)


def test_publish_returns_when_the_broker_has_it(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            assert bus.connected
            await bus.publish(message(queue, 7))
            assert admin.ready(queue) == 1
        assert not bus.connected

    run(main())
    assert admin.take(queue) == [b'{"number": 7}']


def test_url_of_the_configuration_is_the_default(
    broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig
) -> None:
    settings["amqp_url"] = broker.url

    async def main() -> None:
        async with aio.connect() as bus:
            await bus.publish(message(queue))

    run(main())
    assert admin.ready(queue) == 1


def test_many_publishes_in_flight_each_get_their_own_confirm(
    broker: Broker, admin: Admin, queue: str
) -> None:
    count = 2000

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            assert await outcomes(*[bus.publish(message(queue, n)) for n in range(count)]) == [None] * count

    run(main())
    expected = [f'{{"number": {n}}}'.encode() for n in range(count)]
    assert sorted(admin.take(queue)) == sorted(expected)


def test_publishes_keep_their_order(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await asyncio.gather(*[bus.publish(message(queue, n)) for n in range(100)])

    run(main())
    assert admin.take(queue) == [f'{{"number": {n}}}'.encode() for n in range(100)]


def test_outcomes_are_told_apart(broker: Broker, admin: Admin, queue: str) -> None:
    """Good, unroutable and invalid ones side by side: each caller learns of its own."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            for _ in range(20):
                found = await outcomes(
                    bus.publish(message(queue)),
                    bus.publish(message(f"{queue}x"), mandatory=True),
                    bus.publish(Message(topic=f"{queue}.x", body="text")),
                    bus.publish(message(queue), mandatory=True),
                    bus.publish(message(f"{queue}x")),
                )
                kinds = [type(error) for error in found]
                none = type(None)
                assert kinds == [none, PublishReturned, jsonschema.ValidationError, none, none]

    run(main())
    assert admin.ready(queue) == 40


def test_unroutable_message_is_confirmed_unless_mandatory(broker: Broker, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await bus.publish(message(name))
            with pytest.raises(PublishReturned) as caught:
                await bus.publish(message(name), mandatory=True)
            assert isinstance(caught.value.reason, Unroutable)
            assert (caught.value.reason.reply_code, caught.value.reason.reply_text) == (312, "NO_ROUTE")
            await bus.publish(message(name))

    run(main())


def test_configuration_asks_for_a_queue(broker: Broker, name: str, settings: config.LazyConfig) -> None:
    settings["publisher"] = {"mandatory": True}

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(PublishReturned):
                await bus.publish(message(name))
            await bus.publish(message(name), mandatory=False)

    run(main())


def test_equal_mandatory_messages_are_each_returned(broker: Broker, name: str) -> None:
    """The return names no publish, so equal ones are told apart by order only."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            same = message(name)
            found = await outcomes(*[bus.publish(same, mandatory=True) for _ in range(10)])
            assert all(isinstance(error, PublishReturned) for error in found)

    run(main())


def test_return_falls_on_the_mandatory_one_of_two_equal_messages(broker: Broker, name: str) -> None:
    """Two publishes of one message, only the second of them mandatory and unroutable."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            same = message(name)
            found = await outcomes(bus.publish(same), bus.publish(same, mandatory=True))
            assert found[0] is None
            assert isinstance(found[1], PublishReturned)

    run(main())


def test_return_falls_on_the_right_one_of_two_exchanges(broker: Broker, admin: Admin, queue: str) -> None:
    """One message to two exchanges: the return tells which it came from."""

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            same = message(queue)
            found = await outcomes(
                bus.publish(same, "amq.topic", mandatory=True),
                bus.publish(same, "amq.direct", mandatory=True),
            )
            assert found[0] is None
            assert isinstance(found[1], PublishReturned)

    run(main())


def test_full_queue_that_rejects_gives_publish_returned(broker: Broker, admin: Admin, name: str) -> None:
    admin.declare(name, **{"x-max-length": 1, "x-overflow": "reject-publish"})

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await bus.publish(message(name, 0))
            # RabbitMQ notices that the queue is full with the message after the first above the limit.
            with pytest.raises(PublishReturned) as caught:
                for number in range(1, 4):
                    await bus.publish(message(name, number))
            assert "nack" in str(caught.value)
            admin.take(name)
            await bus.publish(message(name, 9))

    run(main())
    assert admin.take(name) == [b'{"number": 9}']


# P09


def test_p09_unknown_exchange_fails_at_once(broker: Broker, proxy: Proxy, admin: Admin, queue: str) -> None:
    """P09: the error has the broker's words, and the library opens no storm of channels."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            begin = time.monotonic()
            with pytest.raises(ExchangeNotFound, match="no exchange 'nowhere'") as caught:
                await bus.publish(message(queue), exchange="nowhere")
            assert time.monotonic() - begin < WAIT
            assert caught.value.reason.reply_code == 404
            assert proxy.count(CHANNEL_OPEN) <= 2
            await bus.publish(message(queue))
            assert proxy.count(CHANNEL_OPEN) <= 2

    run(main())
    assert admin.ready(queue) == 1


def test_p09_innocent_publishes_beside_a_guilty_one_arrive(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """P09: a confirmed message is never lost because another one had the wrong exchange."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, -1))
            found = await outcomes(
                *[bus.publish(message(queue, n), exchange="nowhere" if n == 5 else None) for n in range(40)]
            )
            assert [n for n, error in enumerate(found) if error is not None] == [5]
            assert isinstance(found[5], ExchangeNotFound)
            assert proxy.count(CHANNEL_OPEN) <= 3

    run(main())
    assert set(admin.take(queue)) == {f'{{"number": {n}}}'.encode() for n in range(-1, 40) if n != 5}


def test_p09_several_guilty_publishes_fail_and_the_others_arrive(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    guilty = {0, 1, 7, 19}

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            found = await outcomes(
                *[
                    bus.publish(message(queue, n), exchange=f"nowhere.{n}" if n in guilty else None)
                    for n in range(20)
                ]
            )
            assert {n for n, error in enumerate(found) if error is not None} == guilty
            for number in guilty:
                assert isinstance(found[number], ExchangeNotFound)
                assert f"nowhere.{number}'" in str(found[number])
            assert proxy.count(CHANNEL_OPEN) <= 2 * len(guilty) + 1

    run(main())
    assert set(admin.take(queue)) == {f'{{"number": {n}}}'.encode() for n in range(20) if n not in guilty}


def test_publishing_to_an_internal_exchange_is_forbidden(
    broker: Broker, admin: Admin, name: str, queue: str
) -> None:
    admin.channel.exchange_declare(name, "topic", internal=True)

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(PublishForbidden) as caught:
                await bus.publish(message(queue), exchange=name)
            assert caught.value.reason.reply_code == 403
            assert caught.value.reason.args[0] == 403
            await bus.publish(message(queue))

    run(main())
    assert admin.ready(queue) == 1


# P16 and what cannot be sent at all


class Odd:
    """Nothing that AMQP or JSON could carry."""


def impossible() -> dict[str, tuple[Message, type[Exception]]]:
    """Messages that no broker ever sees, and what they raise."""
    long_topic = Message(topic="x" * 256, body={})
    return {
        "body is no object": (Message(topic="t", body="text"), jsonschema.ValidationError),
        "header breaks its schema": (
            Message(topic="t", headers={"fedora_messaging_user_x": True}, severity=21),
            jsonschema.ValidationError,
        ),
        "topic of 256 bytes": (long_topic, EncodingError),
        "topic of 256 bytes in UTF-8": (Message(topic="é" * 128, body={}), EncodingError),
        "header type": (Message(topic="t", headers={"odd": Odd()}), EncodingError),
        "header integer too big": (Message(topic="t", headers={"odd": 2**64}), EncodingError),
        "body not JSON": (Message(topic="t", body={"odd": Odd()}), TypeError),
        "body holds bytes": (Message(topic="t", body={"odd": b"x"}), TypeError),
    }


@pytest.mark.parametrize("case", impossible())
def test_impossible_message_fails_and_the_bus_stays_usable(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, case: str
) -> None:
    impossible_message, error = impossible()[case]

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 1))
            with pytest.raises(error) as caught:
                await bus.publish(impossible_message)
            assert str(caught.value)
            await bus.publish(message(queue, 2))
            assert (proxy.accepted, proxy.count(CHANNEL_OPEN)) == (1, 1)

    run(main())
    assert admin.ready(queue) == 2


@pytest.mark.parametrize("case", impossible())
def test_p16_impossible_message_fails_offline(case: str) -> None:
    """P16: without any broker, at once."""
    impossible_message, error = impossible()[case]

    async def main() -> None:
        bus = aio.connect(NOBODY)
        try:
            with pytest.raises(error):
                await bus.publish(impossible_message, timeout=None)
        finally:
            await bus.close()

    run(main(), within=WAIT)


def test_p16_impossible_message_fails_while_the_connection_is_gone(broker: Broker, proxy: Proxy) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            proxy.refuse()
            proxy.cut()
            await soon(lambda: not bus.connected)
            with pytest.raises(jsonschema.ValidationError):
                await bus.publish(Message(topic="t", body="text"), timeout=None)

    run(main())


@pytest.mark.parametrize("exchange", [5, b"amq.topic", ["amq.topic"]])
def test_exchange_that_is_no_text(broker: Broker, admin: Admin, queue: str, exchange: Any) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(TypeError, match="exchange"):
                await bus.publish(message(queue), exchange=exchange)
            await bus.publish(message(queue))

    run(main())
    assert admin.ready(queue) == 1


def test_exchange_name_of_256_bytes(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(EncodingError):
                await bus.publish(message(queue), exchange="x" * 256)
            await bus.publish(message(queue))

    run(main())
    assert admin.ready(queue) == 1


def test_default_exchange_and_unusual_topics(broker: Broker, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await bus.publish(Message(topic=queue, body={"number": 1}), exchange="")
            await bus.publish(Message(topic=f"{queue}.é", body={"number": 2}))
            await bus.publish(Message(topic=f"{queue}.".ljust(255, "x"), body={"number": 3}))

    run(main())
    assert admin.ready(queue) == 3


def test_large_body_is_split_into_frames(broker: Broker, admin: Admin, queue: str) -> None:
    text = "ä" * 1_000_000

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await asyncio.gather(*[bus.publish(message(queue, n, text=text)) for n in range(3)])
            async with bus.subscribe(queue=queue) as subscription:
                received = [await anext(subscription) for _ in range(3)]
                assert [delivery.message.body["number"] for delivery in received] == [0, 1, 2]
                assert all(delivery.message.body["text"] == text for delivery in received)

    run(main())


def test_topic_prefix(broker: Broker, admin: Admin, queue: str, settings: config.LazyConfig) -> None:
    settings["topic_prefix"] = queue

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await bus.publish(Message(topic="test"))

    run(main())
    assert admin.ready(queue) == 1


# Deadlines


def test_timeout_of_zero_gives_publish_timeout(broker: Broker, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            with pytest.raises(PublishTimeout, match="after waiting 0 seconds"):
                await bus.publish(message(queue), timeout=0)
            await bus.publish(message(queue))

    run(main())


def test_no_confirm_in_time_gives_publish_timeout(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.stall()
            begin = time.monotonic()
            with pytest.raises(PublishTimeout, match=r"after waiting 0\.3 seconds"):
                await bus.publish(message(queue, 1), timeout=0.3)
            assert 0.25 < time.monotonic() - begin < WAIT
            proxy.resume()
            await bus.publish(message(queue, 2))

    run(main())
    assert b'{"number": 2}' in admin.take(queue)


def test_deadline_covers_connecting(settings: config.LazyConfig) -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        try:
            with pytest.raises(PublishTimeout):
                await bus.publish(message("nowhere"), timeout=0.3)
        finally:
            await bus.close()

    run(main(), within=WAIT)


def test_late_confirm_of_a_publish_that_timed_out_is_ignored(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.stall(DOWN)
            first = asyncio.create_task(bus.publish(message(queue, 1), timeout=0.2))
            second = asyncio.create_task(bus.publish(message(queue, 2)))
            with pytest.raises(PublishTimeout):
                await first
            assert not second.done()
            await soon(lambda: admin.ready(queue) == 3)
            proxy.resume()
            await second
            await bus.publish(message(queue, 3))

    run(main())
    assert admin.ready(queue) == 4


def test_cancelled_publish_leaves_the_bus_usable(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.stall(DOWN)
            task = asyncio.create_task(bus.publish(message(queue, 1)))
            await soon(lambda: admin.ready(queue) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.resume()
            await bus.publish(message(queue, 2))

    run(main())
    assert admin.ready(queue) == 3


def test_publishes_that_nobody_waits_for_any_longer_are_forgotten(without_logs: None) -> None:
    """A program that goes on publishing while the broker is away must not fill its memory."""
    size, count = 100_000, 300
    text = "x" * size

    async def main() -> int:
        bus = aio.connect(NOBODY)
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(count // 50):
                found = await outcomes(
                    *[bus.publish(message("nowhere", text=text), timeout=0.01) for _ in range(50)]
                )
                assert all(isinstance(error, PublishTimeout) for error in found)
                del found
                gc.collect()
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            await bus.close()

    tracemalloc.start()
    try:
        kept = run(main(), within=2 * WAIT)
    finally:
        tracemalloc.stop()
    assert kept < size * count / 5, f"{kept} bytes are kept of {size * count}"


# Connections that end (P14)


def test_p14_lost_between_publish_and_confirm(broker: Broker, proxy: Proxy, admin: Admin, queue: str) -> None:
    """P14: the broker has the message, its confirm never came; the publish is repeated and confirmed."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.stall(DOWN)
            tasks = [asyncio.create_task(bus.publish(message(queue, n))) for n in (1, 2, 3)]
            await soon(lambda: admin.ready(queue) == 4)
            assert not any(task.done() for task in tasks)
            proxy.cut()
            await asyncio.gather(*tasks)
            assert proxy.accepted == 2

    run(main())
    bodies = admin.take(queue)
    assert set(bodies) == {f'{{"number": {n}}}'.encode() for n in range(4)}
    assert len(bodies) == 7


def test_p14_confirmed_publishes_are_not_repeated(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.cut()
            await bus.publish(message(queue, 1))
            assert proxy.accepted == 2

    run(main())
    assert admin.take(queue) == [b'{"number": 0}', b'{"number": 1}']


def test_p14_timed_out_publish_is_not_repeated(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """Who was told that it may not have arrived will perhaps publish again: we do not as well."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            await bus.publish(message(queue, 0))
            proxy.stall(UP)
            with pytest.raises(PublishTimeout):
                await bus.publish(message(queue, 1), timeout=0.2)
            proxy.cut()
            await bus.publish(message(queue, 2))

    run(main())
    assert admin.take(queue) == [b'{"number": 0}', b'{"number": 2}']


def test_p14_many_publishes_over_a_connection_that_keeps_breaking(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        confirmed: set[int] = set()

        async def publish(number: int) -> None:
            await bus.publish(message(queue, number))
            confirmed.add(number)

        async with aio.connect(proxy.url()) as bus:
            tasks = []
            for number in range(300):
                tasks.append(asyncio.create_task(publish(number)))
                if number % 100 == 50:
                    await asyncio.sleep(0)
                    proxy.cut()
                if number % 10 == 0:
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks)
        assert confirmed == set(range(300))

    run(main())
    assert set(admin.take(queue)) == {f'{{"number": {n}}}'.encode() for n in range(300)}


def test_publish_waits_for_a_broker_that_comes_back(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            proxy.refuse()
            proxy.cut()
            await soon(lambda: not bus.connected)
            task = asyncio.create_task(bus.publish(message(queue, 1)))
            await asyncio.sleep(0)
            proxy.resume()
            await task

    run(main())
    assert admin.take(queue) == [b'{"number": 1}']


def test_closing_the_bus_fails_publishes_under_way(broker: Broker, proxy: Proxy, queue: str) -> None:
    async def main() -> None:
        bus = aio.connect(proxy.url())
        async with bus:
            await bus.publish(message(queue))
            proxy.stall(DOWN)
            task = asyncio.create_task(bus.publish(message(queue), timeout=None))
            await asyncio.sleep(0)
            proxy.resume()
            closing = asyncio.create_task(bus.close())
            found = await asyncio.gather(task, return_exceptions=True)
            assert found[0] is None or isinstance(found[0], ConnectionException)
            await closing
        with pytest.raises(ConnectionException, match="closed"):
            await bus.publish(message(queue))

    run(main())


def test_closing_the_bus_fails_publishes_that_wait_for_a_connection() -> None:
    async def main() -> None:
        bus = aio.connect(NOBODY)
        task = asyncio.create_task(bus.publish(message("nowhere"), timeout=None))
        await asyncio.sleep(0)
        await bus.close()
        with pytest.raises(ConnectionException, match="closed"):
            await task

    run(main(), within=WAIT)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_closing_the_bus_does_not_wait_for_a_dead_connection(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """The network swallows everything, and heartbeats would not tell for two minutes, or never."""

    async def publishing(heartbeat: int) -> None:
        async with aio.connect(proxy.url(heartbeat=heartbeat)) as bus:
            await bus.publish(message(queue))
            await barrier.wait()

    async def subscribed() -> None:
        async with aio.connect(proxy.url(heartbeat=0)) as bus:
            async with bus.subscribe(f"{queue}.nothing") as subscription:
                assert subscription.queue_name
                await barrier.wait()

    async def consuming() -> None:
        async with aio.connect(proxy.url(heartbeat=0)) as bus:
            task = asyncio.create_task(bus.consume(lambda _message: None, **plan(queue)))
            await soon(lambda: admin.consumers(queue) == 1)
            await barrier.wait()
        await task

    async def main() -> None:
        tasks = [
            asyncio.create_task(one) for one in (publishing(0), publishing(60), subscribed(), consuming())
        ]
        await soon(lambda: barrier.n_waiting == len(tasks))
        proxy.stall()
        await barrier.wait()
        await asyncio.gather(*tasks)

    barrier = asyncio.Barrier(5)
    run(main(), within=WAIT)


# Connecting


def test_nobody_there() -> None:
    """The error names the address and says what to do, without the password."""

    async def main() -> None:
        async with aio.connect(NOBODY, timeout=0.3):
            raise AssertionError("connected to nobody")

    with pytest.raises(ConnectionException) as caught:
        run(main(), within=WAIT)
    assert "amqp://127.0.0.1:1" in str(caught.value)
    assert "fedora-messaging broker" in str(caught.value)
    assert caught.value.reason == str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(caught.value.__dict__)):
        assert "canary-password" not in text


def test_listener_that_never_answers(broker: Broker, proxy: Proxy) -> None:
    proxy.stall(new=True)

    async def main() -> None:
        async with aio.connect(proxy.url(), timeout=0.5):
            raise AssertionError("connected to nobody")

    with pytest.raises(ConnectionException, match=f"127.0.0.1:{proxy.port}"):
        run(main(), within=WAIT)


def test_bad_password(broker: Broker, proxy: Proxy) -> None:
    """At once, not when the deadline passes; the password is nowhere."""
    url = proxy.url().replace("guest:guest@", "")
    url = url.replace("://", "://guest:canary-password@")

    async def main() -> None:
        async with aio.connect(url, timeout=None):
            raise AssertionError("logged in")

    with pytest.raises(ConnectionException) as caught:
        run(main(), within=WAIT)
    assert str(caught.value).startswith(
        "The TCP connection appears to have started, but the TLS or AMQP handshake"
    )
    assert caught.value.reason == str(caught.value)
    assert "ACCESS_REFUSED" in str(caught.value)
    assert f"127.0.0.1:{proxy.port}" in str(caught.value)
    assert "canary-password" not in f"{caught.value!r} {caught.value.__dict__!r}"
    assert proxy.count(START_OK) == 1


def test_unknown_virtual_host(broker: Broker, proxy: Proxy) -> None:
    url = proxy.url().replace("/%2F", "") + "/canary-vhost"

    async def main() -> None:
        async with aio.connect(url, timeout=None):
            raise AssertionError("logged in")

    with pytest.raises(ConnectionException, match="canary-vhost") as caught:
        run(main(), within=WAIT)
    assert caught.value.reason == str(caught.value)


def test_publish_with_bad_password_fails_at_once(broker: Broker, proxy: Proxy) -> None:
    url = proxy.url().replace("guest:guest@", "").replace("://", "://guest:wrong@")

    async def main() -> None:
        bus = aio.connect(url)
        try:
            with pytest.raises(ConnectionException) as caught:
                await bus.publish(message("nowhere"), timeout=None)
            assert not isinstance(caught.value, PublishException)
        finally:
            await bus.close()

    run(main(), within=WAIT)


@pytest.mark.parametrize(
    "url", ["amqp://user@host", "ftp://host", "amqp://host?nonsense=1", "amqp://host:port"]
)
def test_wrong_url(url: str) -> None:
    with pytest.raises(ConfigurationException):
        aio.connect(url)


@pytest.mark.parametrize("host", ["x" * 64 + ".invalid", "a..b.invalid"])
def test_host_name_that_cannot_exist(host: str) -> None:
    """Python refuses to look these up in a way of its own; that is no reason to hang."""

    async def main() -> None:
        async with aio.connect(f"amqp://{host}", timeout=None):
            raise AssertionError("connected to nobody")

    with pytest.raises((ConnectionException, ConfigurationException), match=host[:20]):
        run(main(), within=WAIT)


def test_cancelled_connect_leaves_nothing(broker: Broker, proxy: Proxy) -> None:
    proxy.stall(new=True)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                async with aio.connect(proxy.url(), timeout=None):
                    raise AssertionError("connected to nobody")
        await soon(lambda: len(asyncio.all_tasks()) == 1)

    run(main(), within=WAIT)


def test_bus_closes_twice_and_after_an_error(broker: Broker, proxy: Proxy) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            async with aio.connect(proxy.url()) as bus:
                await bus.close()
                raise LookupError
        await bus.close()
        await soon(lambda: proxy.connections == 0)

    run(main())


@pytest.mark.parametrize("frame_max", [8192, 131072])
def test_headers_that_fit_into_no_frame_are_refused_alone(
    broker: Broker, admin: Admin, queue: str, frame_max: int
) -> None:
    """The broker would end the connection, and so every other publish on it."""

    async def main() -> None:
        async with aio.connect(f"{broker.url}?frame_max={frame_max}") as bus:
            sizes = [frame_max + more for more in (-1000, -20, 0, 1, 70_000)]
            outcomes = await asyncio.gather(
                *[
                    bus.publish(Message(topic=f"{queue}.test", headers={"big": "x" * size}))
                    for size in sizes
                    for _ in range(3)
                ],
                *[bus.publish(message(queue, number)) for number in range(10)],
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [
                *[type(None)] * 3,
                *[EncodingError] * 12,
                *[type(None)] * 10,
            ]
            assert bus._supervisor.reconnects == 0
        assert len(admin.take(queue)) == 13

    run(main())
