"""The client's end of a connection without I/O: the client's steps of the handshake, and opening channels."""

from collections.abc import Mapping
from typing import Any, Final

from ..printable import printable
from ..wire import methods as m
from ..wire.frames import PROTOCOL_HEADER, encode_method
from ..wire.methods import Method
from . import sasl
from .connection import CHANNEL_MAX, VERSION, Limits, Machine
from .errors import NOT_ALLOWED, NOT_IMPLEMENTED, SYNTAX_ERROR, ConnectionError
from .events import ConnectionOpened
from .states import Role, State

#: RabbitMQ 4.1 refuses a lower frame_max, so we neither offer nor accept one (promises P18 and P29).
CLIENT_FRAME_MAX_FLOOR: Final = 8192


class ClientMachine(Machine):
    """The client's end of a connection; a new one has the protocol header ready to send.

    Raises:
        EncodingError: AMQP cannot carry a setting.
    """

    def __init__(
        self,
        *,
        now: float,
        limits: Limits | None = None,
        vhost: str = "/",
        username: str = "guest",
        password: str = "guest",  # noqa: S107 - the protocol's well-known default
        mechanism: str = sasl.PLAIN,
        locale: str = "en_US",
        client_properties: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(Role.CLIENT, limits or Limits(), now)
        m.ConnectionTuneOk(self.channel_max, self.frame_max, self._limits.heartbeat or 0).encode()
        response = sasl.initial_response(mechanism, username, password)
        self._mechanism = mechanism
        self._client_properties = dict(client_properties or {})
        # Encoded at the start, so that the owner gets the error for a setting that AMQP cannot carry.
        self._start_ok = m.ConnectionStartOk(self._client_properties, mechanism, response, locale).encode()
        self._open = m.ConnectionOpen(vhost).encode()
        self._out.append(PROTOCOL_HEADER)

    def open_channel(self, channel: int) -> None:
        """Open a channel; ``ChannelOpened`` follows, or the end of the connection.

        Raises:
            RuntimeError: The number is in use, or above the negotiated maximum.
        """
        if self._is_in(State.OPEN):
            self._channels.open(channel)

    def free_channel(self) -> int | None:
        """Return the lowest channel number not in use, or ``None``."""
        return self._channels.free()

    def _before_frames(self, data: bytes) -> bytes:
        """Recognise the refusal of our version: the server answers with its own header and hangs up."""
        if self.state is not State.EXPECT_START:
            return data
        self._header = (self._header + data)[:8]
        if not self._header.startswith(b"AMQP"):
            return data
        if len(self._header) == 8:
            version = ".".join(str(byte) for byte in self._header[4:])
            self._over(0, f"the server does not speak AMQP 0-9-1 but offers protocol {version}", True)
        return b""

    def _handshake(self, method: Method) -> None:
        if isinstance(method, m.ConnectionStart):
            self._started(method)
        elif isinstance(method, m.ConnectionSecure):
            raise ConnectionError(SYNTAX_ERROR, "challenge in a mechanism that has none", m.ConnectionSecure)
        elif isinstance(method, m.ConnectionTune):
            self._tuned(method)
        else:
            assert isinstance(method, m.ConnectionOpenOk)  # the table lets no other through
            self._advance(m.ConnectionOpenOk)
            self._events.append(ConnectionOpened())

    def _started(self, method: m.ConnectionStart) -> None:
        if (method.version_major, method.version_minor) != VERSION:
            raise ConnectionError(
                NOT_IMPLEMENTED,
                f"the server speaks AMQP {method.version_major}-{method.version_minor}",
                m.ConnectionStart,
            )
        self.server_properties: dict[str, Any] = method.server_properties
        offered = method.mechanisms.decode("ascii", "replace").split()
        if self._mechanism not in offered:
            others = printable(" ".join(offered)) or "none"
            raise ConnectionError(
                NOT_ALLOWED,
                f"the server does not offer mechanism {self._mechanism}, but {others}",
                m.ConnectionStart,
            )
        self._out.append(encode_method(0, self._start_ok))
        self._advance(m.ConnectionStart)

    def _tuned(self, method: m.ConnectionTune) -> None:
        limits = self._limits
        channel_max = min(method.channel_max or CHANNEL_MAX, limits.channel_max)
        frame_max = min(method.frame_max or limits.frame_max, limits.frame_max)
        if frame_max < CLIENT_FRAME_MAX_FLOOR:
            raise ConnectionError(
                NOT_ALLOWED,
                f"frame_max {frame_max} is below {CLIENT_FRAME_MAX_FLOOR}",
                m.ConnectionTune,
            )
        heartbeat = method.heartbeat
        if limits.heartbeat is not None:
            both = heartbeat and limits.heartbeat
            heartbeat = min(heartbeat, limits.heartbeat) if both else limits.heartbeat
        self._agreed(channel_max, frame_max, heartbeat)
        self._send_connection(m.ConnectionTuneOk(channel_max, frame_max, heartbeat))
        self._out.append(encode_method(0, self._open))
        self._advance(m.ConnectionTune)
