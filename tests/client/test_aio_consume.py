"""`aio.Bus.consume`: what it has beyond the fates of test_consume_outcomes.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import message, numbers, plan, queue_settings, run
from tests.support.proxy import DOWN, Proxy
from tests.support.waiting import WAIT, soon

from fedora_messaging import aio
from fedora_messaging.exceptions import BadDeclaration, ConnectionException, ConsumerCanceled, HaltConsumer

if TYPE_CHECKING:
    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging import config
    from fedora_messaging.message import Message


async def nothing(_received: Message) -> None:
    """A callback."""


def test_callbacks_publish_on_the_same_bus(broker: Broker, admin: Admin, names: Names) -> None:
    name, answers = admin.declare(names()), admin.declare(names())

    async def main() -> None:
        async def callback(received: Message) -> None:
            await bus.publish(message(answers, received.body["number"]))
            if received.body["number"] == 9:
                raise HaltConsumer

        async with aio.connect(broker.url) as bus:
            for number in range(10):
                await bus.publish(message(name, number))
            with pytest.raises(HaltConsumer):
                await bus.consume(callback, **plan(name))

    run(main())
    assert admin.take(answers) == [f'{{"number": {n}}}'.encode() for n in range(10)]
    assert admin.ready(name) == 0


def test_cancelling_lets_the_running_callback_end(broker: Broker, admin: Admin, queue: str) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    ended: list[Message] = []

    async def callback(received: Message) -> None:
        begun.set()
        await release.wait()
        ended.append(received)

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            await asyncio.gather(*[bus.publish(message(queue, number)) for number in range(50)])
            task = asyncio.create_task(bus.consume(callback, **plan(queue)))
            await begun.wait()
            task.cancel()
            # By the time that a confirm comes the cancellation has reached everybody.
            await bus.publish(message(queue, 50))
            assert not task.done()
            release.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert numbers(ended) == [0]
            await soon(lambda: admin.ready(queue) == 50)
            assert admin.consumers(queue) == 0
            await bus.publish(message(queue, 51))

    run(main())


def test_cancelling_before_the_broker_answers(broker: Broker, proxy: Proxy, admin: Admin, queue: str) -> None:
    async def main() -> None:
        async with aio.connect(proxy.url()) as bus:
            proxy.stall(DOWN)
            task = asyncio.create_task(bus.consume(nothing, **plan(queue)))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.sleep(0)
            proxy.resume()
            with pytest.raises(asyncio.CancelledError):
                await task
            await soon(lambda: admin.consumers(queue) == 0)
            # Nothing of the attempt lives on.
            await bus.publish(message(queue, 1))
            assert (admin.consumers(queue), admin.ready(queue)) == (0, 1)

    run(main())


def test_closing_the_bus_ends_consuming(broker: Broker, admin: Admin, queue: str) -> None:
    received: list[Message] = []

    async def callback(message: Message) -> None:
        received.append(message)

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            task = asyncio.create_task(bus.consume(callback, **plan(queue)))
            # That the broker has a consumer does not mean that it has told us.
            admin.publish(queue, b"{}")
            await soon(lambda: received)
        await task

    run(main())
    assert admin.consumers(queue) == 0


def test_several_at_once_on_one_bus(broker: Broker, admin: Admin, names: Names) -> None:
    """One's failure is not the others'."""
    first, second = admin.declare(names()), admin.declare(names())
    seen: list[int] = []

    async def callback(received: Message) -> None:
        seen.append(received.body["number"])

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            failing = asyncio.create_task(bus.consume(nothing, **plan(first)))
            going = asyncio.create_task(bus.consume(callback, **plan(second)))
            await soon(lambda: admin.consumers(first) == admin.consumers(second) == 1)
            admin.delete(first)
            with pytest.raises(ConsumerCanceled):
                await failing
            await bus.publish(message(second, 7))
            await soon(lambda: seen == [7])
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going

    run(main())


def test_wrong_arguments_fail_at_once(broker: Broker) -> None:
    wrong: list[dict[str, Any]] = [{"bindings": "text"}, {"queues": {"q": {}}}]

    async def main() -> None:
        bus = aio.connect("amqp://127.0.0.1:1")
        try:
            for arguments in wrong:
                with pytest.raises(ValueError, match="bindings|queue"):
                    await bus.consume(nothing, **arguments)
            with pytest.raises(ValueError, match="Callback"):
                await bus.consume(5, queues={})  # type: ignore[arg-type]
            await bus.consume(nothing, queues={})
        finally:
            await bus.close()

    run(main(), within=WAIT)


def test_refused_queue_stops_those_before_it(broker: Broker, admin: Admin, names: Names) -> None:
    good, bad = names(), admin.declare(names())

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            queues = {good: queue_settings(), bad: queue_settings(**{"x-max-length": 5})}
            with pytest.raises(BadDeclaration, match=bad):
                await bus.consume(nothing, [], queues)
            assert admin.consumers(good) == 0
            await bus.publish(message(bad))
        assert admin.ready(bad) == 1

    run(main())


def test_consuming_on_a_closed_bus(broker: Broker, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            pass
        with pytest.raises(ConnectionException, match="closed"):
            await bus.consume(nothing, **plan(name))

    run(main(), within=WAIT)


def test_default_configuration(broker: Broker, admin: Admin, name: str, settings: config.LazyConfig) -> None:
    """The queue without name gets everything from amq.topic."""
    seen: list[Message] = []

    def callback(received: Message) -> None:
        if received.topic == f"{name}.test":
            seen.append(received)
            raise HaltConsumer

    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            task = asyncio.create_task(bus.consume(callback))
            while not task.done():
                await bus.publish(message(name))
                await asyncio.sleep(0.01)
            with pytest.raises(HaltConsumer):
                await task

    run(main())
    assert str(seen[0].queue).startswith("amq.gen-")


def test_no_free_channel(broker: Broker, admin: Admin, names: Names, proxy: Proxy) -> None:
    """A clear error instead of a wait; what is there goes on."""
    queues = [admin.declare(names()) for _ in range(4)]

    async def main() -> None:
        async with aio.connect(proxy.url(channel_max=3)) as bus:
            await bus.publish(message(queues[0]))
            with pytest.raises(Exception, match="channels") as caught:
                await bus.consume(nothing, **plan(*queues))
            assert type(caught.value).__name__ == "NoFreeChannels"
            await bus.publish(message(queues[3]))

    run(main())
    assert [admin.consumers(name) for name in queues] == [0] * 4
