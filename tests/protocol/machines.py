"""Machines for tests: in any state, in pairs that talk in memory, and with a recording of all they heard."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.client_handshake import ClientMachine
from fedora_messaging.protocol.events import ConnectionEnded, Event, LoginRequested, OpenRequested
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.methods import Method, decode_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.protocol.connection import Limits, Machine

START = m.ConnectionStart(0, 9, {"product": "test"}, b"PLAIN AMQPLAIN", b"en_US")
START_OK = m.ConnectionStartOk(
    {"capabilities": {"authentication_failure_close": True}}, "PLAIN", b"\0guest\0guest", "en_US"
)
TUNE = m.ConnectionTune(2047, 131072, 60)
TUNE_OK = m.ConnectionTuneOk(2047, 131072, 60)
OPEN = m.ConnectionOpen("/")
PUBLISH = m.BasicPublish("e", "k")

#: States in the order in which a connection goes through them.
WAY = {
    Role.CLIENT: [State.EXPECT_START, State.EXPECT_TUNE, State.EXPECT_OPEN_OK, State.OPEN],
    Role.SERVER: [
        State.EXPECT_HEADER,
        State.EXPECT_START_OK,
        State.AUTHENTICATING,
        State.EXPECT_TUNE_OK,
        State.EXPECT_OPEN,
        State.OPENING,
        State.OPEN,
    ],
}
STATES = {role: [*way, State.CLOSING, State.CLOSED] for role, way in WAY.items()}
EVERY_STATE = [(role, state) for role, states in STATES.items() for state in states]


class Seen(NamedTuple):
    """One frame that a machine sent; ``method`` is None for other frames than methods."""

    kind: int
    channel: int
    method: Method | None
    payload: bytes


def raw(kind: int, channel: int, payload: bytes, end: int = f.END) -> bytes:
    """Encode a frame without any check."""
    return (
        bytes((kind,))
        + channel.to_bytes(2, "big")
        + len(payload).to_bytes(4, "big")
        + payload
        + bytes((end,))
    )


def frame(channel: int, method: Method) -> bytes:
    """Encode a method frame."""
    return f.encode_method(channel, method.encode())


def header(
    channel: int, size: int, properties: bytes = b"\0\0", class_id: int = 60, weight: int = 0
) -> bytes:
    """Encode a content header frame."""
    fields = class_id.to_bytes(2, "big") + weight.to_bytes(2, "big") + size.to_bytes(8, "big")
    return raw(f.HEADER, channel, fields + properties)


def body(channel: int, payload: bytes) -> bytes:
    """Encode a body frame."""
    return raw(f.BODY, channel, payload)


def cut(data: bytes) -> list[Seen]:
    """Decode what a machine sent, without a protocol header in front."""
    data = data.removeprefix(f.PROTOCOL_HEADER)
    reader = f.FrameReader(1 << 20)
    reader.feed(data)
    seen = []
    while (found := reader.next_frame()) is not f.NEED_DATA:
        kind, channel, payload = found
        method = decode_method(payload) if kind == f.METHOD else None
        seen.append(Seen(kind, channel, method, payload))
    return seen


def sent(machine: Machine, now: float = 0.0) -> list[tuple[int, Method | None]]:
    """Take what the machine wants sent, as (channel, method)."""
    return [(seen.channel, seen.method) for seen in cut(machine.data_to_send(now))]


def closing(events: list[Event]) -> ConnectionEnded:
    """Return the end of the connection, which must come once and last."""
    ends = [event for event in events if isinstance(event, ConnectionEnded)]
    assert len(ends) == 1, events
    assert events[-1] is ends[0]
    return ends[0]


def drained(machine: Machine) -> Machine:
    """Forget what happened so far."""
    machine.events()
    machine.data_to_send(0.0)
    return machine


def make(role: Role, limits: Limits | None = None) -> Machine:
    """Make a machine with default settings."""
    if role is Role.CLIENT:
        return ClientMachine(now=0.0, limits=limits)
    return ServerMachine(now=0.0, limits=limits)


def machine_in(role: Role, state: State, limits: Limits | None = None) -> Machine:
    """Make a machine and bring it into a state, with nothing left to be sent or told."""
    machine = make(role, limits)
    steps = _steps(machine)
    way = WAY[role]
    # A machine closes from the open state, and is closed after that.
    wanted = state if state in way else State.OPEN
    for step in steps[: way.index(wanted)]:
        step()
    if state is State.CLOSING:
        machine.close()
    elif state is State.CLOSED:
        machine.peer_vanished("test")
    assert machine.state is state
    return drained(machine)


def client_in(state: State, limits: Limits | None = None) -> ClientMachine:
    """Make a client and bring it into a state."""
    machine = machine_in(Role.CLIENT, state, limits)
    assert isinstance(machine, ClientMachine)
    return machine


def server_in(state: State, limits: Limits | None = None) -> ServerMachine:
    """Make a server and bring it into a state."""
    machine = machine_in(Role.SERVER, state, limits)
    assert isinstance(machine, ServerMachine)
    return machine


def _steps(machine: Machine) -> list[Callable[[], None]]:
    def receive(data: bytes) -> Callable[[], None]:
        return lambda: machine.receive_data(data, 0.0)

    if isinstance(machine, ServerMachine):
        return [
            receive(f.PROTOCOL_HEADER),
            receive(frame(0, START_OK)),
            machine.accept_login,
            receive(frame(0, tune_ok(machine))),
            receive(frame(0, OPEN)),
            machine.accept_open,
        ]
    return [receive(frame(0, method)) for method in (START, TUNE, m.ConnectionOpenOk())]


def tune_ok(server: Machine) -> m.ConnectionTuneOk:
    """Accept just what a server proposes."""
    return m.ConnectionTuneOk(server.channel_max, server.frame_max, 0)


def open_channel(machine: Machine, channel: int = 1) -> Machine:
    """Open a channel of an open connection."""
    if isinstance(machine, ClientMachine):
        machine.open_channel(channel)
        machine.receive_data(frame(channel, m.ChannelOpenOk()), 0.0)
    else:
        machine.receive_data(frame(channel, m.ChannelOpen()), 0.0)
    return drained(machine)


def with_channel(role: Role, limits: Limits | None = None) -> Machine:
    """Make an open connection with channel 1 open."""
    return open_channel(machine_in(role, State.OPEN, limits))


# Recording


class Heard(NamedTuple):
    """All that came out of a machine, in a form that can be compared."""

    events: list[str]
    sent: bytes
    errors: list[str]
    state: State


#: What an owner does with a machine, its questions left out.
USES = (
    "accept_login",
    "accept_open",
    "accept_secret",
    "block",
    "close",
    "close_channel",
    "data_to_send",
    "handle_timeout",
    "listen",
    "open_channel",
    "peer_vanished",
    "receive_data",
    "refuse_login",
    "send_content",
    "send_frames",
    "send_method",
    "unblock",
)


class Recording:
    """How a machine is used and what comes of it, so that its life can be repeated.

    Args:
        make: Makes the machine, and others like it.
    """

    def __init__(self, make: Callable[[], Machine]) -> None:
        self.machine = make()
        self._make = make
        self._log: list[tuple[str, tuple[Any, ...]]] = []
        self._heard: list[Event] = []
        self._sent: list[bytes] = []
        self._errors: list[str] = []
        self._inside = False
        for name in USES:
            if hasattr(self.machine, name):
                setattr(self.machine, name, self._logging(name, getattr(self.machine, name)))
        self.machine.events = self._hearing(self.machine.events)  # type: ignore[method-assign]

    def _logging(self, name: str, use: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(use)
        def logging(*args: Any) -> Any:
            # What a method of the machine calls of itself is no use of the machine.
            outermost, self._inside = not self._inside, True
            if outermost:
                self._log.append((name, args))
            try:
                result = use(*args)
            except Exception as error:
                if outermost:
                    self._errors.append(repr(error))
                raise
            finally:
                self._inside = not outermost
            if name == "data_to_send":
                self._sent.append(result)
            return result

        return logging

    def _hearing(self, events: Callable[[], list[Event]]) -> Callable[[], list[Event]]:
        def hearing() -> list[Event]:
            found = events()
            self._heard += found
            return found

        return hearing

    def heard(self) -> Heard:
        """Tell what came out of the machine until now, what is not fetched yet included."""
        self.machine.events()
        self.machine.data_to_send(0.0)
        events = [repr(event) for event in self._heard]
        return Heard(events, b"".join(self._sent), self._errors, self.machine.state)

    def replay(self, size: int) -> Heard:
        """Use another machine in the same way, but feed it pieces of ``size`` bytes."""
        machine = self._make()
        events: list[Event] = []
        data: list[bytes] = []
        errors: list[str] = []
        for name, args in list(self._log):
            calls = [args]
            if name == "receive_data":
                received, now = args
                calls = [(received[at : at + size], now) for at in range(0, len(received), size)]
            for call in calls:
                try:
                    result = getattr(machine, name)(*call)
                except Exception as error:
                    errors.append(repr(error))
                else:
                    data += [result] if name == "data_to_send" else []
                events += machine.events()
        data.append(machine.data_to_send(0.0))
        return Heard([repr(event) for event in events], b"".join(data), errors, machine.state)


#: Of the machines of the test that runs.
recordings: list[Recording] = []


def recorded_client(**options: Any) -> ClientMachine:
    """Make a client that is recorded."""
    recordings.append(Recording(lambda: ClientMachine(now=0.0, **options)))
    machine = recordings[-1].machine
    assert isinstance(machine, ClientMachine)
    return machine


def recorded_server(**options: Any) -> ServerMachine:
    """Make a server that is recorded."""
    recordings.append(Recording(lambda: ServerMachine(now=0.0, **options)))
    machine = recordings[-1].machine
    assert isinstance(machine, ServerMachine)
    return machine


class Pair:
    """A client and a server that talk in memory; the server's owner knows one user and one virtual host.

    Attributes:
        client_events: All that the client said.
        server_events: All that the server said.
    """

    def __init__(
        self, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None, now: float = 0.0
    ) -> None:
        self.client = recorded_client(**(client or {}))
        self.server = recorded_server(**(server or {}))
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.now = now

    def pump(self) -> Pair:
        """Carry bytes to and fro until both are silent."""
        while True:
            to_server = self.client.data_to_send(self.now)
            to_client = self.server.data_to_send(self.now)
            if not to_server and not to_client:
                return self
            if to_server:
                self.server.receive_data(to_server, self.now)
                self._serve()
            if to_client:
                self.client.receive_data(to_client, self.now)
            self.client_events += self.client.events()

    def opened(self, *channels: int) -> Pair:
        """Finish the handshake, open channels, and forget the events until now."""
        self.pump()
        assert self.client.state is State.OPEN
        assert self.server.state is State.OPEN
        for channel in channels:
            self.client.open_channel(channel)
        self.pump()
        self.take()
        return self

    def take(self) -> tuple[list[Event], list[Event]]:
        """Return the events of client and server since the last call."""
        self.pump()
        self._serve()
        self.client_events += self.client.events()
        events = self.client_events, self.server_events
        self.client_events, self.server_events = [], []
        return events

    def _serve(self) -> None:
        for event in self.server.events():
            self.server_events.append(event)
            if isinstance(event, LoginRequested) and self.server.state is State.AUTHENTICATING:
                self._login(event)
            elif isinstance(event, OpenRequested) and self.server.state is State.OPENING:
                if event.vhost == "/":
                    self.server.accept_open()
                else:
                    self.server.close(530, f"vhost {event.vhost} not found", m.ConnectionOpen)
        # What the answers themselves brought about.
        self.server_events += self.server.events()

    def _login(self, event: LoginRequested) -> None:
        known = event.mechanism in (sasl.EXTERNAL, sasl.ANONYMOUS) or (
            sasl.parse_response(event.mechanism, event.response) == ("guest", "guest")
        )
        if known:
            self.server.accept_login()
        else:
            self.server.refuse_login(event.mechanism)
