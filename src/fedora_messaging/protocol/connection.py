"""One AMQP 0-9-1 connection without I/O: the parts that client and server have in common.

The owner makes a ``ClientMachine`` or a ``ServerMachine``. It passes received bytes to
:meth:`Machine.receive_data`, acts on :meth:`Machine.events`, writes :meth:`Machine.data_to_send` to the
network and calls :meth:`Machine.handle_timeout` at :meth:`Machine.next_deadline`. Times are seconds on any
one monotonic clock.

A mistake of the peer never raises: the machine sends ``connection.close`` and reports ``ConnectionEnded``.
A mistake of the owner raises ``RuntimeError`` (or ``EncodingError`` for a value that AMQP cannot carry).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..wire import methods as m
from ..wire.errors import WireError
from ..wire.frames import (
    FRAME_MIN,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    NEED_DATA,
    UNKNOWN_FRAME,
    FrameReader,
    describe,
    encode_method,
    frame_error,
)
from ..wire.methods import Method, decode_method
from .channels import Channels
from .errors import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    NAMES,
    REPLY_SUCCESS,
    UNEXPECTED_FRAME,
    ConnectionError,
    reply_text,
    short_text,
)
from .events import ConnectionEnded, Event, MethodReceived
from .heartbeat import Beat, Heartbeat
from .states import CONNECTION, Input, Role, State, Step

#: Larger bodies are not assembled; RabbitMQ 3.x refuses them by default.
MAX_BODY: Final = 134217728
CHANNEL_MAX: Final = 65535
#: Version of the protocol, major and minor.
VERSION: Final = (0, 9)


class Limits(NamedTuple):
    """The limits that a server proposes, or the highest ones that a client accepts.

    Attributes:
        channel_max: How many channels may be open at a time.
        frame_max: Largest frame in bytes.
        frame_min: Server: smallest value of ``frame_max`` that a client may ask for, and the largest frame
            that it may send before.
        heartbeat: Seconds; 0 is off, ``None`` (client) takes the server's proposal.
        max_body: Largest message body in bytes that is kept.
    """

    channel_max: int = CHANNEL_MAX
    frame_max: int = 131072
    heartbeat: int | None = None
    max_body: int = MAX_BODY
    frame_min: int = FRAME_MIN


class Machine(ABC):
    """Either end of a connection.

    Attributes:
        role: Which end this is.
        state: State of the connection.
        channel_max: Negotiated number of channels that may be open at a time.
        frame_max: Negotiated largest frame.
        heartbeat: Negotiated interval in seconds, 0 when off.
        server_properties: The server's description of itself.
        has_last_word: Whether the connection has ended with a method that the peer still has to read.
    """

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        self.role = role
        self.state = State.EXPECT_START if role is Role.CLIENT else State.EXPECT_HEADER
        self.channel_max: int = limits.channel_max
        self.frame_max: int = limits.frame_max
        self.heartbeat: int = 0
        self.server_properties: dict[str, Any] = {}
        self.has_last_word: bool = False
        self._client_properties: Mapping[str, Any] = {}
        self._limits = limits
        self._next = CONNECTION[role]
        self._close_reason = (REPLY_SUCCESS, "")
        self._reader = FrameReader(limits.frame_min if role is Role.SERVER else limits.frame_max)
        # The bytes of the peer's protocol header that have arrived so far.
        self._header = b""
        self._out: list[bytes | memoryview] = []
        # How many of the pieces in it are counted, and their bytes.
        self._counted = 0
        self._waiting = 0
        self._events: list[Event] = []
        self._channels = Channels(role, limits.max_body, self._out, self._events)
        self._beat = Heartbeat(0, now)

    @abstractmethod
    def _before_frames(self, data: bytes) -> bytes:
        """Process the bytes before the first frame; returns those that belong to frames."""

    @abstractmethod
    def _handshake(self, method: Method) -> None:
        """Act on a method that the table of states allows before the connection is open."""

    def _advance(self, what: Input) -> None:
        self.state = self._next[self.state][what]

    def _agreed(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        """Apply the negotiated limits of the connection."""
        self.channel_max = self._channels.most = channel_max
        self.frame_max = self._channels.frame_max = self._reader.frame_max = frame_max
        self.heartbeat = heartbeat
        self._beat.interval = float(heartbeat)

    # Called by the owner

    def events(self) -> list[Event]:
        """Return the events since the last call, oldest first."""
        if not self._events:
            return []
        events = self._events.copy()
        self._events.clear()
        return events

    def data_to_send(self, now: float, most: int | None = None) -> bytes:
        """Return the bytes to write to the network now, and forget them.

        Args:
            now: Seconds of the clock of the owner.
            most: About how many bytes to return; by default all. See :attr:`has_more`.
        """
        if not self._out:
            return b""
        out = self._out
        if most is not None and self._channels.unsent > most:
            waiting = self.waiting
            size = count = 0
            while count < len(out) and size < most:
                size += len(out[count])
                count += 1
            data = b"".join(out[:count])
            del out[:count]
            self._channels.unsent = max(0, self._channels.unsent - size) if out else 0
            self._counted, self._waiting = len(out), waiting - size
        else:
            data = b"".join(out)
            out.clear()
            self._channels.unsent = self._counted = self._waiting = 0
        self._beat.sent(now)
        return data

    @property
    def has_more(self) -> bool:
        """Whether there are bytes to write that :meth:`data_to_send` has not returned yet."""
        return bool(self._out)

    @property
    def waiting(self) -> int:
        """How many bytes these are."""
        out = self._out
        for index in range(self._counted, len(out)):
            self._waiting += len(out[index])
        self._counted = len(out)
        return self._waiting

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timeout` is due next; ``None`` means never."""
        return None if self.state is State.CLOSED else self._beat.next_deadline()

    def handle_timeout(self, now: float) -> None:
        """Send a heartbeat, or give up a peer that has been silent for two intervals."""
        if self.is_closed:
            return
        beat = self._beat.poll(now)
        if beat is Beat.SEND:
            # What waits already shows the peer as well that we live, as soon as it can leave.
            if not self._out:
                self._out.append(HEARTBEAT_FRAME)
            self._beat.sent(now)
        elif beat is Beat.DEAD:
            self._out.clear()
            self._counted = self._waiting = 0
            self._over(0, f"no data from the peer for {self.heartbeat * 2} seconds: missed heartbeats", False)

    def listen(self, listening: bool, now: float) -> None:
        """Note whether the owner reads from the network; while it does not, the peer cannot time out."""
        self._beat.listen(listening, now)

    @property
    def unsent(self) -> int:
        """Bytes of contents to send that were added since the last :meth:`data_to_send`."""
        return self._channels.unsent

    @property
    def unfinished(self) -> int:
        """Bytes of contents that are received incompletely."""
        return self._channels.unfinished

    @property
    def buffered(self) -> int:
        """Bytes of contents that are received incompletely, or not sent yet."""
        return self._channels.unsent + self._channels.unfinished

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.state is State.CLOSED

    @property
    def client_properties(self) -> Mapping[str, Any]:
        """The client's description of itself."""
        return self._client_properties

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
        if Step.CLOSE not in self._next[self.state]:
            # The peer has not shown yet that it speaks AMQP, so it gets no frame.
            self._over(reply_code, text, False)
            return
        class_id, method_id = method.key if method is not None else (0, 0)
        self._send_connection(m.ConnectionClose(reply_code, text, class_id, method_id))
        self._channels.forget()
        self._advance(Step.CLOSE)

    def peer_vanished(self, why: str) -> None:
        """Note that the network connection ended."""
        if self.state is not State.CLOSED:
            code, text = self._close_reason if self.state is State.CLOSING else (0, why)
            self._over(code, text, False)

    def send_method(self, channel: int, method: Method) -> None:
        """Send a method without content on a channel.

        Like all sending on a channel, this does nothing if the peer has closed the channel meanwhile;
        :meth:`events` has or will have the event that says so.

        Client: answers must come in the order of their requests; an answer out of turn ends the connection.

        Raises:
            EncodingError: AMQP cannot carry a value, or the method is larger than a frame may be.
        """
        self._channels.send_method(channel, method)

    def send_content(self, channel: int, method: bytes, properties: bytes, body: bytes) -> None:
        """Send an encoded method with its content on a channel.

        Raises:
            EncodingError: Client: the properties are larger than a frame may be.
        """
        self._channels.send_content(channel, method, properties, body)

    def send_frames(self, channel: int, data: bytes) -> None:
        """Send frames that were encoded for this channel and this ``frame_max`` beforehand."""
        self._channels.send_frames(channel, data)

    def close_channel(
        self,
        channel: int,
        reply_code: int = REPLY_SUCCESS,
        text: str = "",
        method: type[Method] | None = None,
    ) -> None:
        """Close a channel; frames that still arrive on it are discarded, then ``ChannelEnded`` follows."""
        self._channels.close(channel, reply_code, text, method)

    def _is_in(self, state: State) -> bool:
        if self.state in (State.CLOSING, State.CLOSED):
            return False
        if self.state is not state:
            raise RuntimeError(f"the connection is not in state {state.name} but {self.state.name}")
        return True

    def _send_connection(self, method: Method) -> None:
        self._out.append(encode_method(0, method.encode()))

    def _over(self, code: int, text: str, by_peer: bool, what: Input = Step.END) -> None:
        self._advance(what)
        self._channels.forget()
        self._events.append(ConnectionEnded(code, text, by_peer))

    # Received bytes

    def receive_data(self, data: bytes, now: float) -> None:
        """Process bytes from the network."""
        self._beat.received(now)
        if self.state is State.CLOSED:
            return
        data = self._before_frames(data)
        if not data:
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
        except ConnectionError as violation:
            self._violation(violation)

    def _violation(self, error: ConnectionError) -> None:
        # After our own close the peer's mistakes no longer matter. But once the borders of its frames are
        # lost, its close-ok can never be read.
        if self.state is State.CLOSING:
            self._over(*self._close_reason, False)
            self.has_last_word = True
            return
        self.close(error.reply_code, error.explanation, error.method)
        # It is no use to wait for an answer from a peer that breaks the rules.
        if not self.is_closed:
            self._over(error.reply_code, error.reply_text, False)
            self.has_last_word = True

    def _frame(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == HEARTBEAT:
            if payload:
                raise frame_error(kind, payload, UNKNOWN_FRAME)
            if channel:
                raise ConnectionError(UNEXPECTED_FRAME, describe(kind, payload))
        elif self.state is State.OPEN and channel:
            self._channels.receive(kind, channel, payload)
        elif self.state is State.CLOSING:
            self._frame_after_close(kind, channel, payload)
        elif channel:
            raise ConnectionError(
                UNEXPECTED_FRAME, f"frame on channel {channel} before the connection is open"
            )
        elif kind != METHOD:
            raise ConnectionError(UNEXPECTED_FRAME, describe(kind, payload))
        else:
            self._connection_method(decode_method(payload))

    def _frame_after_close(self, kind: int, channel: int, payload: bytes) -> None:
        if channel or kind != METHOD:
            return
        method = decode_method(payload)
        if isinstance(method, m.ConnectionClose):
            # Both sides closed at once: each answers the other.
            self._send_connection(m.ConnectionCloseOk())
            self._advance(m.ConnectionClose)
        elif isinstance(method, m.ConnectionCloseOk):
            self._over(*self._close_reason, False, m.ConnectionCloseOk)

    def _connection_method(self, method: Method) -> None:
        kind = type(method)
        if kind not in self._next[self.state]:
            code = CHANNEL_ERROR if self.state is State.OPEN else COMMAND_INVALID
            raise ConnectionError(code, f"unexpected method {method.name} in state {self.state.name}", kind)
        if isinstance(method, m.ConnectionClose):
            self._send_connection(m.ConnectionCloseOk())
            self._over(method.reply_code, method.reply_text, True, kind)
            self.has_last_word = True
        elif self.state is State.OPEN:
            self._advance(kind)
            self._events.append(MethodReceived(0, method))
        else:
            self._handshake(method)
