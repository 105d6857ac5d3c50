"""Timers of queues do not depend on each other."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.unit.broker.core.support import new_vhost

from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.timers import Timers

if TYPE_CHECKING:
    import pytest


class BadQueue(Queue):
    """One that fails when its time has come."""

    def on_time(self, when: float) -> None:
        raise RuntimeError("a fault")


def test_queue_that_fails_does_not_stop_the_timers_of_others(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        called = asyncio.Event()
        vhost = new_vhost()

        class GoodQueue(Queue):
            def on_time(self, when: float) -> None:
                called.set()

        timers = Timers(asyncio.get_running_loop(), time.time)
        timers.schedule(BadQueue(vhost, "bad"), 0.0)
        timers.schedule(GoodQueue(vhost, "good"), 0.0)
        await asyncio.wait_for(called.wait(), 30)
        called.clear()
        timers.schedule(GoodQueue(vhost, "later"), 0.0)
        await asyncio.wait_for(called.wait(), 30)
        timers.stop()

    asyncio.run(main())
    assert "at a time of queue bad" in caplog.text
