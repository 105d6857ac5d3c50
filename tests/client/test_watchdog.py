"""Consumers that are deaf though everything looks well (P02, P06)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import Consuming, message, plan, run
from tests.support.proxy import BASIC_CONSUME, QUEUE_DECLARE, Proxy
from tests.support.waiting import eventually, soon

from fedora_messaging import aio, api
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message
    from fedora_messaging.wire.methods import Method


@pytest.mark.usefixtures("proxied_service")
@pytest.mark.parametrize(("swallowed", "subscribed", "connected"), [(1, 2, 1), (2, 3, 2)])
def test_p02_deliveries_that_do_not_arrive(
    broker: Broker,
    proxy: Proxy,
    admin: Admin,
    queue: str,
    settings: LazyConfig,
    swallowed: int,
    subscribed: int,
    connected: int,
) -> None:
    """P02: messages wait, and none arrives: first it is subscribed again, then the connection is given up."""
    settings["consumer"] = {"watchdog": 0.3}
    settings["qos"] = {"prefetch_count": 1}
    received: list[Message] = []
    with Consuming(received.append, **plan(queue)) as consuming:
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1 and admin.consumers(queue) == 1)
        proxy.swallow(swallowed)
        for number in range(3):
            admin.publish(queue, message(queue, number)._encoded_body)
        eventually(lambda: len(received) == 3)
        assert [one.body["number"] for one in received] == [0, 1, 2]
        assert (proxy.count(BASIC_CONSUME), proxy.accepted) == (subscribed, connected)
        eventually(lambda: admin.consumers(queue) == 1)
        assert consuming.is_alive
        if connected == 1:
            assert api._twisted_service.snapshot().queues[0].resubscriptions == 1


@pytest.mark.usefixtures("proxied_service")
def test_p06_not_ready_while_nothing_arrives(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, settings: LazyConfig
) -> None:
    settings["consumer"] = {"watchdog": 0.2}
    settings["qos"] = {"prefetch_count": 1}
    with Consuming(lambda _message: None, **plan(queue)):
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1 and admin.consumers(queue) == 1)
        proxy.swallow(1_000_000)
        for number in range(2):
            admin.publish(queue, message(queue, number)._encoded_body)
        eventually(
            lambda: api._twisted_service.snapshot().reason not in (None, "not connected", "not consuming")
        )
        snapshot = api._twisted_service.snapshot()
        assert snapshot.reason == f"no progress: messages wait in queue '{queue}', and none arrives"
        proxy.swallow(0)
        eventually(lambda: admin.ready(queue) == 0 and api._twisted_service.snapshot().reason is None)


@pytest.mark.usefixtures("proxied_service")
@pytest.mark.parametrize("kind", ["empty queue", "busy callback"])
def test_watchdog_leaves_others_alone(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, settings: LazyConfig, kind: str
) -> None:
    """Who has nothing to do, and who is busy, is not deaf."""
    import threading

    settings["consumer"] = {"watchdog": 0.05}
    settings["qos"] = {"prefetch_count": 1}
    release = threading.Event()
    begun: list[Message] = []

    def callback(received: Message) -> None:
        begun.append(received)
        release.wait(15)

    with Consuming(callback, **plan(queue)):
        eventually(lambda: proxy.count(BASIC_CONSUME) == 1 and admin.consumers(queue) == 1)
        asked = proxy.count(QUEUE_DECLARE)
        if kind == "busy callback":
            for number in range(3):
                admin.publish(queue, message(queue, number)._encoded_body)
            eventually(lambda: begun)
            # What the others wait for is that the callback ends.
            asked = proxy.count(QUEUE_DECLARE)
            for _ in range(20):
                assert admin.ready(queue) == 2
        else:
            eventually(lambda: proxy.count(QUEUE_DECLARE) > asked + 5)
        assert (proxy.count(BASIC_CONSUME), proxy.accepted) == (1, 1)
        release.set()


def test_watchdog_that_may_not_ask(settings: LazyConfig) -> None:
    """Where the broker does not let us look at a queue, consuming goes on without a watch."""
    settings["consumer"] = {"watchdog": 0.05}

    def refuse(link: ScriptedLink, channel: int, method: Method) -> bool:
        if isinstance(method, m.QueueDeclare) and method.passive:
            link.close_channel(channel, 403, "ACCESS_REFUSED - access to queue refused")
            return True
        return False

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = refuse
            consuming = asyncio.ensure_future(bus.consume(print, **plan("q")))
            asked = [m.QueueDeclare, True]
            await soon(
                lambda: [
                    one
                    for _, one in broker.link.methods
                    if [type(one), getattr(one, "passive", None)] == asked
                ]
            )
            await broker.link.everything_read(1)
            assert not consuming.done()
            assert len(broker.links) == 1
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())


def test_watchdog_can_be_switched_off(settings: LazyConfig, broker: Broker, proxy: Proxy, queue: str) -> None:
    settings["consumer"] = {"watchdog": 0}
    settings["amqp_url"] = proxy.url()
    try:
        with Consuming(print, **plan(queue)):
            eventually(lambda: proxy.count(BASIC_CONSUME) == 1)
            assert proxy.count(QUEUE_DECLARE) == 1
    finally:
        api.close()
