"""A client of raw frames, for everything that well-behaved client libraries refuse to send."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import unquote, urlsplit

from pamqp import base, commands, constants, encode, frame, header

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamqp.common import FieldTable

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
WAIT = 15.0
"""Seconds within which a broker under test must answer; generous, because nothing waits for all of it."""

MethodT = TypeVar("MethodT", bound=base.Frame)


class ClosedByBrokerError(Exception):
    """The broker sent channel.close or connection.close."""

    def __init__(self, method: commands.Channel.Close | commands.Connection.Close, channel: int) -> None:
        self.on_channel = isinstance(method, commands.Channel.Close)
        self.reply_code = method.reply_code or 0
        self.reply_text = method.reply_text or ""
        self.offender = (method.class_id, method.method_id)
        self.channel = channel
        super().__init__(self.reply_code, self.reply_text)


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One frame as it came from the socket."""

    kind: int
    channel: int
    payload: bytes

    def encoded(self) -> bytes:
        return raw_frame(self.kind, self.channel, self.payload)

    def method(self) -> base.Frame:
        decoded = frame.unmarshal(self.encoded())[2]
        assert isinstance(decoded, base.Frame), f"expected a method, got frame type {self.kind}"
        return decoded


@dataclass(frozen=True, slots=True)
class Content:
    """The content that followed a basic.deliver, get-ok or return."""

    header: bytes
    frames: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)

    @property
    def property_bytes(self) -> bytes:
        """Property flags and values exactly as sent."""
        return self.header[12:]

    @property
    def properties(self) -> commands.Basic.Properties:
        decoded = header.ContentHeader()
        decoded.unmarshal(self.header)
        assert decoded.properties is not None
        return decoded.properties


