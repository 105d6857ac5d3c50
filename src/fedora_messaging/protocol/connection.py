"""One AMQP 0-9-1 connection without I/O, for either end.

The owner passes received bytes to :meth:`Machine.receive_data`, acts on :meth:`Machine.events`,
writes :meth:`Machine.data_to_send` to the network and calls :meth:`Machine.handle_timeout` at
:meth:`Machine.next_deadline`. Times are seconds on any one monotonic clock.

A peer's mistakes never raise: they become a ``connection.close`` to it and a ``ConnectionEnded`` event.
The owner's own mistakes raise ``RuntimeError`` (or ``EncodingError`` for values that AMQP cannot carry).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..exceptions import EncodingError
from ..printable import printable
from ..wire import methods as m
from ..wire.errors import WireError
from ..wire.frames import (
    CONTENT_HEADER_SIZE,
    FRAME_MIN,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    NEED_DATA,
    OVERHEAD,
    PROTOCOL_HEADER,
    FrameReader,
    encode_content,
    encode_method,
)
from ..wire.methods import Method, decode_method
from . import sasl
from .content import Assembly
from .errors import (
    ACCESS_REFUSED,
    CHANNEL_ERROR,
    COMMAND_INVALID,
    NAMES,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    REPLY_SUCCESS,
    RESOURCE_ERROR,
    SYNTAX_ERROR,
    UNEXPECTED_FRAME,
    ConnectionError,
    reply_text,
    short_text,
)
from .events import (
    ChannelEnded,
    ChannelOpened,
    ConnectionEnded,
    ConnectionOpened,
    Event,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from .heartbeat import Beat, Heartbeat
from .states import CHANNEL_RECEIVES, CONNECTION_RECEIVES, REPLIES, ChannelState, Role, State

#: Nothing above this is assembled: RabbitMQ 3.x refuses larger bodies by default.
MAX_BODY: Final = 134217728
#: RabbitMQ 4.1 refuses a lower frame_max; we neither offer nor accept one (promises P18 and P29).
CLIENT_FRAME_MAX_FLOOR: Final = 8192
CHANNEL_MAX: Final = 65535

#: How many of the largest contents may have come in part on all channels of a connection together.
_UNFINISHED: Final = 2
_VERSION: Final = (0, 9)


@dataclass(frozen=True, slots=True)
class Limits:
    """What we propose (server) or accept at most (client).

    Attributes:
        channel_max: Highest channel number.
        frame_max: Largest frame in bytes.
        frame_min: Server: smallest value of ``frame_max`` that a client may ask for.
        heartbeat: Seconds; 0 is off, ``None`` (client) takes the server's proposal.
        max_body: Largest message body in bytes that is kept.
    """

    channel_max: int = CHANNEL_MAX
    frame_max: int = 131072
    heartbeat: int | None = None
    max_body: int = MAX_BODY
    frame_min: int = FRAME_MIN


class _Channel:
    """What the connection knows of one channel."""

    __slots__ = ("assembly", "close_reason", "expects", "state")

    def __init__(self, state: ChannelState) -> None:
        self.state = state
        # Client: the answers that must come, oldest first.
        self.expects: deque[tuple[type[Method], ...]] = deque()
        self.assembly: Assembly | None = None
        self.close_reason = (REPLY_SUCCESS, "")


class Machine:
    """Either end of a connection; make one with :meth:`client` or :meth:`server`.

    Attributes:
        role: Which end this is.
        state: Where the connection is.
        channel_max: Negotiated highest channel number.
        frame_max: Negotiated largest frame.
        heartbeat: Negotiated interval in seconds, 0 when off.
        server_properties: What the server said of itself.
        unsent: Bytes of contents since the last :meth:`data_to_send`.
    """

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        self.role = role
        self.state = State.EXPECT_START if role is Role.CLIENT else State.EXPECT_HEADER
        self.channel_max = limits.channel_max
        self.frame_max = limits.frame_max
        self.heartbeat = 0
        self.server_properties: dict[str, Any] = {}
        self._limits = limits
        self._channels: dict[int, _Channel] = {}
        # Bytes of contents that have come in part.
        self._unfinished = 0
        self._reader = FrameReader(FRAME_MIN if role is Role.SERVER else limits.frame_max)
        self._header = b""
        self.unsent = 0
        self._out: list[bytes] = []
        self._events: list[Event] = []
        self._beat = Heartbeat(0, now)
        self._client_properties: Mapping[str, Any] = {}
        self._close_on_refusal = False
        self._mechanism = ""
        self._mechanisms: tuple[str, ...] = ()
        # What the handshake will send, encoded at the start: settings that cannot be sent are the
        # owner's mistake, not the peer's.
        self._start = b""
        self._start_ok = b""
        self._open = b""

    @classmethod
    def client(
        cls,
        *,
        now: float,
        limits: Limits | None = None,
        vhost: str = "/",
        username: str = "guest",
        password: str = "guest",  # noqa: S107 - the protocol's well-known default
        mechanism: str = sasl.PLAIN,
        locale: str = "en_US",
        client_properties: Mapping[str, Any] | None = None,
    ) -> "Machine":
        """Make the client's end; the protocol header is ready to be sent.

        Raises:
            EncodingError: A setting cannot be sent.
        """
        self = cls(Role.CLIENT, limits or Limits(), now)
        m.ConnectionTuneOk(self.channel_max, self.frame_max, self._limits.heartbeat or 0).encode()
        response = sasl.initial_response(mechanism, username, password)
        self._mechanism = mechanism
        self._client_properties = client_properties or {}
        self._start_ok = m.ConnectionStartOk(
            dict(self._client_properties), mechanism, response, locale
        ).encode()
        self._open = m.ConnectionOpen(vhost).encode()
        self._out.append(PROTOCOL_HEADER)
        return self

    @classmethod
    def server(
        cls,
        *,
        now: float,
        limits: Limits | None = None,
        mechanisms: tuple[str, ...] = (sasl.PLAIN, sasl.AMQPLAIN),
        server_properties: Mapping[str, Any] | None = None,
    ) -> "Machine":
        """Make the server's end.

        Raises:
            EncodingError: A property cannot be sent.
        """
        self = cls(Role.SERVER, limits or Limits(channel_max=2047, heartbeat=60), now)
        self._mechanisms = mechanisms
        self.server_properties = dict(server_properties or {})
        self._start = m.ConnectionStart(
            *_VERSION, self.server_properties, " ".join(mechanisms).encode(), b"en_US"
        ).encode()
        return self

    # What the owner asks for

    def events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    def data_to_send(self, now: float) -> bytes:
        """Return, and forget, the bytes that belong on the network now."""
        if not self._out:
            return b""
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        self.unsent = 0
        self._beat.sent(now)
        return data

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due next; ``None`` never."""
        return None if self.state is State.CLOSED else self._beat.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Send a heartbeat, or give up a peer that has been silent for two intervals."""
        if self.is_closed:
            return
        beat = self._beat.poll(now)
        if beat is Beat.SEND:
            self._out.append(HEARTBEAT_FRAME)
        elif beat is Beat.DEAD:
            self._out.clear()
            self._over(0, f"no data from the peer for {self.heartbeat * 2} seconds: missed heartbeats", False)

    def listen(self, listening: bool, now: float) -> None:
        """The owner reads from the network from now on, or does not, so that the peer's silence is none."""
        self._beat.listen(listening, now)

    @property
    def buffered(self) -> int:
        """Bytes of contents that have come in part, and of those that are about to be sent."""
        return self.unsent + self._unfinished

    @property
    def is_closed(self) -> bool:
        """Nothing more will come of this connection."""
        return self.state is State.CLOSED

    @property
    def client_properties(self) -> Mapping[str, Any]:
        """What the client said of itself."""
        return self._client_properties

    # Server: answers of the owner. They do nothing when the client has broken off meanwhile.

    def accept_login(self) -> None:
        """Server: the credentials are right."""
        if not self._is_in(State.AUTHENTICATING):
            return
        limits = self._limits
        self._send_connection(m.ConnectionTune(limits.channel_max, limits.frame_max, limits.heartbeat or 0))
        self.state = State.EXPECT_TUNE_OK

    def refuse_login(self, mechanism: str) -> None:
        """Server: the credentials are wrong.

        A client that did not ask for ``authentication_failure_close`` gets no frame at all; the owner
        should let it wait a few seconds before it closes the socket.
        """
        if not self._is_in(State.AUTHENTICATING):
            return
        explanation = (
            f"Login was refused using authentication mechanism {mechanism}. "
            "For details see the broker logfile."
        )
        if self._close_on_refusal:
            self.close(ACCESS_REFUSED, explanation)
        else:
            self._over(0, reply_text(ACCESS_REFUSED, explanation), False)

    @property
    def closes_on_refusal(self) -> bool:
        """Server: the client wants to be told of a refused login by ``connection.close``."""
        return self._close_on_refusal

    def accept_secret(self) -> None:
        """Server: answer ``connection.update-secret``."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionUpdateSecretOk())

    def accept_open(self) -> None:
        """Server: the virtual host exists and the user may use it."""
        if not self._is_in(State.OPENING):
            return
        self._send_connection(m.ConnectionOpenOk())
        self.state = State.OPEN
        self._events.append(ConnectionOpened())

    def block(self, reason: str) -> None:
        """Server: tell the client that its publishes are not taken for a while."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionBlocked(reason))

    def unblock(self) -> None:
        """Server: tell the client that they are taken again."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionUnblocked())

    # Both ends

    def close(
        self, reply_code: int = REPLY_SUCCESS, explanation: str = "", method: type[Method] | None = None
    ) -> None:
        """Begin an orderly end; ``ConnectionEnded`` comes with the peer's answer.

        Does nothing when the connection is closing or closed already.
        """
        if self.state in (State.CLOSING, State.CLOSED):
            return
        named = reply_code in NAMES
        text = reply_text(reply_code, explanation) if named else short_text(explanation)
        self._close_reason = (reply_code, text)
        class_id, method_id = method.key if method is not None else (0, 0)
        if self.state in (State.EXPECT_HEADER, State.EXPECT_START):
            self._over(reply_code, text, False)
            return
        self._send_connection(m.ConnectionClose(reply_code, text, class_id, method_id))
        self._channels.clear()
        self._unfinished = 0
        self.state = State.CLOSING

    def peer_vanished(self, why: str) -> None:
        """The network connection ended."""
        if self.state is not State.CLOSED:
            code, text = self._close_reason if self.state is State.CLOSING else (0, why)
            self._over(code, text, False)

    def send_method(self, channel: int, method: Method) -> None:
        """Send a method without content on a channel.

        Like all sending on a channel this does nothing when the peer has closed it meanwhile: the event
        that says so is there already, or comes next.

        Client: the answer to a request is expected in turn; what comes out of turn ends the connection.

        Raises:
            EncodingError: AMQP cannot carry a value, or the method is larger than a frame may be.
        """
        state = self._open_channel(channel)
        if state is None:
            return
        payload = method.encode()
        if self.role is Role.CLIENT:
            self._check_size(len(payload), f"the names and arguments of {method.name} take")
            replies = REPLIES.get(type(method))
            if replies is not None and not getattr(method, "no_wait", False):
                state.expects.append(replies)
        self._out.append(encode_method(channel, payload))

    def send_content(self, channel: int, method: bytes, properties: bytes, body: bytes) -> None:
        """Send an encoded method with its content on a channel.

        Raises:
            EncodingError: Client: the properties are larger than a frame may be.
        """
        if self._open_channel(channel) is not None:
            if self.role is Role.CLIENT:
                size = CONTENT_HEADER_SIZE + len(properties)
                self._check_size(size, "the headers and other properties of the message take")
            self.send_frames(channel, encode_content(channel, method, properties, body, self.frame_max))

    def send_frames(self, channel: int, data: bytes) -> None:
        """Send frames that were encoded for this channel and this ``frame_max`` beforehand."""
        if self._open_channel(channel) is not None:
            self._out.append(data)
            self.unsent += len(data)

    def _check_size(self, size: int, what: str) -> None:
        """Refuse what fits into no frame: AMQP does not cut it, and the peer would end the connection."""
        most = self.frame_max - OVERHEAD
        if size > most:
            raise EncodingError(
                f"{what} {size} bytes, but one frame of this connection holds at most {most} "
                f"(frame_max is {self.frame_max}); make them shorter, or move what is long to the body"
            )

    def open_channel(self, channel: int) -> None:
        """Client: open a channel; ``ChannelOpened`` follows, or the end of the connection."""
        if not self._is_in(State.OPEN):
            return
        if not 0 < channel <= self.channel_max or channel in self._channels:
            raise RuntimeError(f"channel {channel} is not free")
        state = self._channels[channel] = _Channel(ChannelState.OPENING)
        state.expects.append(REPLIES[m.ChannelOpen])
        self._out.append(encode_method(channel, m.ChannelOpen().encode()))

    def close_channel(
        self,
        channel: int,
        reply_code: int = REPLY_SUCCESS,
        text: str = "",
        method: type[Method] | None = None,
    ) -> None:
        """Close a channel; what still comes on it is thrown away, then ``ChannelEnded`` follows."""
        state = self._open_channel(channel)
        if state is None:
            return
        class_id, method_id = method.key if method is not None else (0, 0)
        text = short_text(text)
        self._out.append(
            encode_method(channel, m.ChannelClose(reply_code, text, class_id, method_id).encode())
        )
        state.state = ChannelState.CLOSING
        state.close_reason = (reply_code, text)
        self._forget_content(state)

    def _forget_content(self, state: _Channel) -> None:
        if state.assembly is not None:
            self._unfinished -= state.assembly.size
            state.assembly = None

    def free_channel(self) -> int | None:
        """Client: return the lowest channel number not in use, or ``None``."""
        for number in range(1, self.channel_max + 1):
            if number not in self._channels:
                return number
        return None

    def _open_channel(self, channel: int) -> _Channel | None:
        state = self._channels.get(channel)
        return state if state is not None and state.state is ChannelState.OPEN else None

    def _is_in(self, state: State) -> bool:
        if self.state in (State.CLOSING, State.CLOSED):
            return False
        if self.state is not state:
            raise RuntimeError(f"the connection is not in state {state.name} but {self.state.name}")
        return True

    def _send_connection(self, method: Method) -> None:
        self._out.append(encode_method(0, method.encode()))

    _close_reason: tuple[int, str] = (REPLY_SUCCESS, "")

    def _over(self, code: int, text: str, by_peer: bool) -> None:
        self.state = State.CLOSED
        self._channels.clear()
        self._events.append(ConnectionEnded(code, text, by_peer))

    # Received bytes

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the network."""
        self._beat.received(now)
        if self.state is State.CLOSED:
            return
        if self.state is State.EXPECT_HEADER:
            data = self._protocol_header(data)
            if not data:
                return
        elif self.state is State.EXPECT_START and self._is_foreign(data):
            return
        self._reader.feed(data)
        try:
            while not self.is_closed:
                frame = self._reader.next_frame()
                if frame is NEED_DATA:
                    return
                self._frame(*frame)
        except WireError as error:
            self._violation(ConnectionError(error.reply_code, error.text))
        except ConnectionError as error:
            self._violation(error)

    def _violation(self, error: ConnectionError) -> None:
        # After our own close the peer's mistakes no longer matter, but a stream that has lost its
        # frames can never bring the close-ok.
        if self.state is State.CLOSING:
            self._over(*self._close_reason, False)
            return
        self.close(error.reply_code, error.explanation, error.method)
        # There is no use in waiting for an answer from somebody who does not keep to the rules.
        if not self.is_closed:
            self._over(error.reply_code, error.reply_text, False)

    def _protocol_header(self, data: bytes) -> bytes:
        """Server: check the first eight bytes; returns what follows them."""
        self._header += data
        have = self._header[: len(PROTOCOL_HEADER)]
        if not PROTOCOL_HEADER.startswith(have):
            self._out.append(PROTOCOL_HEADER)
            self._over(0, "the client does not speak AMQP 0-9-1", True)
            return b""
        if len(have) < len(PROTOCOL_HEADER):
            return b""
        rest = self._header[len(PROTOCOL_HEADER) :]
        self._header = b""
        self.state = State.EXPECT_START_OK
        self._out.append(encode_method(0, self._start))
        return rest

    def _is_foreign(self, data: bytes) -> bool:
        """Client: a server that refuses our version answers with its own header and hangs up."""
        self._header = (self._header + data)[:8]
        if not self._header.startswith(b"AMQP"):
            return False
        if len(self._header) == 8:
            version = ".".join(str(byte) for byte in self._header[4:])
            self._over(0, f"the server does not speak AMQP 0-9-1 but offers protocol {version}", True)
        return True

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == HEARTBEAT:
            if channel or payload:
                raise ConnectionError(UNEXPECTED_FRAME, "heartbeat frame on a channel or with a payload")
            return
        if channel == 0:
            self._connection_frame(kind, payload)
            return
        state = self._channels.get(channel)
        if state is None:
            self._frame_without_channel(kind, channel, payload)
        elif state.state is ChannelState.CLOSING:
            self._frame_while_closing(state, kind, channel, payload)
        elif state.assembly is not None:
            self._content_frame(state, state.assembly, kind, channel, payload)
        elif kind == METHOD:
            self._channel_method(state, channel, decode_method(payload))
        else:
            raise ConnectionError(UNEXPECTED_FRAME, "expected method frame, got non method frame instead")

    def _content_frame(
        self, state: _Channel, assembly: Assembly, kind: int, channel: int, payload: bytes
    ) -> None:
        before = assembly.size
        content = assembly.frame(kind, channel, payload)
        if content is not None:
            self._unfinished -= before
            state.assembly = None
            self._events.append(content)
            return
        self._unfinished += assembly.size - before
        if self._unfinished > _UNFINISHED * (self._limits.max_body + self.frame_max):
            raise ConnectionError(
                RESOURCE_ERROR, f"{self._unfinished} bytes of unfinished contents on this connection"
            )

    # Channel 0

    def _connection_frame(self, kind: int, payload: bytes) -> None:
        if self.state is State.CLOSING:
            self._frame_after_close(kind, payload)
            return
        if kind != METHOD:
            raise ConnectionError(UNEXPECTED_FRAME, "content frame on channel 0")
        method = decode_method(payload)
        allowed = CONNECTION_RECEIVES[self.role].get(self.state, frozenset())
        if type(method) not in allowed:
            code = CHANNEL_ERROR if self.state is State.OPEN else COMMAND_INVALID
            raise ConnectionError(
                code, f"unexpected method {method.name} in state {self.state.name}", type(method)
            )
        if isinstance(method, m.ConnectionClose):
            self._send_connection(m.ConnectionCloseOk())
            self._over(method.reply_code, method.reply_text, True)
        elif self.state is State.OPEN:
            self._events.append(MethodReceived(0, method))
        else:
            self._handshake(method)

    def _frame_after_close(self, kind: int, payload: bytes) -> None:
        if kind != METHOD:
            return
        method = decode_method(payload)
        if isinstance(method, m.ConnectionClose):
            self._send_connection(m.ConnectionCloseOk())
        elif isinstance(method, m.ConnectionCloseOk):
            self._over(*self._close_reason, False)

    def _handshake(self, method: Method) -> None:
        if isinstance(method, m.ConnectionStart):
            self._started(method)
        elif isinstance(method, m.ConnectionSecure):
            raise ConnectionError(SYNTAX_ERROR, "challenge in a mechanism that has none", m.ConnectionSecure)
        elif isinstance(method, m.ConnectionTune):
            self._tuned(method)
        elif isinstance(method, m.ConnectionOpenOk):
            self.state = State.OPEN
            self._events.append(ConnectionOpened())
        elif isinstance(method, m.ConnectionStartOk):
            self._start_answered(method)
        elif isinstance(method, m.ConnectionTuneOk):
            self._tune_ok(method)
        else:
            assert isinstance(method, m.ConnectionOpen)  # the table lets no other through
            self.state = State.OPENING
            self._events.append(OpenRequested(method.virtual_host))

    def _started(self, method: m.ConnectionStart) -> None:
        if (method.version_major, method.version_minor) != _VERSION:
            raise ConnectionError(
                NOT_IMPLEMENTED,
                f"the server speaks AMQP {method.version_major}-{method.version_minor}",
                m.ConnectionStart,
            )
        self.server_properties = method.server_properties
        mechanism = self._mechanism
        offered = method.mechanisms.decode("ascii", "replace").split()
        if mechanism not in offered:
            others = printable(" ".join(offered)) or "none"
            raise ConnectionError(
                NOT_ALLOWED,
                f"the server does not offer mechanism {mechanism}, but {others}",
                m.ConnectionStart,
            )
        self._out.append(encode_method(0, self._start_ok))
        self.state = State.EXPECT_TUNE

    def _tuned(self, method: m.ConnectionTune) -> None:
        limits = self._limits
        self.channel_max = min(method.channel_max or CHANNEL_MAX, limits.channel_max)
        frame_max = min(method.frame_max or limits.frame_max, limits.frame_max)
        if frame_max < CLIENT_FRAME_MAX_FLOOR:
            raise ConnectionError(
                NOT_ALLOWED,
                f"frame_max {frame_max} is below {CLIENT_FRAME_MAX_FLOOR}",
                m.ConnectionTune,
            )
        self._set_frame_max(frame_max)
        heartbeat = method.heartbeat
        if limits.heartbeat is not None:
            heartbeat = (
                min(heartbeat, limits.heartbeat) if heartbeat and limits.heartbeat else limits.heartbeat
            )
        self._set_heartbeat(heartbeat)
        self._send_connection(m.ConnectionTuneOk(self.channel_max, self.frame_max, self.heartbeat))
        self._out.append(encode_method(0, self._open))
        self.state = State.EXPECT_OPEN_OK

    def _start_answered(self, method: m.ConnectionStartOk) -> None:
        self._client_properties = method.client_properties
        capabilities = method.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            self._close_on_refusal = capabilities.get("authentication_failure_close") is True
        self.state = State.AUTHENTICATING
        if method.mechanism not in self._mechanisms:
            self._over(0, f"unknown authentication mechanism {method.mechanism!r}", False)
            return
        self._events.append(LoginRequested(method.mechanism, method.response, method.client_properties))

    def _tune_ok(self, method: m.ConnectionTuneOk) -> None:
        limits = self._limits
        if method.channel_max == 0 or method.channel_max > limits.channel_max:
            unlimited = " (no limit)" if method.channel_max == 0 else ""
            self._refuse_tuning("channel_max", f"{method.channel_max}{unlimited}", limits.channel_max)
        if method.frame_max == 0 or method.frame_max > limits.frame_max:
            self._refuse_tuning("frame_max", str(method.frame_max), limits.frame_max)
        if method.frame_max < limits.frame_min:
            raise ConnectionError(
                NOT_ALLOWED,
                f"negotiated frame_max = {method.frame_max} is lower than the minimum allowed value "
                f"({limits.frame_min})",
                m.ConnectionTuneOk,
            )
        self.channel_max = method.channel_max
        self._set_frame_max(method.frame_max)
        self._set_heartbeat(method.heartbeat)
        self.state = State.EXPECT_OPEN

    def _refuse_tuning(self, name: str, got: str, most: int) -> None:
        raise ConnectionError(
            NOT_ALLOWED,
            f"negotiated {name} = {got} is higher than the maximum allowed value ({most})",
            m.ConnectionTuneOk,
        )

    def _set_frame_max(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self._reader.frame_max = frame_max

    def _set_heartbeat(self, interval: int) -> None:
        self.heartbeat = interval
        self._beat.interval = interval

    # Other channels

    def _frame_without_channel(self, kind: int, channel: int, payload: bytes) -> None:
        if self.state is State.CLOSING:
            return
        if self.state is not State.OPEN:
            raise ConnectionError(
                UNEXPECTED_FRAME, f"frame on channel {channel} before the connection is open"
            )
        method = decode_method(payload) if kind == METHOD else None
        if self.role is Role.SERVER and isinstance(method, m.ChannelOpen):
            if channel > self.channel_max:
                raise ConnectionError(
                    NOT_ALLOWED,
                    f"number of channels opened ({channel}) has reached the negotiated channel_max "
                    f"({self.channel_max})",
                    m.ChannelOpen,
                )
            self._channels[channel] = _Channel(ChannelState.OPEN)
            self._out.append(encode_method(channel, m.ChannelOpenOk().encode()))
            self._events.append(ChannelOpened(channel))
        else:
            raise ConnectionError(
                CHANNEL_ERROR, "expected 'channel.open'", type(method) if method is not None else None
            )

    def _frame_while_closing(self, state: _Channel, kind: int, channel: int, payload: bytes) -> None:
        if kind != METHOD:
            return
        method = decode_method(payload)
        if isinstance(method, m.ChannelClose):
            # Both sides closed at once: each answers the other.
            self._out.append(encode_method(channel, m.ChannelCloseOk().encode()))
        elif isinstance(method, m.ChannelCloseOk):
            del self._channels[channel]
            self._events.append(ChannelEnded(channel, *state.close_reason, False))

    def _channel_method(self, state: _Channel, channel: int, method: Method) -> None:
        kind = type(method)
        opening = state.state is ChannelState.OPENING and kind is not m.ChannelClose
        if kind in CHANNEL_RECEIVES[self.role] and not opening:
            if method.has_content:
                state.assembly = Assembly(method, self._limits.max_body)
            elif isinstance(method, m.ChannelClose):
                self._out.append(encode_method(channel, m.ChannelCloseOk().encode()))
                del self._channels[channel]
                self._events.append(ChannelEnded(channel, method.reply_code, method.reply_text, True))
            else:
                self._events.append(MethodReceived(channel, method))
            return
        if state.expects and kind in state.expects[0]:
            self._reply(state, channel, method)
            return
        if isinstance(method, m.ChannelOpen):
            raise ConnectionError(CHANNEL_ERROR, "second 'channel.open' seen", m.ChannelOpen)
        if isinstance(method, m.ChannelCloseOk):
            raise ConnectionError(CHANNEL_ERROR, "unexpected 'channel.close-ok'", m.ChannelCloseOk)
        raise ConnectionError(COMMAND_INVALID, f"unexpected method {method.name} on channel {channel}", kind)

    def _reply(self, state: _Channel, channel: int, method: Method) -> None:
        state.expects.popleft()
        if isinstance(method, m.ChannelOpenOk):
            state.state = ChannelState.OPEN
            self._events.append(ChannelOpened(channel))
        elif method.has_content:
            state.assembly = Assembly(method, self._limits.max_body)
        else:
            self._events.append(MethodReceived(channel, method))
