"""The channels of one connection without I/O, for either end: their states, requests and contents."""

from collections import deque
from typing import Final

from ..exceptions import EncodingError
from ..wire import methods as m
from ..wire.frames import (
    CONTENT_HEADER_SIZE,
    METHOD,
    OVERHEAD,
    encode_content,
    encode_method,
    split_content,
)
from ..wire.methods import Method, decode_method
from .content import Assembly
from .errors import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    NOT_ALLOWED,
    REPLY_SUCCESS,
    RESOURCE_ERROR,
    UNEXPECTED_FRAME,
    ConnectionError,
    short_text,
)
from .events import ChannelEnded, ChannelOpened, Event, MethodReceived
from .states import CHANNEL, CHANNEL_RECEIVES, REPLIES, ChannelState, Input, Role, Step

#: Limit for incomplete contents on all channels of a connection together, in contents of the largest size.
_UNFINISHED: Final = 2
#: Bytes of a body from which on it is not copied before it is written.
_LARGE: Final = 262144


class _Channel:
    """What the connection knows about one channel."""

    __slots__ = ("assembly", "close_reason", "expects", "number", "state")

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = ChannelState.CLOSED
        # Client: the answers that must come, oldest first.
        self.expects: deque[tuple[type[Method], ...]] = deque()
        self.assembly: Assembly | None = None
        self.close_reason = (REPLY_SUCCESS, "")


