"""The network between Erlang nodes on this machine, which can be made to fail; needs no privilege.

An Erlang node that wants to reach another one asks a port mapper (epmd) for the other's port. Here each node
has a port mapper of its own. For any other member of the cluster, it answers with the port of a relay, which
forwards links from the one node to the other until it is told not to.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import socket
import struct
import threading
from random import SystemRandom
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from tests.support.loops import call_in, run_in_own_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")

_HOST: Final = "127.0.0.1"
_PATIENCE: Final = 15.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)

# The protocol of the port mapper is in the section "Distribution Protocol" of Erlang's documentation.
_LENGTH: Final = struct.Struct(">H")
_ALIVE2_REQ: Final = 120
_ALIVE2: Final = struct.Struct(">BHBBHHH")
_ALIVE2_RESP: Final = struct.Struct(">BBH")
_ALIVE2_X_RESP: Final = struct.Struct(">BBL")
_PORT_PLEASE2_REQ: Final = 122
_PORT2_RESP: Final = 119
_NAMES_REQ: Final = 110
#: Nodes that know this version of the handshake take an incarnation number (creation) of four bytes.
_WIDE_CREATION: Final = 6


class _End(asyncio.Protocol):
    """One of the two sockets of a link."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self.other: _End
        self.transport: asyncio.Transport | None = None
        self.is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._link.is_over:
            self.transport.abort()
        self._link.update_reading()

    def data_received(self, data: bytes) -> None:
        if self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.is_full = True
        self._link.update_reading()

    def resume_writing(self) -> None:
        self.is_full = False
        self._link.update_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._link.close()


class _Link:
    """A connection from one node to a relay, and the one from there to the other node."""

    def __init__(self, *, is_stalled: bool) -> None:
        self.ends = (_End(self), _End(self))
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]
        self.is_stalled = is_stalled
        self.is_over = False

    @property
    def is_gone(self) -> bool:
        return self.is_over and all(end.transport is None for end in self.ends)

    def update_reading(self) -> None:
        """Read from both ends once both are there, while the other end takes it, unless it is stalled."""
        is_open = not self.is_stalled and all(end.transport is not None for end in self.ends)
        for end in self.ends:
            if end.transport is not None and not end.transport.is_closing():
                if is_open and not end.other.is_full:
                    end.transport.resume_reading()
                else:
                    end.transport.pause_reading()

    def close(self) -> None:
        """End both connections in good order."""
        self.is_over = True
        for end in self.ends:
            if end.transport is not None:
                end.transport.close()

    def reset(self) -> None:
        """End both connections as a broken network does."""
        self.is_over = True
        for end in self.ends:
            if end.transport is not None:
                end.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                )
                end.transport.abort()


class _Relay:
    """Takes the links that one node makes to another one."""

    def __init__(self, port_of_target: Callable[[], int | None]) -> None:
        self._port_of_target = port_of_target
        self._links: set[_Link] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._refuses = False
        self._stalls = False

    def accept(self) -> asyncio.Protocol:
        """Begin a link."""
        self._links = {link for link in self._links if not link.is_gone}
        link = _Link(is_stalled=self._stalls)
        self._links.add(link)
        task = asyncio.get_running_loop().create_task(self._dial(link))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return link.ends[0]

    async def _dial(self, link: _Link) -> None:
        port = self._port_of_target()
        if port is None or self._refuses:
            link.reset()
            return
        try:
            await asyncio.get_running_loop().create_connection(lambda: link.ends[1], _HOST, port)
        except OSError:
            link.reset()

    def cut(self) -> None:
        """Break the links, and all that are made before :meth:`mend`; both nodes notice at once."""
        self._refuses = True
        for link in self._links:
            link.reset()

    def stall(self) -> None:
        """Forward nothing before :meth:`mend`; no node is told."""
        self._stalls = True
        for link in self._links:
            link.is_stalled = True
            link.update_reading()

    def mend(self) -> None:
        """Forward everything, beginning with what was held back."""
        self._refuses = self._stalls = False
        for link in self._links:
            link.is_stalled = False
            link.update_reading()

    async def close(self) -> None:
        """End everything."""
        tasks = list(self._dialling)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in self._links:
            link.reset()


class _Registration:
    """Compared by identity: a node keeps its port when it is started again."""

    def __init__(self, port: int) -> None:
        self.port = port


