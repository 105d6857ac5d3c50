"""A TCP proxy in front of a broker that behaves like a bad network, and notes what AMQP methods pass."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from enum import Enum
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from tests.support.loops import call_in, run_in_own_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Result = TypeVar("Result")

_HOST: Final = "127.0.0.1"
# Below the ephemeral ports: a client that dials such a port of its own host while nobody listens there can be
# given it as its source too, and so connect to itself (see rabbitmq.py).
_PORTS: Final = range(20_000, 32_000)
_PATIENCE: Final = 15.0
_PROTOCOL_HEADER_SIZE: Final = 8
_FRAME_HEAD: Final = struct.Struct(">BHI")
_METHOD_FRAME: Final = 1
_NO_LINGER: Final = struct.pack("ii", 1, 0)

#: Class and method ids of what tests look for.
START_OK: Final = (10, 11)
OPEN_OK: Final = (10, 41)
CHANNEL_OPEN: Final = (20, 10)
QUEUE_DECLARE: Final = (50, 10)
BASIC_CONSUME: Final = (60, 20)
BASIC_PUBLISH: Final = (60, 40)
BASIC_DELIVER: Final = (60, 60)
BASIC_ACK: Final = (60, 80)
BASIC_NACK: Final = (60, 120)
CONFIRM_SELECT: Final = (85, 10)

Method = tuple[int, int]


class Direction(Enum):
    """Which way bytes go."""

    UP = "client to broker"
    DOWN = "broker to client"


UP: Final = Direction.UP
DOWN: Final = Direction.DOWN


class _Tap:
    """Reads the methods out of a stream of frames."""

    def __init__(self, skip: int) -> None:
        self._buffer = bytearray()
        self._skip = skip

    @property
    def is_between_frames(self) -> bool:
        """Whether all that came so far are whole frames."""
        return not self._buffer and not self._skip

    def feed(self, data: bytes) -> list[tuple[int, Method]]:
        """Take bytes; return the channel and ids of each method that is complete."""
        self._buffer += data
        found: list[tuple[int, Method]] = []
        while len(self._buffer) >= self._skip:
            del self._buffer[: self._skip]
            self._skip = 0
            if len(self._buffer) < _FRAME_HEAD.size:
                break
            kind, channel, size = _FRAME_HEAD.unpack_from(self._buffer)
            self._skip = _FRAME_HEAD.size + size + 1
            if len(self._buffer) >= self._skip and kind == _METHOD_FRAME:
                found.append((channel, struct.unpack_from(">HH", self._buffer, _FRAME_HEAD.size)))
        return found


class _Swallower:
    """Takes deliveries out of a stream of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        # Bytes of the body that are still to come, and whose body it is; None before its header.
        self._left: dict[int, int | None] = {}

    def feed(self, data: bytes, budget: list[int]) -> bytes:
        """Take bytes; return those of complete frames without as many deliveries as there is a budget for."""
        self._buffer += data
        passed = bytearray()
        while len(self._buffer) >= _FRAME_HEAD.size:
            kind, channel, size = _FRAME_HEAD.unpack_from(self._buffer)
            end = _FRAME_HEAD.size + size + 1
            if len(self._buffer) < end:
                break
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            if not self._swallows(kind, channel, frame, budget):
                passed += frame
        return bytes(passed)

    def _swallows(self, kind: int, channel: int, frame: bytes, budget: list[int]) -> bool:
        if kind == _METHOD_FRAME:
            if struct.unpack_from(">HH", frame, _FRAME_HEAD.size) != BASIC_DELIVER or not budget[0]:
                return False
            budget[0] -= 1
            self._left[channel] = None
            return True
        if channel not in self._left:
            return False
        left = self._left[channel]
        if left is None:
            (left,) = struct.unpack_from(">Q", frame, _FRAME_HEAD.size + 4)
        else:
            left -= len(frame) - _FRAME_HEAD.size - 1
        self._left[channel] = left
        if not left:
            del self._left[channel]
        return True


