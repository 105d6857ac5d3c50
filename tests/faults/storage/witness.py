"""A client in memory that knows how far the disk was when the broker said something."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from tests.faults.children import HarnessError
from tests.protocol.machines import frame
from tests.unit.broker.support import Pipe

from fedora_messaging.broker.session import PATIENCE, Session
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.transport.link import Link
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.methods import Method, decode_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.broker.server import Server

_PATIENCE: Final = 30.0
#: Turns of the event loop in which a broker that waits for nothing has said all it has to say.
_TURNS: Final = 4


class Heard(NamedTuple):
    """A method that the broker sent.

    Attributes:
        at: How many operations the disk had carried out when it was sent.
        channel: On which channel.
        method: The method.
        body: The body of its content.
    """

    at: int
    channel: int
    method: Method
    body: bytes = b""


class _ListeningPipe(Pipe):
    """A transport that cuts what the broker writes into methods at once."""

    def __init__(self, link: Link, now: Callable[[], int]) -> None:
        super().__init__(link)
        self.heard: list[Heard] = []
        self._now = now
        self._reader = f.FrameReader(1 << 20)

    def write(self, data: Any) -> None:
        self._reader.feed(bytes(data))
        while (found := self._reader.next_frame()) is not f.NEED_DATA:
            kind, channel, payload = found
            if kind == f.METHOD:
                self.heard.append(Heard(self._now(), channel, decode_method(payload)))
            elif kind == f.BODY:
                last = self.heard[-1]
                self.heard[-1] = last._replace(at=self._now(), body=last.body + payload)


class Witness:
    """A client of a broker that listens nowhere.

    Args:
        server: The broker, open.
        now: Returns how many operations the disk has carried out.
    """

    def __init__(self, server: Server, now: Callable[[], int] = lambda: 0) -> None:
        self._loop = server.loop
        machine = ServerMachine(now=self._loop.time(), limits=server.limits)
        session = Session(server, machine)
        self._link = Link(machine, session, self._loop, PATIENCE)
        self.pipe = _ListeningPipe(self._link, now)
        self._link.connection_made(self.pipe)

    def login(self, *channels: int) -> Self:
        """Log in and open channels."""
        self._link.data_received(f.PROTOCOL_HEADER)
        about = {"capabilities": {"connection.blocked": True, "publisher_confirms": True}}
        self.send(m.ConnectionStartOk(about, "PLAIN", b"\0guest\0guest", "en_US"), channel=0)
        self.send(m.ConnectionTuneOk(2047, 131072, 0), m.ConnectionOpen("/"), channel=0)
        for channel in channels:
            self.ask(m.ChannelOpen(), m.ChannelOpenOk, channel)
        self.take()
        return self

    def feed(self, data: bytes) -> None:
        """Send bytes once the broker reads, and let it work."""
        self.wait_until(lambda: self.pipe.reads)
        self._link.data_received(data)
        self.turn()

    def turn(self) -> None:
        """Let the broker work."""
        for _ in range(_TURNS):
            self._loop.run_until_complete(asyncio.sleep(0))

    def send(self, *methods: Method, channel: int = 1) -> None:
        """Send methods together."""
        self.feed(b"".join(frame(channel, method) for method in methods))

    def ask(self, method: Method, answer: type[Method], channel: int = 1) -> Heard:
        """Send a method and wait for its answer; what else is heard stays."""
        self.send(method, channel=channel)
        return self.wait_for(answer, channel=channel)

    def wait_for(self, *answers: type[Method], channel: int = 1) -> Heard:
        """Wait for one of some methods, and take it."""

        def found() -> Heard | None:
            return next(
                (h for h in self.pipe.heard if h.channel == channel and type(h.method) in answers), None
            )

        self.wait_until(lambda: found() is not None)
        heard = found()
        assert heard is not None
        self.pipe.heard.remove(heard)
        return heard

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the broker work until something is so.

        Raises:
            HarnessError: It does not come.
        """
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise HarnessError(f"the broker does not answer; last heard {self.pipe.heard[-3:]}")
            self._loop.run_until_complete(asyncio.sleep(0.0002))

    def take(self) -> list[Heard]:
        """Return what was heard since the last call."""
        heard, self.pipe.heard = self.pipe.heard, []
        return heard

    def leave(self) -> None:
        """End the connection without a word."""
        self.pipe.close()
        self.turn()