class Channels:
    """All channels of a connection.

    Args:
        role: Which end of the connection this is.
        max_body: Largest message body in bytes that is kept.
        out: Collects the bytes to send.
        events: Collects the events for the owner.

    Attributes:
        most: Negotiated number of channels that may be open at a time. The client uses the numbers up to it;
            a client of the server may use any, as with RabbitMQ.
        frame_max: Negotiated largest frame.
        unsent: Bytes of contents that were added to ``out`` since the connection last emptied it.
        unfinished: Bytes received of contents that are not complete yet.
    """

    def __init__(self, role: Role, max_body: int, out: list[bytes | memoryview], events: list[Event]) -> None:
        self.most = 0
        self.frame_max = 0
        self.unsent: int = 0
        self.unfinished: int = 0
        self._role = role
        self._next = CHANNEL[role]
        self._receives = CHANNEL_RECEIVES[role]
        self._max_body = max_body
        self._out = out
        self._events = events
        self._channels: dict[int, _Channel] = {}

    def forget(self) -> None:
        """Forget all channels, because the connection is about to end."""
        self._channels.clear()
        self.unfinished = 0

    # Called by the owner

    def send_method(self, number: int, method: Method) -> None:
        """Send a method without content; see :meth:`.connection.Machine.send_method`."""
        channel = self._open_channel(number)
        if channel is None:
            return
        payload = method.encode()
        if self._role is Role.CLIENT:
            self._check_size(len(payload), f"the names and arguments of {method.name} take")
            replies = REPLIES.get(type(method))
            if replies is not None and not getattr(method, "no_wait", False):
                channel.expects.append(replies)
        self._out.append(encode_method(number, payload))

    def send_content(self, number: int, method: bytes, properties: bytes, body: bytes) -> None:
        """Send an encoded method with its content; see :meth:`.connection.Machine.send_content`."""
        if self._open_channel(number) is not None:
            if self._role is Role.CLIENT:
                size = CONTENT_HEADER_SIZE + len(properties)
                self._check_size(size, "the headers and other properties of the message take")
            if len(body) < _LARGE:
                self.send_frames(number, encode_content(number, method, properties, body, self.frame_max))
                return
            pieces = split_content(number, method, properties, body, self.frame_max)
            self._out += pieces
            self.unsent += sum(map(len, pieces))

    def send_frames(self, number: int, data: bytes) -> None:
        """Send frames that were encoded for this channel and this ``frame_max`` beforehand."""
        if self._open_channel(number) is not None:
            self._out.append(data)
            self.unsent += len(data)

    def _check_size(self, size: int, what: str) -> None:
        """Refuse a payload too large for a frame: AMQP cannot split it, and the peer would disconnect us."""
        most = self.frame_max - OVERHEAD
        if size > most:
            raise EncodingError(
                f"{what} {size} bytes, but one frame of this connection holds at most {most} "
                f"(frame_max is {self.frame_max}); make them shorter, or move what is long to the body"
            )

    def open(self, number: int) -> None:
        """Client: ask for a channel.

        Raises:
            RuntimeError: The number is in use, or above the negotiated maximum.
        """
        if not 0 < number <= self.most or number in self._channels:
            raise RuntimeError(f"channel {number} is not free")
        channel = self._channels[number] = _Channel(number)
        self._advance(channel, Step.OPEN)
        channel.expects.append(REPLIES[m.ChannelOpen])
        self._out.append(encode_method(number, m.ChannelOpen().encode()))

    def close(self, number: int, reply_code: int, text: str, method: type[Method] | None) -> None:
        """Close a channel; contents that still arrive on it are discarded."""
        channel = self._open_channel(number)
        if channel is None:
            return
        class_id, method_id = method.key if method is not None else (0, 0)
        text = short_text(text)
        close = m.ChannelClose(reply_code, text, class_id, method_id)
        self._out.append(encode_method(number, close.encode()))
        self._advance(channel, Step.CLOSE)
        channel.close_reason = (reply_code, text)
        if channel.assembly is not None:
            self.unfinished -= channel.assembly.size
            channel.assembly = None

    def free(self) -> int | None:
        """Client: return the lowest channel number not in use, or ``None``."""
        for number in range(1, self.most + 1):
            if number not in self._channels:
                return number
        return None

    def _open_channel(self, number: int) -> _Channel | None:
        channel = self._channels.get(number)
        return channel if channel is not None and channel.state is ChannelState.OPEN else None

    def _advance(self, channel: _Channel, what: Input) -> None:
        channel.state = self._next[channel.state][what]
        if channel.state is ChannelState.CLOSED:
            del self._channels[channel.number]

    # Received frames

    def receive(self, kind: int, number: int, payload: bytes) -> None:
        """Process a frame that arrived on a channel of the open connection.

        Raises:
            ConnectionError: The protocol does not allow the frame now.
            WireError: The frame cannot be decoded.
        """
        channel = self._channels.get(number)
        if channel is None:
            self._without_channel(kind, number, payload)
        elif channel.state is ChannelState.CLOSING:
            self._while_closing(channel, kind, payload)
        elif channel.assembly is not None:
            self._content(channel, channel.assembly, kind, payload)
        elif kind == METHOD:
            self._method(channel, decode_method(payload))
        else:
            raise ConnectionError(UNEXPECTED_FRAME, "expected method frame, got non method frame instead")

    def _without_channel(self, kind: int, number: int, payload: bytes) -> None:
        method = decode_method(payload) if kind == METHOD else None
        if type(method) not in self._next[ChannelState.CLOSED]:
            raise ConnectionError(
                CHANNEL_ERROR, "expected 'channel.open'", type(method) if method is not None else None
            )
        if len(self._channels) >= self.most:
            self._check_room()
        channel = self._channels[number] = _Channel(number)
        self._advance(channel, m.ChannelOpen)
        self._out.append(encode_method(number, m.ChannelOpenOk().encode()))
        self._events.append(ChannelOpened(number))

    def _check_room(self) -> None:
        """Check that one more channel may be open.

        As in RabbitMQ, a channel that we have closed no longer counts, although the peer has not answered
        yet. But it takes memory, so there may be no more of these than of open ones.
        """
        states = [channel.state for channel in self._channels.values()]
        opened = states.count(ChannelState.OPEN)
        if opened >= self.most or len(states) >= 2 * self.most:
            raise ConnectionError(
                NOT_ALLOWED,
                f"number of channels opened ({opened}) has reached the negotiated channel_max ({self.most})",
                m.ChannelOpen,
            )

    def _while_closing(self, channel: _Channel, kind: int, payload: bytes) -> None:
        if kind != METHOD:
            return
        method = decode_method(payload)
        if type(method) not in self._next[ChannelState.CLOSING]:
            return
        self._advance(channel, type(method))
        if isinstance(method, m.ChannelClose):
            # Both sides closed at once: each answers the other.
            self._out.append(encode_method(channel.number, m.ChannelCloseOk().encode()))
        else:
            self._events.append(ChannelEnded(channel.number, *channel.close_reason, False))

    def _content(self, channel: _Channel, assembly: Assembly, kind: int, payload: bytes) -> None:
        before = assembly.size
        content = assembly.frame(kind, channel.number, payload)
        if content is not None:
            self.unfinished -= before
            channel.assembly = None
            self._events.append(content)
            return
        self.unfinished += assembly.size - before
        if self.unfinished > _UNFINISHED * (self._max_body + self.frame_max):
            raise ConnectionError(
                RESOURCE_ERROR, f"{self.unfinished} bytes of unfinished contents on this connection"
            )

    def _method(self, channel: _Channel, method: Method) -> None:
        kind = type(method)
        if channel.state is ChannelState.OPEN and kind in self._receives:
            self._received(channel, method)
        elif isinstance(method, m.ChannelClose):
            self._advance(channel, m.ChannelClose)
            self._out.append(encode_method(channel.number, m.ChannelCloseOk().encode()))
            self._events.append(ChannelEnded(channel.number, method.reply_code, method.reply_text, True))
        elif channel.expects and kind in channel.expects[0]:
            channel.expects.popleft()
            if kind is m.ChannelOpenOk:
                self._advance(channel, kind)
                self._events.append(ChannelOpened(channel.number))
            else:
                self._received(channel, method)
        elif kind is m.ChannelOpen:
            raise ConnectionError(CHANNEL_ERROR, "second 'channel.open' seen", kind)
        elif kind is m.ChannelCloseOk:
            raise ConnectionError(CHANNEL_ERROR, "unexpected 'channel.close-ok'", kind)
        else:
            text = f"unexpected method {method.name} on channel {channel.number}"
            raise ConnectionError(COMMAND_INVALID, text, kind)

    def _received(self, channel: _Channel, method: Method) -> None:
        if method.has_content:
            channel.assembly = Assembly(method, self._max_body)
        else:
            self._events.append(MethodReceived(channel.number, method))