class _End(asyncio.Protocol):
    """One of the two sockets of a connection."""

    def __init__(self, pair: _Pair, direction: Direction) -> None:
        self._pair = pair
        self.direction = direction
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._pair.is_over:
            self.transport.abort()
        self._pair.update_reading()

    def data_received(self, data: bytes) -> None:
        self._pair.forward(self.direction, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pair.end_lost()


class _Pair:
    """A connection of a client and the one to the broker that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.ends = {direction: _End(self, direction) for direction in Direction}
        self.stalled: set[Direction] = set()
        self.budget: dict[Direction, int] = {}
        self.is_over = False
        self.gone = asyncio.Event()
        self._taps = {UP: _Tap(_PROTOCOL_HEADER_SIZE), DOWN: _Tap(0)}
        self._is_open = False
        self._to_inject = {UP: b"", DOWN: b""}
        self._swallower = _Swallower()

    def forward(self, direction: Direction, data: bytes) -> None:
        transport = self.ends[DOWN if direction is UP else UP].transport
        if transport is None:
            return
        if direction is DOWN:
            data = self._swallower.feed(data, self._proxy.to_swallow)
        budget = self.budget.get(direction)
        if budget is not None:
            data = data[:budget]
            self.budget[direction] = budget - len(data)
        methods = self._taps[direction].feed(data)
        self._is_open = self._is_open or any(method == OPEN_OK for _, method in methods)
        self._proxy.note(direction, methods)
        if data:
            transport.write(data)
        self._inject(direction)
        if self.budget.get(direction) == 0:
            self.close()

    def inject(self, direction: Direction, data: bytes) -> None:
        """Add bytes as soon as a frame ends, unless the connection is still being opened."""
        if self._is_open:
            self._to_inject[direction] += data
            self._inject(direction)

    def _inject(self, direction: Direction) -> None:
        transport = self.ends[DOWN if direction is UP else UP].transport
        data = self._to_inject[direction]
        if data and transport is not None and self._taps[direction].is_between_frames:
            self._to_inject[direction] = b""
            transport.write(data)

    def update_reading(self) -> None:
        """Read from both ends once both are there, unless a direction is stalled."""
        complete = all(end.transport is not None for end in self.ends.values())
        for end in self.ends.values():
            if end.transport is not None and not end.transport.is_closing():
                if complete and end.direction not in self.stalled:
                    end.transport.resume_reading()
                else:
                    end.transport.pause_reading()

    def close(self) -> None:
        """End both connections in good order; what was forwarded still arrives."""
        self.is_over = True
        for end in self.ends.values():
            if end.transport is not None:
                end.transport.close()

    def end_lost(self) -> None:
        """One of the two connections has ended."""
        self.close()
        if all(end.transport is None for end in self.ends.values()):
            self.gone.set()

    def reset(self) -> None:
        """End both connections as a broken network does."""
        self.is_over = True
        for end in self.ends.values():
            if end.transport is not None:
                end.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                )
                end.transport.abort()


class Proxy:
    """Forwards connections to a broker until it is told to misbehave; a context manager.

    The misbehaviour lasts until :meth:`resume`; all methods may be called from any thread and have had their
    effect when they return.

    Attributes:
        sent: Channel, class id and method id of every method a client sent, over all connections.
        received: Likewise what the broker sent.
        accepted: How many connections were accepted so far.
        to_swallow: In its only element, how many deliveries are still to be withheld.
    """

    def __init__(self, broker_url: str) -> None:
        self._target = urlsplit(broker_url)
        self.sent: list[tuple[int, Method]] = []
        self.received: list[tuple[int, Method]] = []
        self.accepted = 0
        self.port = 0
        self._pairs: set[_Pair] = set()
        self._stall_new = False
        self._stall_at: tuple[Method, set[Direction]] | None = None
        self._next_budget: dict[Direction, int] = {}
        self.to_swallow = [0]
        self._loop: asyncio.AbstractEventLoop
        self._listener: asyncio.Server | None = None
        self._dialling: set[asyncio.Task[Any]] = set()
        self._started = threading.Event()
        self._stop: asyncio.Event
        self._thread = threading.Thread(
            target=lambda: run_in_own_loop(self._main()), name="proxy", daemon=True
        )

    def url(self, **parameters: object) -> str:
        """The broker's URL by way of the proxy, with parameters added, as in heartbeat=1."""
        login = self._target.netloc.rpartition("@")[:2]
        query = "&".join(part for part in (self._target.query, urlencode(parameters)) if part)
        netloc = f"{''.join(login)}{_HOST}:{self.port}"
        return urlunsplit((self._target.scheme, netloc, self._target.path, query, ""))

    def count(self, method: Method, direction: Direction = UP) -> int:
        """How many methods of a kind have passed."""
        return [ids for _, ids in self._passed(direction)].count(method)

    def channels(self, method: Method, direction: Direction = UP) -> list[int]:
        """Channel numbers of the methods of a kind that have passed."""
        return [channel for channel, ids in self._passed(direction) if ids == method]

    @property
    def connections(self) -> int:
        """How many connections are open, stalled ones included."""
        return self._call(lambda: sum(not pair.is_over for pair in self._pairs))

    def cut(self) -> None:
        """Break all connections."""

        def reset() -> None:
            for pair in list(self._pairs):
                pair.reset()

        self._call(reset)

    def cut_after(self, count: int, direction: Direction, *, new: bool = False) -> None:
        """End each open connection when this many bytes more have passed in a direction.

        Args:
            count: How many.
            direction: Which way.
            new: Leave open connections alone, and do so to the next one that is made.
        """

        def limit() -> None:
            if new:
                self._next_budget = {direction: count}
                return
            for pair in list(self._pairs):
                if count:
                    pair.budget[direction] = count
                else:
                    pair.close()

        self._call(limit)

    def stall(self, *directions: Direction, new: bool = False) -> None:
        """Stop forwarding on open connections, in both directions by default; no socket is closed.

        Args:
            *directions: Which ways to stop.
            new: Stall connections made later too.
        """

        def stop() -> None:
            self._stall_new = new
            for pair in self._pairs:
                pair.stalled = set(directions or Direction)
                pair.update_reading()

        self._call(stop)

    def stall_at(self, method: Method, *directions: Direction) -> None:
        """Stall, once, as soon as a client has sent a method, which the broker still gets.

        Args:
            method: Class and method id.
            *directions: Which ways to stop, both by default.
        """

        def watch() -> None:
            self._stall_at = (method, set(directions or Direction))

        self._call(watch)

    def swallow(self, deliveries: int) -> None:
        """Withhold the next deliveries, which the broker believes to have arrived."""

        def begin() -> None:
            self.to_swallow[0] = deliveries

        self._call(begin)

    def resume(self) -> None:
        """Behave again: forward what was held back, and listen."""
        self._await(self._resume())

    def refuse(self) -> None:
        """Refuse new connections."""

        def close() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None

        self._call(close)

    def inject(self, data: bytes, direction: Direction) -> None:
        """Add frames of our own to every open connection, as if the one end had sent them."""

        def inject() -> None:
            for pair in list(self._pairs):
                pair.inject(direction, data)

        self._call(inject)

    def note(self, direction: Direction, methods: list[tuple[int, Method]]) -> None:
        """Keep what passed; called by the connections."""
        self._passed(direction).extend(methods)
        if direction is UP and self._stall_at is not None:
            awaited, directions = self._stall_at
            if any(method == awaited for _, method in methods):
                self._stall_at = None
                for pair in self._pairs:
                    pair.stalled = set(directions)
                    pair.update_reading()

    def _passed(self, direction: Direction) -> list[tuple[int, Method]]:
        return self.sent if direction is UP else self.received

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_PATIENCE), "the proxy did not start"
        self._await(self._listen_somewhere())
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the proxy did not stop"

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()
        if self._listener is not None:
            self._listener.close()
        for task in self._dialling:
            task.cancel()
        for pair in list(self._pairs):
            pair.reset()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        for pair in self._pairs:
            await pair.gone.wait()

    async def _listen_somewhere(self) -> None:
        for port in SystemRandom().sample(_PORTS, len(_PORTS)):
            try:
                await self._listen(port)
            except OSError:
                continue
            return
        raise OSError(f"no free port on {_HOST} between {_PORTS.start} and {_PORTS.stop}")

    async def _listen(self, port: int) -> None:
        self._listener = await self._loop.create_server(self._accept, _HOST, port)
        self.port = port

    def _accept(self) -> asyncio.Protocol:
        self.accepted += 1
        # Those that are over are forgotten here, so that a long test does not gather them.
        self._pairs = {pair for pair in self._pairs if not pair.gone.is_set()}
        pair = _Pair(self)
        if self._stall_new:
            pair.stalled = set(Direction)
        pair.budget, self._next_budget = self._next_budget, {}
        self._pairs.add(pair)
        task = self._loop.create_task(self._dial(pair))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return pair.ends[UP]

    async def _dial(self, pair: _Pair) -> None:
        host, port = self._target.hostname or "localhost", self._target.port or 5672
        try:
            await self._loop.create_connection(lambda: pair.ends[DOWN], host, port)
        except OSError:
            pair.reset()

    async def _resume(self) -> None:
        self._stall_new = False
        for pair in self._pairs:
            pair.stalled.clear()
            pair.update_reading()
        if self._listener is None:
            await self._listen(self.port)

    def _call(self, call: Callable[[], Result]) -> Result:
        return call_in(self._loop, call, _PATIENCE)

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)