class ErlangNetwork:
    """Port mappers and links for some nodes; a context manager.

    All methods may be called from any thread and have had their effect when they return.

    Attributes:
        ports: Where the port mapper of each node listens, by the part of the node's name before the @.
    """

    def __init__(self, names: Sequence[str], free_ports: Callable[[int], Sequence[int]]) -> None:
        """Choose the ports.

        Args:
            names: The parts before the @ of the names of the nodes.
            free_ports: Gives ports that nobody uses.
        """
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        pairs = list(itertools.permutations(names, 2))
        self._relay_ports = dict(zip(pairs, free_ports(len(pairs)), strict=True))
        self._relays = {(source, target): _Relay(self._finder(target)) for source, target in pairs}
        # The nodes that run, and each rabbitmqctl while it runs.
        self._registered: dict[str, _Registration] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: run_in_own_loop(self._main()), name="erlang", daemon=True
        )

    def _finder(self, name: str) -> Callable[[], int | None]:
        return lambda: self._port_of(name)

    def _port_of(self, name: str) -> int | None:
        """Where a node itself listens, if it runs."""
        found = self._registered.get(name)
        return None if found is None else found.port

    def isolate(self, name: str, *, silently: bool = False) -> None:
        """Separate a node from all others.

        Args:
            name: Which one.
            silently: Keep all connections and forward nothing, as when a cable is pulled. Otherwise break
                the connections too: then all nodes notice at once.
        """

        def separate() -> None:
            for pair, relay in self._relays.items():
                if name in pair:
                    relay.stall() if silently else relay.cut()

        self._call(separate)

    def heal(self) -> None:
        """Let all nodes reach each other."""

        def mend() -> None:
            for relay in self._relays.values():
                relay.mend()

        self._call(mend)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(_PATIENCE)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        servers: list[asyncio.Server] = []
        try:
            for name, port in self.ports.items():
                servers.append(await self._loop.create_server(self._mapper(name), _HOST, port))
            for pair, port in self._relay_ports.items():
                servers.append(await self._loop.create_server(self._relays[pair].accept, _HOST, port))
        except OSError as error:
            self._started.set_exception(error)
        else:
            self._started.set_result(None)
            await self._stop.wait()
        for server in servers:
            server.close()
        for relay in self._relays.values():
            await relay.close()
        for task in (asking := list(self._asking)):
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _mapper(self, viewer: str) -> Callable[[], asyncio.Protocol]:
        """Make the port mapper of one node."""

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # A task of our own, so that it can be ended.
            task = self._loop.create_task(self._answer(viewer, reader, writer))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

        def make() -> asyncio.Protocol:
            return asyncio.StreamReaderProtocol(asyncio.StreamReader(), begin)

        return make

    async def _answer(self, viewer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request to the port mapper of a node."""
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            request = await reader.readexactly(length)
            if request[0] == _ALIVE2_REQ:
                await self._register(request, reader, writer)
            elif request[0] == _PORT_PLEASE2_REQ:
                writer.write(self._port_please(viewer, request[1:].decode()))
            elif request[0] == _NAMES_REQ:
                writer.write(self._names(viewer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went away, or was killed
        finally:
            writer.close()

    async def _register(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Remember a node for as long as it keeps the connection."""
        _, port, _kind, _protocol, highest, _lowest, size = _ALIVE2.unpack_from(request)
        name = request[_ALIVE2.size : _ALIVE2.size + size].decode()
        # Distinguishes a node from an earlier one of its name.
        creation = SystemRandom().randrange(4, 2**16)
        if highest >= _WIDE_CREATION:
            writer.write(_ALIVE2_X_RESP.pack(118, 0, creation))
        else:
            writer.write(_ALIVE2_RESP.pack(121, 0, creation))
        self._registered[name] = registration = _Registration(port)
        try:
            await reader.read()
        finally:
            # A node that was killed and started again may have registered before its first end is noticed.
            if self._registered.get(name) is registration:
                del self._registered[name]

    def _port_please(self, viewer: str, name: str) -> bytes:
        port = self._port_of(name)
        if port is None:
            return bytes((_PORT2_RESP, 1))
        port = self._relay_ports.get((viewer, name), port)
        encoded = name.encode()
        # A visible node (77) over TCP (0); the versions of the handshake that epmd itself tells.
        head = struct.pack(">BBHBBHHH", _PORT2_RESP, 0, port, 77, 0, 6, 5, len(encoded))
        return head + encoded + struct.pack(">H", 0)

    def _names(self, viewer: str) -> bytes:
        lines = "".join(f"name {name} at port {one.port}\n" for name, one in self._registered.items())
        return struct.pack(">L", self.ports[viewer]) + lines.encode()

    def _call(self, call: Callable[[], Result]) -> Result:
        return call_in(self._loop, call, _PATIENCE)
