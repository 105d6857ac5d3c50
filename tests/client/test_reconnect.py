"""Connections and channels that end: consumers go on, once each, and nothing is lost (P02, P03, P04)."""

from __future__ import annotations

import asyncio
import functools
import random
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.scripted import ScriptedBroker
from tests.client.support import AioConsuming, Consuming, message, numbers, plan, queue_settings, run
from tests.support.admin import Admin
from tests.support.proxy import (
    BASIC_CONSUME,
    BASIC_PUBLISH,
    CHANNEL_OPEN,
    DOWN,
    QUEUE_DECLARE,
    UP,
    Proxy,
)
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging import aio, api
from fedora_messaging.broker import Broker as EmbeddedBroker
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.client.scripted import ScriptedLink
    from tests.support.admin import Names
    from tests.support.brokers import Broker

    from fedora_messaging import config
    from fedora_messaging.message import Message
    from fedora_messaging.wire.methods import Method

    Make = Callable[..., Consuming]

BASIC_CONSUME_OK = (60, 21)


# The faces and the forms of callbacks meet in every combination in test_consume_outcomes.py.
@pytest.fixture(params=["function", "coroutine function"])
def kind(request: pytest.FixtureRequest) -> str:
    """Form of the callback."""
    return str(request.param)


@pytest.fixture
def consuming(kind: str, proxy: Proxy, proxied_service: None) -> Make:
    """Begins to consume by way of the proxy: functions by `api`, coroutine functions by `aio`."""
    if kind == "function":
        return Consuming
    return functools.partial(AioConsuming, proxy.url())


