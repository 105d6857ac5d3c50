"""A wire between client and broker that misbehaves at a given byte, in the event loop of the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.proxy import DOWN, UP, Direction

if TYPE_CHECKING:
    from types import TracebackType

_HOST: Final = "127.0.0.1"
_PIECE: Final = 65536


class Wire:
    """Forwards connections to a broker; an asynchronous context manager.

    Attributes:
        passed: How many bytes have passed in each direction, for each connection, in order.
        delay: Seconds that whatever is read waits before it goes on.
    """

    def __init__(self, broker_url: str) -> None:
        self._target = urlsplit(broker_url)
        self._limits: dict[Direction, int] = {}
        self._flaws: dict[Direction, int] = {}
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server
        self.passed: list[dict[Direction, int]] = []
        self.delay = 0.0

    @property
    def url(self) -> str:
        """The broker's URL by way of the wire."""
        login = "".join(self._target.netloc.rpartition("@")[:2])
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{login}{_HOST}:{port}"))

    def cut_next(self, direction: Direction, count: int) -> None:
        """End the next connection that is made when so many bytes have passed in a direction."""
        self._limits = {direction: count}

    def corrupt_next(self, direction: Direction, at: int) -> None:
        """Turn all bits of a byte of the next connection that is made."""
        self._flaws = {direction: at}

    def cut(self) -> None:
        """Break all connections."""
        for writers in self._open.values():
            for writer in writers:
                writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, _HOST, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._open)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits, self._limits = self._limits, {}
        flaws, self._flaws = self._flaws, {}
        passed = dict.fromkeys(Direction, 0)
        self.passed.append(passed)
        writers = [writer]
        task = asyncio.create_task(self._forward(reader, writers, limits, flaws, passed))
        self._open[task] = writers
        task.add_done_callback(self._open.pop)

    async def _forward(
        self,
        client: asyncio.StreamReader,
        writers: list[asyncio.StreamWriter],
        limits: dict[Direction, int],
        flaws: dict[Direction, int],
        passed: dict[Direction, int],
    ) -> None:
        broker, to_broker = await asyncio.open_connection(self._target.hostname, self._target.port)
        writers.append(to_broker)
        ways = [(client, to_broker, UP), (broker, writers[0], DOWN)]
        pumps = [asyncio.create_task(self._pump(*way, limits, flaws, passed)) for way in ways]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for writer in writers:
            writer.close()
        await asyncio.gather(*pumps, *(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        limits: dict[Direction, int],
        flaws: dict[Direction, int],
        passed: dict[Direction, int],
    ) -> None:
        limit, flaw = limits.get(direction), flaws.get(direction)
        while passed[direction] != limit:
            data = await reader.read(_PIECE if limit is None else limit - passed[direction])
            if not data:
                return
            if flaw is not None and passed[direction] <= flaw < passed[direction] + len(data):
                spoilt = bytearray(data)
                spoilt[flaw - passed[direction]] ^= 0xFF
                data = bytes(spoilt)
            passed[direction] += len(data)
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(data)
