"""Callbacks that do not end: consuming does, in time, and their messages go back."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import AioConsuming, Consuming, message, plan
from tests.support.waiting import WAIT, eventually

from fedora_messaging import api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message


class Hanging:
    """A callback that hangs, in each form."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.cancelled = threading.Event()

    def function(self, _message: Message) -> None:
        self.begun.set()
        self.release.wait(2 * WAIT)

    async def coroutine(self, _message: Message) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.release.set()


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("kind", ["function", "coroutine"])
@pytest.mark.parametrize("policy", [False, True])
def test_closing_gives_up_what_hangs(
    admin: Admin, queue: str, settings: LazyConfig, kind: str, policy: bool, hanging: Hanging
) -> None:
    settings["consumer"] = {"stop_timeout": 0.2, **({"concurrency": 2} if policy else {})}
    callback: Callable[[Message], Any] = getattr(hanging, kind)
    admin.publish(queue, message(queue)._encoded_body)
    with Consuming(callback, **plan(queue)) as consuming:
        assert hanging.begun.wait(WAIT)
        api.close()
        consuming.ended()
    eventually(lambda: admin.ready(queue) == 1)
    if kind == "coroutine":
        assert hanging.cancelled.wait(WAIT)
    hanging.release.set()


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_closing_a_bus_gives_up_what_hangs(
    broker: Broker, admin: Admin, queue: str, settings: LazyConfig, kind: str, hanging: Hanging
) -> None:
    settings["consumer"] = {"stop_timeout": 0.2}
    admin.publish(queue, message(queue)._encoded_body)
    with AioConsuming(broker.url, getattr(hanging, kind), **plan(queue)) as consuming:
        assert hanging.begun.wait(WAIT)
        consuming.stop()
        consuming.ended()
    eventually(lambda: admin.ready(queue) == 1)
