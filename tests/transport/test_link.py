"""P33: links between sockets and machines, on each event loop implementation."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING

import pytest
import uvloop

from fedora_messaging import aio
from fedora_messaging.broker import AsyncBroker
from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.exceptions import ConfigurationException, ConnectionException
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from fedora_messaging.transport.link import Link

    Run = Callable[[Coroutine[Any, Any, None]], None]

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in a loop of either implementation."""

    def run_in_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 30))

    return run_in_loop


def test_p33_client_and_broker(run: Run) -> None:
    async def main() -> None:
        async with AsyncBroker() as broker, aio.connect(broker.amqp_url) as bus:
            async with bus.subscribe("loops.#") as subscription:
                # Big enough for sockets to be full, and to be paused.
                for number in range(20):
                    await bus.publish(Message(topic="loops.x", body={"number": number, "pad": "x" * 500_000}))
                async for delivery in subscription:
                    if delivery.message.body["number"] == 19:
                        break

    run(main())


class Faulty(Connection):
    """A client with a mistake of ours in it."""

    def on_connected(self, link: Link) -> None:
        super().on_connected(link)
        raise ZeroDivisionError("a fault\x1b[31m")


def test_p33_fault_while_connecting_is_told_as_ours(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The broker is there, and an exception of our own code must not look as if it were not."""

    async def main() -> None:
        async with AsyncBroker() as broker:
            with pytest.raises(ConnectionException) as caught:
                await Faulty.open(ConnectionOptions(port=broker.port))
            text = str(caught.value.reason)
            assert "a fault in fedora-messaging ended the connection" in text
            assert r"ZeroDivisionError: a fault\x1b[31m" in text
            assert "broker running" not in text

    run(main())
    faults = [record for record in caplog.records if "a fault in fedora-messaging" in record.message]
    assert len(faults) == 1
    assert faults[0].exc_info is not None


@pytest.mark.parametrize(
    "value", [date(2026, 1, 1), object(), {1: 2}], ids=["date", "object", "number as key"]
)
def test_client_properties_that_cannot_be_sent(value: object, caplog: pytest.LogCaptureFixture) -> None:
    """TOML has dates, for one, and AMQP does not."""

    async def main() -> None:
        options = ConnectionOptions(client_properties={"when": value})
        with pytest.raises(ConfigurationException, match="client_properties"):
            await Connection.open(options)

    asyncio.run(main())
    assert not caplog.records
