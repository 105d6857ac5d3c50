"""Connections without sockets, and time that passes when a test waits for it."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from tests.client.scripted import ScriptedBroker, ScriptedLink

from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.options import ConnectionOptions
from fedora_messaging.protocol.states import State
from fedora_messaging.transport.link import Link

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


class TimeSkips(selectors.DefaultSelector):
    """Lets the time pass that an event loop would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "the loop waits for nothing"
        self.now += timeout
        return super().select(0)


def event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop that never waits; it must have no threads and no sockets to wait for."""
    skips = TimeSkips()
    loop = asyncio.SelectorEventLoop(skips)
    loop.time = lambda: skips.now  # type: ignore[method-assign]
    return loop


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in such a loop."""
    with asyncio.Runner(loop_factory=event_loop) as runner:
        return runner.run(main)


def now() -> float:
    """The time of the running loop, in seconds since it was made."""
    return round(asyncio.get_running_loop().time(), 3)


class MemoryTransport(asyncio.Transport):
    """One end of a wire; the other end gets what is written here in the next turn of the loop."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.other: MemoryTransport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._is_closing = False
        self._is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing:
            self._loop.call_soon(self.other._take, bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._end)
            self._loop.call_soon(self.other.close)

    def abort(self) -> None:
        self.close()

    def _take(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)

    def _end(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._protocol.connection_lost(None)


async def connected(broker: ScriptedBroker, options: ConnectionOptions | None = None) -> Connection:
    """Return an open connection to a broker that need not listen; the broker's last link is its other end."""
    loop = asyncio.get_running_loop()
    connection = Connection(options or ConnectionOptions(), loop)
    link, peer = Link(connection.machine, connection, loop), ScriptedLink(broker)
    here, there = MemoryTransport(link), MemoryTransport(peer)
    here.other, there.other = there, here
    peer.connection_made(there)
    link.connection_made(here)
    while connection.machine.state is not State.OPEN:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    return connection