class Worker:
    """A callback, in either form, that can be made to wait, and watches that it is called one by one."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.queues: list[str | None] = []
        self.released = threading.Event()
        self.released.set()
        self.at_once = 0
        self.error: BaseException | None = None

    def _begin(self, received: Message) -> None:
        self.at_once = max(self.at_once, len(self.begun) - len(self.ended) + 1)
        self.begun.append(received.body["number"])
        self.queues.append(received.queue)

    def _end(self, received: Message) -> None:
        self.ended.append(received.body["number"])
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def function(self, received: Message) -> None:
        self._begin(received)
        self.released.wait(2 * WAIT)
        self._end(received)

    async def coroutine(self, received: Message) -> None:
        self._begin(received)
        while not self.released.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)
        self._end(received)

    def callback(self, kind: str) -> Any:
        return self.function if kind == "function" else self.coroutine


def publish(admin: Admin, queue: str, *which: int) -> None:
    for number in which:
        admin.channel.basic_publish("amq.topic", f"{queue}.test", f'{{"number": {number}}}'.encode())


def subscribed(proxy: Proxy, admin: Admin, queue: str, times: int) -> bool:
    """Whether the queue has the consumer that was registered last, and no other; what others had is back."""
    return proxy.count(BASIC_CONSUME_OK, DOWN) == times and admin.consumers(queue) == 1


def acks_unknown(channel: int) -> bytes:
    """A frame that acknowledges what was never delivered: the broker closes the channel with 406."""
    payload = struct.pack(">HHQB", 60, 80, 4_000_000_000, 0)
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


# Connections


def test_p02_cut_while_idle(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    worker = Worker()
    with consuming(worker.callback(kind), **plan(queue)) as run_:
        for number in range(4):
            eventually(lambda: subscribed(proxy, admin, queue, number + 1))  # noqa: B023
            publish(admin, queue, number)
            eventually(lambda: worker.ended[-1:] == [number])  # noqa: B023
            if number < 3:
                proxy.cut()
        assert run_.is_alive
    assert proxy.accepted == 4
    # An acknowledgement that was under way may be lost with the connection.
    assert (list(dict.fromkeys(worker.ended)), worker.at_once) == ([0, 1, 2, 3], 1)
    assert admin.ready(queue) == 0


def test_p03_cut_during_a_callback(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    """P03: one consumer afterwards; the message is done again, after the first time has ended."""
    worker = Worker()
    worker.released.clear()
    publish(admin, queue, 0, 1)
    with consuming(worker.callback(kind), **plan(queue)) as run_:
        eventually(lambda: worker.begun == [0])
        proxy.cut()
        # Subscribed again, and sent both messages again, while the first callback still runs.
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        eventually(lambda: admin.consumers(queue) == 1 and admin.ready(queue) == 0)
        assert worker.begun == [0]
        worker.released.set()
        eventually(lambda: len(worker.ended) == 3)
        publish(admin, queue, 2)
        eventually(lambda: len(worker.ended) == 4)
        assert admin.consumers(queue) == 1
        assert run_.is_alive
    assert worker.ended == [0, 0, 1, 2]
    assert worker.at_once == 1
    # A stale acknowledgement would have cost a channel.
    assert proxy.count(BASIC_CONSUME) == 2
    assert admin.ready(queue) == 0


@pytest.mark.parametrize("error", [Nack(), Drop()], ids=["nack", "drop"])
def test_p03_stale_fate_is_dropped(
    broker: Broker,
    proxy: Proxy,
    admin: Admin,
    queue: str,
    consuming: Make,
    kind: str,
    error: Exception,
) -> None:
    """It was told of a delivery that the broker has taken back; the next one decides."""
    worker = Worker()
    worker.released.clear()
    worker.error = error
    publish(admin, queue, 0)
    with consuming(worker.callback(kind), **plan(queue)):
        eventually(lambda: worker.begun == [0])
        proxy.cut()
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        eventually(lambda: admin.consumers(queue) == 1 and admin.ready(queue) == 0)
        worker.released.set()
        eventually(lambda: worker.ended == [0, 0])
    assert proxy.count(BASIC_CONSUME) == 2
    assert admin.ready(queue) == 0


@pytest.mark.parametrize("lost", ["connection", "channel"])
@pytest.mark.parametrize("error", [HaltConsumer(), ValueError("canary")], ids=["halt", "error"])
def test_outcome_is_honoured_though_its_channel_is_gone(
    broker: Broker,
    proxy: Proxy,
    admin: Admin,
    queue: str,
    consuming: Make,
    kind: str,
    lost: str,
    error: Exception,
) -> None:
    """Consuming ends as the callback asked; the message stays in the queue."""
    worker = Worker()
    worker.released.clear()
    worker.error = error
    publish(admin, queue, 0)
    with consuming(worker.callback(kind), **plan(queue)) as run_:
        eventually(lambda: worker.begun == [0])
        if lost == "connection":
            proxy.cut()
        else:
            proxy.inject(acks_unknown(proxy.channels(BASIC_CONSUME)[-1]), UP)
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        worker.released.set()
        assert run_.ended() is error
    eventually(lambda: admin.consumers(queue) == 0)
    assert worker.begun == [0]
    eventually(lambda: admin.ready(queue) == 1)


def test_halt_while_disconnected(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    """Consuming ends without waiting for a connection."""
    worker = Worker()
    worker.released.clear()
    worker.error = HaltConsumer()
    publish(admin, queue, 0)
    with consuming(worker.callback(kind), **plan(queue)) as run_:
        eventually(lambda: worker.begun == [0])
        proxy.refuse()
        proxy.cut()
        eventually(lambda: admin.ready(queue) == 1)
        worker.released.set()
        assert isinstance(run_.ended(), HaltConsumer)


@pytest.mark.parametrize("kind", ["function"], indirect=True)
def test_queue_deleted_while_away_is_declared_again(
    broker: Broker, proxy: Proxy, admin: Admin, name: str, consuming: Make, kind: str
) -> None:
    """With its bindings."""
    worker = Worker()
    with consuming(worker.callback(kind), **plan(name)):
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
        publish(admin, name, 0)
        eventually(lambda: worker.ended == [0])
        proxy.refuse()
        proxy.cut()
        admin.delete(name)
        proxy.resume()
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        eventually(lambda: admin.consumers(name) == 1)
        publish(admin, name, 5)
        eventually(lambda: worker.ended == [0, 5])


@pytest.mark.parametrize("kind", ["function"], indirect=True)
def test_server_named_queue_gets_a_new_name(
    broker: Broker, proxy: Proxy, admin: Admin, name: str, consuming: Make, kind: str
) -> None:
    worker = Worker()
    settings = {**queue_settings(), "durable": False, "auto_delete": True, "exclusive": True}
    bindings = {"exchange": "amq.topic", "routing_keys": [f"{name}.#"]}
    with consuming(worker.callback(kind), bindings=bindings, queues={"": settings}):
        for number in range(2):
            eventually(lambda: proxy.count(BASIC_CONSUME) == number + 1)  # noqa: B023

            def arrived(number: int = number) -> bool:
                # Nobody outside can see when the exclusive queue is bound again.
                publish(admin, name, number)
                return number in worker.ended

            eventually(arrived)
            proxy.cut()
    generated = list(dict.fromkeys(worker.queues))
    assert len(generated) == 2
    assert all(str(queue).startswith("amq.gen-") for queue in generated)


def test_subscription_goes_on(broker: Broker, proxy: Proxy, admin: Admin, name: str) -> None:
    """Without its consumer noticing, except by the name of the queue and the flag of the message."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            named, unnamed = bus.subscribe(f"{name}.#", queue=name), bus.subscribe(f"{name}.#")
            async with named, unnamed:
                first_name = unnamed.queue_name
                await bus.publish(message(name, 1))
                held = await anext(named)
                assert (await anext(unnamed)).message.queue == first_name
                proxy.cut()
                await soon(lambda: proxy.count(BASIC_CONSUME) == 4)
                await soon(lambda: bus.connected)
                await soon(lambda: unnamed.queue_name != first_name)
                # Told of a delivery that is no longer ours.
                await held.ack()
                again = await anext(named)
                assert (again.message.body, again.redelivered) == ({"number": 1}, True)
                assert again.message.id == held.message.id
                await bus.publish(message(name, 2))
                assert numbers([(await anext(named)).message]) == [2]
                delivery = await anext(unnamed)
                assert delivery.message.queue == unnamed.queue_name
                assert delivery.message.body == {"number": 2}
                assert admin.consumers(name) == 1

    run(main())


