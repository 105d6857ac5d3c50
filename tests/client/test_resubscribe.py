"""Consumers that the broker cancels, or whose channel goes again and again (P02)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import Consuming, message, plan, queue_settings, run
from tests.support.proxy import BASIC_CONSUME, Proxy
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging import aio
from fedora_messaging.exceptions import ConsumerCanceled
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message
    from fedora_messaging.wire.methods import Method


@pytest.mark.usefixtures("service")
def test_p02_deleted_queue_ends_consuming_by_default(broker: Broker, admin: Admin, queue: str) -> None:
    """Consuming ends as in version 3.9, so that a service manager starts the program again."""
    with Consuming(print, **plan(queue)) as consuming:
        eventually(lambda: admin.consumers(queue) == 1)
        admin.delete(queue)
        assert isinstance(consuming.ended(), ConsumerCanceled)


@pytest.mark.usefixtures("service")
def test_p02_queue_deleted_during_a_callback_ends_consuming_by_default(
    broker: Broker, admin: Admin, queue: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def callback(_message: Message) -> None:
        begun.set()
        go_on.wait(WAIT)

    with Consuming(callback, **plan(queue)) as consuming:
        admin.publish(queue, message(queue, 0)._encoded_body)
        assert begun.wait(WAIT)
        admin.delete(queue)
        go_on.set()
        assert isinstance(consuming.ended(), ConsumerCanceled)


def test_p04_canceled_during_a_callback_while_the_queue_is_there() -> None:
    """RabbitMQ 4.3 does so to a quorum queue's consumer that is slow to acknowledge: consuming goes on."""
    broker = ScriptedBroker()

    def consumes() -> list[tuple[int, m.BasicConsume]]:
        found = broker.link.methods
        return [(number, method) for number, method in found if isinstance(method, m.BasicConsume)]

    def deliver(number: int) -> None:
        channel, consume = consumes()[-1]
        sent = message("q", number)
        assert isinstance(sent._properties, BasicProperties)
        method = m.BasicDeliver(consume.consumer_tag, 1, False, "", "q")
        broker.link.deliver(channel, method, sent._encoded_body, sent._properties)

    async def main() -> None:
        received: list[int] = []
        go_on = asyncio.Event()

        async def callback(one: Message) -> None:
            received.append(one.body["number"])
            await go_on.wait()

        async with broker, aio.connect(broker.url) as bus:
            consuming = asyncio.create_task(bus.consume(callback, **plan("q")))
            await soon(lambda: broker.links and consumes())
            deliver(0)
            await soon(lambda: received == [0])
            channel, consume = consumes()[0]
            broker.link.send(channel, m.BasicCancel(consume.consumer_tag))
            await soon(lambda: len(consumes()) == 2)
            go_on.set()
            deliver(1)
            await soon(lambda: received == [0, 1])
            # The first outcome is too late for the broker; of the second it is told.
            await soon(lambda: any(isinstance(method, m.BasicAck) for _, method in broker.link.methods))
            await broker.link.everything_read(consumes()[-1][0])
            assert sum(isinstance(method, m.BasicAck) for _, method in broker.link.methods) == 1
            assert not consuming.done()
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())


@pytest.mark.usefixtures("proxied_service")
@pytest.mark.parametrize("policy", [False, True])
def test_p02_deleted_queue_is_declared_again(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, settings: LazyConfig, policy: bool
) -> None:
    settings["consumer"] = {"resubscribe": True, **({"concurrency": 2} if policy else {})}
    received: list[Message] = []
    with Consuming(received.append, **plan(queue)) as consuming:
        for number in range(3):
            eventually(lambda: proxy.count(BASIC_CONSUME) == number + 1)  # noqa: B023
            eventually(lambda: admin.consumers(queue) == 1)
            admin.channel.basic_publish("amq.topic", f"{queue}.x", message(queue, number)._encoded_body)
            eventually(lambda: len(received) == number + 1)  # noqa: B023
            admin.delete(queue)
        assert consuming.is_alive
    assert proxy.accepted == 1


@pytest.mark.usefixtures("service")
def test_p02_passive_queue_that_comes_back_late(
    broker: Broker, admin: Admin, queue: str, settings: LazyConfig
) -> None:
    """Waited for, with pauses that grow."""
    settings["consumer"] = {"resubscribe": True}
    passive = {**queue_settings(), "passive": True}
    received: list[Message] = []
    with Consuming(received.append, bindings=[], queues={queue: passive}) as consuming:
        eventually(lambda: admin.consumers(queue) == 1)
        admin.delete(queue)
        admin.declare(queue)
        admin.publish(queue, message(queue, 7)._encoded_body)
        eventually(lambda: received)
        assert consuming.is_alive


def test_p02_subscription_is_made_again(broker: Broker, admin: Admin, name: str) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as bus:
            async with bus.subscribe(f"{name}.#", queue=name, resubscribe=True) as subscription:
                for number in range(3):
                    await soon(lambda: admin.consumers(name) == 1)
                    await bus.publish(message(name, number))
                    delivery = await anext(subscription)
                    assert delivery.message.body["number"] == number
                    admin.delete(name)
                    # Until it is declared again nothing can be asked of the queue.
                    await soon(lambda: subscription._consumer.resubscriptions == number + 1)  # noqa: B023
                    await soon(lambda: subscription._consumer.connected)

    run(main())


def test_p02_reopening_that_is_overtaken_by_a_reconnect() -> None:
    """A channel that is being opened again on a connection that is lost must not be remembered for it.

    The consumer would take the dead connection for its own, and not open the next channel that goes.
    """
    broker = ScriptedBroker()
    refused: list[int] = []

    def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
        # On the first connection the queue can be declared once.
        if not isinstance(method, m.QueueDeclare) or link is not broker.links[0]:
            return False
        refused.append(channel)
        if len(refused) == 1:
            return False
        link.close_channel(channel, 404, "NOT_FOUND - no queue")
        return True

    def consuming_channel() -> int:
        return next(channel for channel, method in broker.link.methods if isinstance(method, m.BasicConsume))

    def times_consumed() -> int:
        return sum(isinstance(method, m.BasicConsume) for _, method in broker.link.methods)

    async def main() -> None:
        async with broker, aio.connect(broker.url) as bus:
            broker.on_method = refuse
            async with bus.subscribe(queue="q") as subscription:
                broker.link.close_channel(consuming_channel(), 406, "PRECONDITION_FAILED - too late")
                # Some of the pauses between attempts are shorter than those between looks.
                await soon(lambda: len(refused) >= 2)
                broker.link.abort()
                await soon(lambda: len(broker.links) == 2 and times_consumed() == 1)
                # The attempt on the first connection has ended, one way or the other.
                await soon(lambda: not [task for task in asyncio.all_tasks() if "_reopen" in repr(task)])
                broker.link.close_channel(consuming_channel(), 406, "PRECONDITION_FAILED - too late")
                await soon(lambda: times_consumed() == 2)
                assert subscription.queue_name == "q"

    run(main())