def raw_frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    """Encode a frame without any check."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def content_header(size: int, property_bytes: bytes = b"\x00\x00", class_id: int = 60) -> bytes:
    """Payload of a content header frame."""
    return struct.pack(">HHQ", class_id, 0, size) + property_bytes


def table(*entries: tuple[bytes, bytes]) -> bytes:
    """A field table of encoded values."""
    content = b"".join(bytes([len(key)]) + key + value for key, value in entries)
    return struct.pack(">I", len(content)) + content


def shortstr(text: str) -> bytes:
    """A short string with its length."""
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded


def plain(user: str, password: str) -> str:
    """SASL PLAIN response."""
    return f"\x00{user}\x00{password}"


def amqplain(user: str, password: str) -> str:
    """SASL AMQPLAIN response: a field table without its length."""
    return encode.field_table({"LOGIN": user, "PASSWORD": password})[4:].decode("latin-1")


class Peer:
    """A blocking AMQP client whose every step can be left out, repeated or spoilt."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.user = unquote(parts.username or "guest")
        self.password = unquote(parts.password or "guest")
        self.vhost = unquote(parts.path[1:]) or "/"
        self.answer_close = True
        self._buffer = bytearray()
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=WAIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Close the socket without any AMQP goodbye."""
        self._socket.close()

    def finish(self) -> None:
        """Close the sending direction, as an orderly client does after close-ok."""
        self._socket.shutdown(socket.SHUT_WR)

    def write(self, data: bytes) -> None:
        """Send bytes; a broker which already hung up is found out on reading."""
        self._socket.settimeout(WAIT)
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def write_on(self, data: bytes) -> None:
        """Send bytes; the broker must still take them."""
        self._socket.settimeout(WAIT)
        self._socket.sendall(data)

    def send(self, *frames: frame.FrameTypes, channel: int = 1) -> None:
        """Send frames in one write."""
        self.write(b"".join(frame.marshal(one, channel) for one in frames))

    def send_fields(self, method_index: tuple[int, int], fields: bytes, channel: int = 1) -> None:
        """Send a method whose arguments are the given bytes, right or wrong."""
        payload = struct.pack(">HH", *method_index) + fields
        self.write(raw_frame(constants.FRAME_METHOD, channel, payload))

    def publish(
        self,
        body: bytes | Iterable[bytes] = b"",
        *,
        exchange: str = "",
        routing_key: str = "",
        property_bytes: bytes = b"\x00\x00",
        channel: int = 1,
        mandatory: bool = False,
        immediate: bool = False,
    ) -> None:
        """Publish; a body given as pieces goes out in exactly these frames."""
        pieces = ([body] if body else []) if isinstance(body, bytes) else list(body)
        publish = commands.Basic.Publish(
            exchange=exchange, routing_key=routing_key, mandatory=mandatory, immediate=immediate
        )
        size = sum(map(len, pieces))
        frames = [frame.marshal(publish, channel)]
        frames.append(raw_frame(constants.FRAME_HEADER, channel, content_header(size, property_bytes)))
        frames += [raw_frame(constants.FRAME_BODY, channel, piece) for piece in pieces]
        self.write(b"".join(frames))

    def read(self, size: int, timeout: float = WAIT) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            EOFError: The broker closed or reset the socket first.
            TimeoutError: The deadline passed first.
        """
        deadline = time.monotonic() + timeout
        while len(self._buffer) < size:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(262144)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def read_frame(self, timeout: float = WAIT) -> RawFrame:
        """Read one frame of any type."""
        kind, channel, size = struct.unpack(">BHI", self.read(7, timeout))
        rest = self.read(size + 1, timeout)
        assert rest[-1] == constants.FRAME_END
        return RawFrame(kind, channel, rest[:-1])

    def read_until_closed(self, timeout: float = WAIT) -> list[RawFrame]:
        """All frames up to the end of the stream."""
        frames = []
        deadline = time.monotonic() + timeout
        while True:
            try:
                frames.append(self.read_frame(deadline - time.monotonic()))
            except EOFError:
                return frames

    def read_method(self, timeout: float = WAIT) -> tuple[int, base.Frame]:
        """The next method and its channel; heartbeats are passed over.

        Raises:
            ClosedByBrokerError: It is a close method; it has been answered unless `answer_close` is off.
        """
        deadline = time.monotonic() + timeout
        received = self.read_frame(timeout)
        while received.kind == constants.FRAME_HEARTBEAT:
            received = self.read_frame(deadline - time.monotonic())
        method = received.method()
        if isinstance(method, commands.Channel.Close):
            if self.answer_close:
                self.send(commands.Channel.CloseOk(), channel=received.channel)
            raise ClosedByBrokerError(method, received.channel)
        if isinstance(method, commands.Connection.Close):
            if self.answer_close:
                self.send(commands.Connection.CloseOk(), channel=0)
            raise ClosedByBrokerError(method, received.channel)
        return received.channel, method

    def expect(self, method: type[MethodT], channel: int = 1) -> MethodT:
        """The next method, which must be of this class on this channel."""
        received_channel, received = self.read_method()
        assert isinstance(received, method), f"expected {method.__name__}, got {received.name}"
        assert received_channel == channel
        return received

    def call(self, request: base.Frame, reply: type[MethodT], channel: int = 1) -> MethodT:
        """Send a method and read its answer."""
        self.send(request, channel=channel)
        return self.expect(reply, channel)

    def read_content(self) -> Content:
        """The header and body frames that follow a content-bearing method."""
        head = self.read_frame()
        assert head.kind == constants.FRAME_HEADER
        remaining = struct.unpack_from(">Q", head.payload, 4)[0]
        pieces = []
        while remaining > 0:
            piece = self.read_frame()
            assert piece.kind == constants.FRAME_BODY
            pieces.append(piece.payload)
            remaining -= len(piece.payload)
        return Content(head.payload, tuple(pieces))

    def get(self, queue: str, channel: int = 1, *, no_ack: bool = True) -> Content:
        """Fetch one message, once there is one."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            self.send(commands.Basic.Get(queue=queue, no_ack=no_ack), channel=channel)
            if isinstance(self.read_method()[1], commands.Basic.GetOk):
                return self.read_content()
            time.sleep(0.01)
        raise TimeoutError(f"no message in {queue}")

    def start(self) -> commands.Connection.Start:
        """Send the protocol header."""
        self.write(PROTOCOL_HEADER)
        return self.expect(commands.Connection.Start, 0)

    def authenticate(
        self,
        mechanism: str = "PLAIN",
        response: str | None = None,
        capabilities: FieldTable | None = None,
    ) -> None:
        """Send start-ok, with the credentials of the URL unless a response is given."""
        answer = plain(self.user, self.password) if response is None else response
        properties: FieldTable = {"product": "behaviour suite", "capabilities": capabilities or {}}
        self.send(
            commands.Connection.StartOk(
                client_properties=properties, mechanism=mechanism, response=answer, locale="en_US"
            ),
            channel=0,
        )

    def tune(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0) -> None:
        """Send tune-ok."""
        self.send(commands.Connection.TuneOk(channel_max, frame_max, heartbeat), channel=0)

    def open(self, vhost: str | None = None) -> commands.Connection.OpenOk:
        """Open the virtual host, that of the URL unless another is given."""
        name = self.vhost if vhost is None else vhost
        return self.call(commands.Connection.Open(virtual_host=name), commands.Connection.OpenOk, 0)

    def login(
        self,
        channel_max: int = 2047,
        frame_max: int = 131072,
        heartbeat: int = 0,
        capabilities: FieldTable | None = None,
    ) -> Self:
        """The whole handshake."""
        self.start()
        self.authenticate(capabilities=capabilities)
        self.expect(commands.Connection.Tune, 0)
        self.tune(channel_max, frame_max, heartbeat)
        self.open()
        return self

    def open_channel(self, channel: int = 1) -> Self:
        """Open a channel."""
        self.call(commands.Channel.Open(), commands.Channel.OpenOk, channel)
        return self

    def roundtrip(self, channel: int = 1) -> None:
        """Wait until the broker has worked through what was sent on this channel."""
        probe = commands.Exchange.Declare(exchange="amq.direct", passive=True)
        self.call(probe, commands.Exchange.DeclareOk, channel)
