"""A line between a client and a broker that carries few bytes a second."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Pieces a second in which bytes are passed on, so that they flow and do not come in bursts.
_PIECES: Final = 20
#: Bytes that the kernel keeps for each end: few, so that they wait with the sender, as on a slow line.
_BUFFER: Final = 8192


class SlowLine:
    """Forwards connections in the event loop of the test, as an async context manager.

    Args:
        target: AMQP URL of the broker.
        rate: Bytes a second, each way.
    """

    def __init__(self, target: str, rate: int) -> None:
        self._target = urlsplit(target)
        self._rate = rate
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._moving = asyncio.Event()
        self._moving.set()
        self.connections = 0

    def halt(self) -> None:
        """Pass nothing on."""
        self._moving.clear()

    def go_on(self) -> None:
        """Pass bytes on again."""
        self._moving.set()

    @property
    def port(self) -> int:
        """Where clients connect."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=_BUFFER)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there = socket.socket()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        there.setblocking(False)
        address = (self._target.hostname or "127.0.0.1", self._target.port or 5672)
        await asyncio.get_running_loop().sock_connect(there, address)
        other_reader, other_writer = await asyncio.open_connection(sock=there, limit=_BUFFER)
        self._start([(reader, other_writer), (other_reader, writer)])

    def _start(self, ways: Iterable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        for reader, writer in ways:
            task = asyncio.create_task(self._forward(reader, writer))
            self._tasks.add(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while piece := await reader.read(self._rate // _PIECES):
                    await self._moving.wait()
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(len(piece) / self._rate)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
