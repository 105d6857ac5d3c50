"""Messages made to be checked for ever: heartbeats flow meanwhile, and the next one is processed (P21)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.client.support import AioConsuming, Consuming, message, numbers, plan
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api
from fedora_messaging import message as messages
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy

    from fedora_messaging.config import LazyConfig


class Careless(Message):
    """Of a schema package whose author thought of no stranger."""

    body_schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^([a-z]+)+$"},
            "list": {"type": "array", "uniqueItems": True},
        },
    }


WORST = {
    "pattern": {"name": "a" * 60 + "!"},
    # Some megabytes, which jsonschema would compare with each other.
    "uniqueItems": {
        "list": [*({"n": n, "text": "x" * 20} for n in range(40_000)), {"n": 0, "text": "x" * 20}]
    },
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    messages.get_class("base.message")
    monkeypatch.setitem(messages._schema_name_to_class, "careless", Careless)
    monkeypatch.setitem(messages._class_to_schema_name, Careless, "careless")
    yield


@pytest.mark.parametrize("worst", WORST)
@pytest.mark.parametrize(
    "kind", ["api function", "api coroutine", "api policy", "api ordering", "aio coroutine"]
)
def test_p21_heartbeats_flow_during_the_worst_case(
    broker: Broker, proxy: Proxy, admin: Admin, queue: str, settings: LazyConfig, kind: str, worst: str
) -> None:
    settings["amqp_url"] = proxy.url(heartbeat=1)
    settings["consumer"] = {
        "api policy": {"concurrency": 2},
        "api ordering": {"concurrency": 2, "ordering_key": "topic"},
    }.get(kind, {})
    received: list[Message] = []

    async def coroutine(one: Message) -> None:
        received.append(one)

    def function(one: Message) -> None:
        received.append(one)

    callback: Any = coroutine if kind.endswith("coroutine") else function
    admin.publish(
        queue,
        json.dumps(WORST[worst]).encode(),
        pika.BasicProperties(headers={"fedora_messaging_schema": "careless"}),
    )
    admin.publish(queue, message(queue, 7)._encoded_body)
    face = AioConsuming if kind.startswith("aio") else None
    consuming = (
        Consuming(callback, **plan(queue))
        if face is None
        else face(proxy.url(heartbeat=1), callback, **plan(queue))
    )
    try:
        with consuming:
            eventually(lambda: received, 4 * WAIT)
            assert numbers(received) == [7]
    finally:
        api.close()
    # A connection whose heartbeats do not leave is closed by the broker after two seconds.
    assert proxy.accepted == 1
    assert admin.ready(queue) == 0