def test_deliveries_waiting_in_a_subscription_when_the_connection_ends_are_not_given_out_twice(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str
) -> None:
    """What was sent ahead on the old connection is dropped; it all comes again."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            for number in range(8):
                await bus.publish(message(queue, number))
            async with bus.subscribe(queue=queue) as subscription:
                first = await anext(subscription)
                assert first.message.body == {"number": 0}
                await first.ack()
                await soon(lambda: admin.ready(queue) == 0)
                proxy.cut()
                await soon(lambda: proxy.count(BASIC_CONSUME) == 2)
                found = [(await anext(subscription)) for _ in range(7)]
                # Whether the acknowledgement arrived before the cut nobody knows.
                seen = numbers(delivery.message for delivery in found)
                if seen[0] == 0:
                    seen = [*seen[1:], (await anext(subscription)).message.body["number"]]
                assert seen == list(range(1, 8))
                for delivery in found:
                    if not delivery.settled:
                        await delivery.ack()

    run(main())


@pytest.mark.parametrize("kind", ["function"], indirect=True)
def test_p02_stalled_connection_is_given_up_by_heartbeats(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, settings: config.LazyConfig, kind: str
) -> None:
    """P02: no FIN ever comes. Publisher and consumers go on within two heartbeats or so."""
    settings["amqp_url"] = proxy.url(heartbeat=1)
    worker = Worker()
    try:
        with Consuming(worker.callback(kind), **plan(queue)):
            eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
            api.publish(message(queue, 1))
            eventually(lambda: worker.ended == [1])
            proxy.stall()
            api.publish(message(queue, 2), timeout=WAIT)
            eventually(lambda: 2 in worker.ended)
            eventually(lambda: admin.consumers(queue) == 1)
            eventually(lambda: admin.ready(queue) == 0)
            assert proxy.accepted == 2
    finally:
        api.close()
    assert worker.at_once == 1


def test_p04_callback_longer_than_the_heartbeat(
    broker: Broker, names: Names, admin: Admin, settings: config.LazyConfig
) -> None:
    """P04: heartbeat 1 s, callbacks of 4 s, in a thread and in the loop; both are acknowledged at once."""
    by_thread, by_loop = admin.declare(names()), admin.declare(names())
    ended: list[str] = []

    def function(received: Message) -> None:
        time.sleep(4)
        ended.append(str(received.queue))

    async def coroutine(received: Message) -> None:
        await asyncio.sleep(4)
        ended.append(str(received.queue))

    with Proxy(broker.url) as first, Proxy(broker.url) as second:
        settings["amqp_url"] = first.url(heartbeat=1)
        try:
            with (
                Consuming(function, **plan(by_thread)),
                AioConsuming(second.url(heartbeat=1), coroutine, **plan(by_loop)),
            ):
                publish(admin, by_thread, 0)
                publish(admin, by_loop, 0)
                eventually(lambda: len(ended) == 2)
        finally:
            api.close()
        assert (first.accepted, second.accepted) == (1, 1)
    assert sorted(ended) == sorted([by_thread, by_loop])
    assert (admin.ready(by_thread), admin.ready(by_loop)) == (0, 0)


# Channels


def test_p02_channel_closed_while_idle(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    """The library opens another channel, as often as the broker closes one."""
    worker = Worker()
    with consuming(worker.callback(kind), **plan(queue)) as run_:
        for number in range(5):
            eventually(lambda: subscribed(proxy, admin, queue, number + 1))  # noqa: B023
            publish(admin, queue, number)
            eventually(lambda: worker.ended[-1:] == [number])  # noqa: B023
            if number < 4:
                proxy.inject(acks_unknown(proxy.channels(BASIC_CONSUME)[-1]), UP)
        assert run_.is_alive
    assert proxy.accepted == 1
    # An acknowledgement that was under way may be lost with the channel.
    assert (list(dict.fromkeys(worker.ended)), worker.at_once) == ([0, 1, 2, 3, 4], 1)
    assert admin.ready(queue) == 0


def test_p02_channel_closed_during_a_callback(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    """As after an acknowledgement timeout: the message is done again, nothing runs twice at once."""
    worker = Worker()
    worker.released.clear()
    publish(admin, queue, 0, 1)
    with consuming(worker.callback(kind), **plan(queue)):
        eventually(lambda: worker.begun == [0])
        proxy.inject(acks_unknown(proxy.channels(BASIC_CONSUME)[-1]), UP)
        eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
        eventually(lambda: admin.consumers(queue) == 1 and admin.ready(queue) == 0)
        worker.released.set()
        eventually(lambda: len(worker.ended) == 3)
    assert (worker.ended, worker.at_once) == ([0, 0, 1], 1)
    assert (proxy.accepted, proxy.count(BASIC_CONSUME)) == (1, 2)
    assert admin.ready(queue) == 0


def test_publishing_channel_closed_while_idle(broker: Broker, proxy: Proxy, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            for number in range(3):
                await bus.publish(message(queue, number))
                proxy.inject(acks_unknown(proxy.channels(BASIC_PUBLISH)[-1]), UP)
            await bus.publish(message(queue, 3))
            assert proxy.accepted == 1

    run(main())
    assert set(admin.take(queue)) == {f'{{"number": {n}}}'.encode() for n in range(4)}


# Registering again


@pytest.mark.parametrize("kind", ["function"], indirect=True)
def test_passive_queue_that_comes_back_late(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, consuming: Make, kind: str
) -> None:
    """The library tries again, with pauses, until the queue is there."""
    worker = Worker()
    passive = {**queue_settings(), "passive": True}
    publish(admin, queue, 0)
    with consuming(worker.callback(kind), bindings=[], queues={queue: passive}) as run_:
        eventually(lambda: worker.ended == [0])
        proxy.refuse()
        proxy.cut()
        admin.delete(queue)
        begin = time.monotonic()
        proxy.resume()
        eventually(lambda: proxy.count(QUEUE_DECLARE) >= 3)
        # At full speed there would be hundreds a second.
        assert proxy.count(QUEUE_DECLARE) < 10 + 10 * (time.monotonic() - begin)
        admin.declare(queue)
        eventually(lambda: admin.consumers(queue) == 1)
        publish(admin, queue, 5)
        eventually(lambda: worker.ended == [0, 5])
        assert run_.is_alive


@pytest.mark.parametrize("kind", ["function"], indirect=True)
def test_binding_that_fails_while_registering_again(
    broker: Broker, proxy: Proxy, admin: Admin, name: str, consuming: Make, kind: str
) -> None:
    """The library tries again until the exchange is back."""
    admin.channel.exchange_declare(name, "topic")
    worker = Worker()
    bindings = {"exchange": name, "queue": name, "routing_keys": ["#"]}
    with consuming(worker.callback(kind), bindings=bindings, queues={name: queue_settings()}) as run_:
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
        # One that has been delivered shows that consuming has begun: until then a missing exchange ends it.
        admin.channel.basic_publish(name, "any", b'{"number": 0}')
        eventually(lambda: worker.ended == [0])
        proxy.refuse()
        proxy.cut()
        admin.channel.exchange_delete(name)
        proxy.resume()
        eventually(lambda: proxy.count(QUEUE_DECLARE) >= 3)
        admin.channel.exchange_declare(name, "topic")
        eventually(lambda: admin.consumers(name) == 1)
        admin.channel.basic_publish(name, "any", b'{"number": 5}')
        eventually(lambda: 5 in worker.ended)
        assert run_.is_alive


@pytest.fixture(params=["refused", "unanswered", "hung up on"])
def impossible(request: pytest.FixtureRequest) -> str:
    """What the broker does when the queue ``impossible`` is declared again."""
    return str(request.param)


def test_a_queue_that_cannot_be_had_keeps_nobody_waiting(impossible: str) -> None:
    """After a reconnect: the others are consumed, and publishes are sent, however long that lasts."""

    async def main() -> None:
        declared: list[str] = []
        consumed: list[str] = []

        def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.BasicConsume):
                consumed.append(method.queue)
            if not isinstance(method, m.QueueDeclare):
                return False
            declared.append(method.queue)
            if method.queue != "impossible" or declared.count("impossible") == 1:
                return False
            if impossible == "refused":
                link.close_channel(channel, 404, "NOT_FOUND - its home is down")
            elif impossible == "hung up on":
                link.machine.close(541, "INTERNAL_ERROR")
            return True

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = on_method
            async with bus.subscribe(queue="impossible"), bus.subscribe(queue="good"):
                broker.link.abort()
                await soon(lambda: consumed.count("good") >= 2)
                await asyncio.wait_for(bus.publish(message("nowhere")), WAIT)

    run(main())


@pytest.mark.parametrize("code", [541, 506])
def test_a_broker_that_is_unwell_is_asked_again(code: int) -> None:
    """As it is when a quorum queue has no majority, which is not our fault."""

    async def main() -> None:
        closed: list[bool] = []

        def on_method(link: ScriptedLink, channel: int, method: Method) -> bool:
            if isinstance(method, m.QueueDeclare) and not closed:
                closed.append(True)
                link.machine.close(code, "INTERNAL_ERROR")
                return True
            return False

        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = on_method
            async with asyncio.timeout(WAIT), bus.subscribe(queue="q"):
                pass

    run(main())


@pytest.mark.parametrize(
    "at", [QUEUE_DECLARE, CHANNEL_OPEN, BASIC_CONSUME], ids=["declare", "open", "consume"]
)
def test_subscription_closed_while_being_registered_again(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, at: tuple[int, int]
) -> None:
    """Nothing of it stays behind: a consumer that nobody reads from would keep messages for itself."""

    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            async with bus.subscribe(queue=queue) as subscription:
                before = proxy.count(at)
                proxy.stall_at(at, DOWN)
                proxy.cut()
                await soon(lambda: proxy.count(at) == before + 1)
                closing = asyncio.create_task(subscription.close())
                await asyncio.wait([closing], timeout=0.1)
                proxy.resume()
                await closing
            await bus.publish(message(queue, 1))
            await soon(lambda: admin.consumers(queue) == 0)
            await soon(lambda: admin.ready(queue) == 1)

    run(main())


def test_p02_cut_after_any_byte_of_registering(broker: Broker, admin: Admin, names: Names) -> None:
    """P02: whichever byte of the next connection is its last, the one after it serves the consumer."""
    # Handshake, declare, bind, qos and consume are some 900 bytes up; down, start is the largest part.
    cuts = [(UP, n) for n in (1, 8, 9, *range(40, 1000, 97))] + [
        (DOWN, n) for n in (1, 7, 300, *range(440, 900, 41))
    ]
    queues = [names() for _ in cuts]

    async def consume_through(number: int, proxy: Proxy, publisher: aio.Bus) -> None:
        direction, count = cuts[number]
        name = queues[number]
        async with aio.connect(proxy.url()) as bus:
            async with bus.subscribe(f"{name}.#", queue=name) as subscription:
                proxy.cut_after(count, direction, new=True)
                proxy.cut()
                waiting = asyncio.create_task(anext(subscription))
                await soon(lambda: proxy.accepted >= 2, 2 * WAIT)
                # Not on this bus: its publish would wait for, and fail with, the connection that is cut.
                await publisher.publish(message(name, number))
                delivery = await waiting
                assert delivery.message.body == {"number": number}
                await soon(lambda: admin.consumers(name) == 1)
                await delivery.ack()

    async def main() -> None:
        proxies = [Proxy(broker.url) for _ in cuts]
        try:
            for proxy in proxies:
                proxy.__enter__()
            async with aio.connect(broker.url) as publisher:
                await asyncio.gather(*[consume_through(*pair, publisher) for pair in enumerate(proxies)])
            assert sum(proxy.accepted >= 3 for proxy in proxies) > len(cuts) / 2
        finally:
            for proxy in proxies:
                if proxy.port:
                    proxy.__exit__()

    run(main())
    assert [admin.ready(name) for name in queues] == [0] * len(queues)


def test_two_queues_after_a_reconnect(
    broker: Broker, proxy: Proxy, admin: Admin, names: Names, consuming: Make
) -> None:
    """All are served again, and in parallel."""
    queues = [admin.declare(names()) for _ in range(3)]
    seen: list[tuple[str | None, int]] = []

    async def callback(received: Message) -> None:
        seen.append((received.queue, received.body["number"]))

    with consuming(callback, **plan(*queues)):
        eventually(lambda: proxy.count(BASIC_CONSUME) == 3)
        proxy.cut()
        eventually(lambda: proxy.count(BASIC_CONSUME) == 6)
        for number, name in enumerate(queues):
            publish(admin, name, number)
        eventually(lambda: len(seen) == 3)
        eventually(lambda: [admin.consumers(name) for name in queues] == [1, 1, 1])
    assert set(seen) == {(name, number) for number, name in enumerate(queues)}


def test_soak_of_cuts(broker: Broker, proxy: Proxy, proxied_service: None, admin: Admin, queue: str) -> None:
    """P02, P14: publisher and consumer over a network that keeps failing; everything arrives."""
    chance = random.Random(20)
    done: set[int] = set()

    def callback(received: Message) -> None:
        done.add(received.body["number"])

    with Consuming(callback, **plan(queue)) as run_:
        for number in range(40):
            kind = chance.randrange(8)
            if kind == 0:
                proxy.cut()
            elif kind == 1:
                proxy.cut_after(chance.randrange(1, 400), UP)
            elif kind == 2:
                proxy.cut_after(chance.randrange(1, 400), DOWN)
            elif kind == 3 and proxy.sent:
                proxy.inject(acks_unknown(chance.randrange(1, 3)), UP)
            api.publish(message(queue, number), timeout=2 * WAIT)
        eventually(lambda: done == set(range(40)), 2 * WAIT)
        eventually(lambda: admin.consumers(queue) == 1)
        eventually(lambda: admin.ready(queue) == 0)
        assert run_.is_alive


# Brokers that end


def test_broker_that_is_restarted(tmp_path: Path, settings: config.LazyConfig) -> None:
    """The embedded one with its data; publisher and consumer go on."""
    worker = Worker()
    broker = EmbeddedBroker(data=tmp_path)
    broker.start()
    try:
        with Proxy(broker.amqp_url) as proxy:
            settings["amqp_url"] = proxy.url()
            with Consuming(worker.function, **plan("q")) as run_:
                eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
                api.publish(message("q", 1))
                eventually(lambda: 1 in worker.ended)
                port = broker.port
                broker.stop()
                broker = EmbeddedBroker(data=tmp_path, port=port)
                broker.start()
                api.publish(message("q", 2))
                eventually(lambda: 2 in worker.ended)
                assert run_.is_alive
            api.close()
    finally:
        api.close()
        broker.stop()


def test_operator_closes_all_connections(request: pytest.FixtureRequest, settings: config.LazyConfig) -> None:
    """RabbitMQ's `rabbitmqctl close_all_connections`: an orderly connection.close from the broker."""
    node = request.getfixturevalue("rabbitmq")
    settings["amqp_url"] = node.url
    name = f"operator.{random.getrandbits(64):x}"
    admin = Admin(node.url)
    worker = Worker()
    try:
        admin.declare(name)
        with Consuming(worker.function, **plan(name)) as run_:
            api.publish(message(name, 1))
            eventually(lambda: 1 in worker.ended)
            admin.close()
            node.ctl("close_all_connections", "canary")
            api.publish(message(name, 2))
            eventually(lambda: 2 in worker.ended)
            assert run_.is_alive
            eventually(lambda: admin.consumers(name) == 1)
    finally:
        api.close()
        admin.delete(name)
        admin.close()
