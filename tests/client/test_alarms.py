"""P15: a broker that blocks publishers because memory is running out."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.client.support import Consuming, message, numbers, plan, run
from tests.support.alarms import MEMORY_LIMIT, Alarm
from tests.support.http import ask
from tests.support.rabbitmq import free_ports
from tests.support.waiting import WAIT, eventually

from fedora_messaging import aio, api
from fedora_messaging.broker import Broker, ResourceLimits
from fedora_messaging.exceptions import PublishTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import BrokerUnderTest
    from tests.support.admin import Admin

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message


@pytest.fixture(scope="module")
def embedded_broker() -> Iterator[Broker]:
    """One with little memory."""
    with Broker(resources=ResourceLimits(memory=MEMORY_LIMIT)) as broker:
        yield broker


def status(port: int) -> dict[str, object]:
    found: dict[str, object] = ask(port, "/status").json()
    return found


@pytest.mark.usefixtures("service")
def test_p15_deadlines_hold_and_the_state_is_visible(
    broker: BrokerUnderTest, admin: Admin, queue: str, settings: LazyConfig, alarm: Alarm
) -> None:
    (port,) = free_ports(1)
    settings["monitoring"] = {"address": "127.0.0.1", "port": port}
    api.publish(message(queue, 0))
    with alarm:
        begin = time.monotonic()
        with pytest.raises(PublishTimeout) as caught:
            api.publish(message(queue, 1), timeout=1)
        assert time.monotonic() - begin < WAIT
        eventually(lambda: status(port)["blocked"] == "low on memory")
        with pytest.raises(PublishTimeout) as caught:
            api.publish(message(queue, 2), timeout=0.2)
        assert not caught.value.sent
        assert caught.value.__notes__ == ["The broker blocks publishing: low on memory"]
        # Who waits longer is served when it is over.
        waiting = threading.Thread(target=api.publish, args=(message(queue, 3), None, 4 * WAIT))
        waiting.start()
    waiting.join(2 * WAIT)
    assert not waiting.is_alive()
    eventually(lambda: status(port)["blocked"] is None)
    # The first may have been taken, as its caller was told; the second was never sent.
    taken = {json.loads(body)["number"] for body in admin.take(queue)}
    assert {0, 3} <= taken <= {0, 1, 3}


@pytest.mark.usefixtures("service")
def test_p15_consumers_go_on(broker: BrokerUnderTest, admin: Admin, queue: str, alarm: Alarm) -> None:
    for number in range(20):
        admin.publish(queue, message(queue, number)._encoded_body)
    received: list[Message] = []
    with alarm, Consuming(received.append, **plan(queue)):
        eventually(lambda: len(received) == 20)
    assert numbers(received) == list(range(20))
    assert admin.ready(queue) == 0


def test_p15_bus_is_closed_during_an_alarm(broker: BrokerUnderTest, queue: str, alarm: Alarm) -> None:
    """Though the broker reads nothing, not even that."""

    async def main() -> None:
        bus = aio.connect(broker.url)
        await bus.__aenter__()
        await bus.publish(message(queue, 0))
        alarm.__enter__()
        with pytest.raises(PublishTimeout):
            await bus.publish(message(queue, 1), timeout=0.5)
        await asyncio.wait_for(bus.close(), 2 * WAIT)

    run(main())
