"""Rules of newer RabbitMQs that break old clients (P30): what is said on the wire with default settings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.client.scripted import ScriptedBroker, ScriptedLink
from tests.client.support import run
from tests.support.waiting import soon

from fedora_messaging import aio
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from fedora_messaging.config import LazyConfig
    from fedora_messaging.wire.methods import Method


def test_p30_default_settings_ask_for_nothing_that_is_refused(settings: LazyConfig) -> None:
    """No transient queue that others could use, no quality of service for a whole channel."""
    asked: list[Method] = []

    def note(_link: ScriptedLink, _channel: int, method: Method) -> bool:
        asked.append(method)
        return False

    async def main() -> None:
        async with ScriptedBroker() as broker, aio.connect(broker.url) as bus:
            broker.on_method = note
            consuming = asyncio.ensure_future(bus.consume(print))
            await soon(lambda: any(isinstance(method, m.BasicConsume) for method in asked))
            consuming.cancel()
            await asyncio.wait([consuming])

    run(main())
    declared = [method for method in asked if isinstance(method, m.QueueDeclare)]
    limits = [method for method in asked if isinstance(method, m.BasicQos)]
    assert declared
    assert limits
    assert all(method.durable or method.exclusive for method in declared)
    assert not any(method.global_ for method in limits)
