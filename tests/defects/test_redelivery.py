"""What a callback refuses for ever does not come back at the broker's speed for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pika
import pytest
from tests.client.support import Consuming, message, plan
from tests.support.waiting import eventually

from fedora_messaging import api
from fedora_messaging.exceptions import Nack

if TYPE_CHECKING:
    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging import config
    from fedora_messaging.message import Message


def ready(admin: Admin, queue: str) -> int:
    """How many messages wait in a queue, which may not be declared yet."""
    try:
        return admin.ready(queue)
    except pika.exceptions.ChannelClosedByBroker:
        return 0


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_nack_is_delayed_and_limited(
    broker: Broker,
    admin: Admin,
    names: Names,
    service: None,
    settings: config.LazyConfig,
    kind: str,
) -> None:
    """P07: with the setting it comes a few times, with pauses, and is kept; others go on meanwhile."""
    queue, dead = names(), names("dead")
    settings["consumer"] = {
        "retry": {"attempts": 4, "delay": 0.2, "max_delay": 0.4},
        "dead_letter": {"queue": dead},
    }
    times: list[float] = []
    others: list[int] = []

    def callback(received: Message) -> None:
        if received.body["number"] == 0:
            times.append(time.monotonic())
            raise Nack
        others.append(received.body["number"])

    async def coroutine(received: Message) -> None:
        callback(received)

    admin.declare(queue)
    with Consuming(callback if kind == "function" else coroutine, **plan(queue)) as run:
        api.publish(message(queue, 0, canary="kept"))
        eventually(lambda: times)
        api.publish(message(queue, 1))
        eventually(lambda: others)
        assert len(times) < 4
        eventually(lambda: len(times) == 4)
        eventually(lambda: ready(admin, dead) == 1)
        assert run.is_alive
    assert (len(times), others) == (4, [1])
    # A delay is drawn at random, yet all of them together are no busy loop.
    assert times[-1] - times[0] > 0.05
    assert admin.ready(queue) == 0
    assert admin.take(dead) == [b'{"number": 0, "canary": "kept"}']
