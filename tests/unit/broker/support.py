"""A connection to a broker in memory: the broker's own server, session and link, and no socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.protocol.machines import body, cut, frame, header

from fedora_messaging.broker.chores import Chores
from fedora_messaging.broker.core.journal import Journal, NoJournal
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.server import Server
from fedora_messaging.broker.session import PATIENCE, Session
from fedora_messaging.broker.timers import Timers
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.transport.link import Link
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.broker.channel import BrokerChannel
    from fedora_messaging.wire.methods import Method


class Told(NamedTuple):
    """One method that the broker sent, with its content if it has one."""

    channel: int
    method: Method
    properties: bytes = b""
    body: bytes = b""


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.written = b""
        self.reads = True
        self._link = link
        self._closing = False

    def write(self, data: Any) -> None:
        """Keep the bytes."""
        self.written += data

    def is_closing(self) -> bool:
        """Whether the broker has closed the connection."""
        return self._closing

    def close(self) -> None:
        """End the connection."""
        if not self._closing:
            self._closing = True
            self._link.connection_lost(None)

    def abort(self) -> None:
        """End the connection."""
        self.close()

    def pause_reading(self) -> None:
        """Note that the broker reads no more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Note that the broker reads again."""
        self.reads = True

    def get_write_buffer_size(self) -> int:
        """Return 0: the client takes everything at once."""
        return 0


class SlowJournal(NoJournal):
    """A journal that is done only when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def message_added(self, queue: Any, entry: Any) -> None:
        """Count the place, as a journal does that stores messages."""
        entry.message.placements += 1

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Keep the callback."""
        self.waiting.append(callback)

    def catch_up(self) -> None:
        """Call all callbacks."""
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


class MemoryServer(Server):
    """A server that has begun, but listens nowhere."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, journal: Journal | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.loop = loop
        self._timers = Timers(loop, self.clock)
        self._chores = Chores(loop)
        journal = journal or NoJournal()
        self.vhosts["/"] = VirtualHost(
            "/",
            self.clock,
            journal,
            self._timers.schedule,
            self.memory,
            self.work_off,
            profile=self.profile,
        )


class Client:
    """A connection to a server in memory.

    Attributes:
        pipe: The transport that the broker writes to.
        session: The broker's end.
    """

    def __init__(self, server: MemoryServer, frame_max: int = 131072, **properties: Any) -> None:
        self._loop = server.loop
        machine = ServerMachine(now=self._loop.time(), limits=server.limits)
        self.session = Session(server, machine)
        self._link = Link(machine, self.session, self._loop, PATIENCE)
        self.pipe = Pipe(self._link)
        self._properties = properties
        self._frame_max = frame_max
        self._link.connection_made(self.pipe)

    def feed(self, data: bytes) -> list[Told]:
        """Send bytes; returns what the broker says then."""
        self._link.data_received(data)
        return self.told()

    def told(self) -> list[Told]:
        """Return what the broker has said since the last call."""
        for _ in range(4):  # what the broker does soon may do something else soon
            self._loop.run_until_complete(asyncio.sleep(0))
        written, self.pipe.written = self.pipe.written, b""
        told: list[Told] = []
        for kind, channel, method, payload in cut(written):
            if method is not None:
                told.append(Told(channel, method))
            elif kind == f.HEADER:
                told[-1] = told[-1]._replace(properties=payload[12:])
            elif kind == f.BODY:
                told[-1] = told[-1]._replace(body=told[-1].body + payload)
        return told

    def send(self, *methods: Method, channel: int = 1) -> list[Told]:
        """Send methods together; returns what the broker says then."""
        return self.feed(b"".join(frame(channel, method) for method in methods))

    def ask(self, method: Method) -> Method:
        """Send a method on channel 1; returns the only answer."""
        (told,) = self.send(method)
        return told.method

    def login(self, user: str = "guest", password: str = "guest") -> Self:
        """Log in, open the virtual host and channel 1."""
        response = f"\0{user}\0{password}".encode()
        self.feed(f.PROTOCOL_HEADER)
        self.send(m.ConnectionStartOk(self._properties, "PLAIN", response, "en_US"), channel=0)
        self.send(m.ConnectionTuneOk(2047, self._frame_max, 0), m.ConnectionOpen("/"), channel=0)
        (opened,) = self.send(m.ChannelOpen())
        assert isinstance(opened.method, m.ChannelOpenOk)
        return self

    @property
    def channel(self) -> BrokerChannel:
        """The broker's end of channel 1."""
        return self.session._channels[1]


def publish(
    exchange: str,
    routing_key: str,
    content: bytes = b"x",
    *,
    mandatory: bool = False,
    immediate: bool = False,
    channel: int = 1,
    **properties: Any,
) -> bytes:
    """Encode a publish."""
    encoded = encode_properties(BasicProperties(**properties))
    method = m.BasicPublish(exchange, routing_key, mandatory, immediate)
    return frame(channel, method) + header(channel, len(content), encoded) + body(channel, content)
