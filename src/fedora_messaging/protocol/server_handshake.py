"""The server's end of a connection without I/O: the server's steps of the handshake, and its notices.

The methods with which the owner answers do nothing if the client has broken off meanwhile.
"""

from collections.abc import Mapping
from typing import Any

from ..wire import methods as m
from ..wire.frames import PROTOCOL_HEADER, encode_method
from ..wire.methods import Method
from . import sasl
from .connection import VERSION, Limits, Machine
from .errors import ACCESS_REFUSED, NOT_ALLOWED, ConnectionError, reply_text
from .events import ConnectionOpened, LoginRequested, OpenRequested
from .states import Role, State, Step


class ServerMachine(Machine):
    """The server's end of a connection; a new one waits for the client's protocol header.

    Attributes:
        closes_on_refusal: Whether the client wants ``connection.close`` as the answer to a refused login.

    Raises:
        EncodingError: AMQP cannot carry a property.
    """

    def __init__(
        self,
        *,
        now: float,
        limits: Limits | None = None,
        mechanisms: tuple[str, ...] = (sasl.PLAIN, sasl.AMQPLAIN),
        server_properties: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(Role.SERVER, limits or Limits(channel_max=2047, heartbeat=60), now)
        self.closes_on_refusal: bool = False
        self._mechanisms = mechanisms
        self.server_properties: dict[str, Any] = dict(server_properties or {})
        # Encoded at the start, so that the owner gets the error for a property that AMQP cannot carry.
        self._start = m.ConnectionStart(
            *VERSION, self.server_properties, " ".join(mechanisms).encode(), b"en_US"
        ).encode()

    def accept_login(self) -> None:
        """Let the client in: its credentials are right."""
        if not self._is_in(State.AUTHENTICATING):
            return
        limits = self._limits
        self._send_connection(m.ConnectionTune(limits.channel_max, limits.frame_max, limits.heartbeat or 0))
        self._advance(Step.LOGIN_ACCEPTED)

    def refuse_login(self, mechanism: str) -> None:
        """Refuse the client: its credentials are wrong.

        A client that did not ask for ``authentication_failure_close`` gets no frame at all; the owner
        should wait a few seconds before it closes the socket.
        """
        if not self._is_in(State.AUTHENTICATING):
            return
        explanation = (
            f"Login was refused using authentication mechanism {mechanism}. "
            "For details see the broker logfile."
        )
        if self.closes_on_refusal:
            self.close(ACCESS_REFUSED, explanation)
        else:
            self._over(0, reply_text(ACCESS_REFUSED, explanation), False)

    def accept_open(self) -> None:
        """Open the virtual host: it exists, and the user may use it."""
        if not self._is_in(State.OPENING):
            return
        self._send_connection(m.ConnectionOpenOk())
        self._advance(Step.VHOST_ACCEPTED)
        self._events.append(ConnectionOpened())

    def accept_secret(self) -> None:
        """Answer ``connection.update-secret``."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionUpdateSecretOk())

    def block(self, reason: str) -> None:
        """Tell the client that the broker accepts no publishes for a while."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionBlocked(reason))

    def unblock(self) -> None:
        """Tell the client that the broker accepts publishes again."""
        if self._is_in(State.OPEN):
            self._send_connection(m.ConnectionUnblocked())

    def _before_frames(self, data: bytes) -> bytes:
        """Check the first eight bytes; returns the bytes after them."""
        if self.state is not State.EXPECT_HEADER:
            return data
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
        self._advance(Step.HEADER)
        self._out.append(encode_method(0, self._start))
        return rest

    def _handshake(self, method: Method) -> None:
        if isinstance(method, m.ConnectionStartOk):
            self._start_answered(method)
        elif isinstance(method, m.ConnectionTuneOk):
            self._tune_ok(method)
        else:
            assert isinstance(method, m.ConnectionOpen)  # the table lets no other through
            self._advance(m.ConnectionOpen)
            self._events.append(OpenRequested(method.virtual_host))

    def _start_answered(self, method: m.ConnectionStartOk) -> None:
        self._client_properties = method.client_properties
        capabilities = method.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            self.closes_on_refusal = capabilities.get("authentication_failure_close") is True
        self._advance(m.ConnectionStartOk)
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
        self._agreed(method.channel_max, method.frame_max, method.heartbeat)
        self._advance(m.ConnectionTuneOk)

    def _refuse_tuning(self, name: str, got: str, most: int) -> None:
        raise ConnectionError(
            NOT_ALLOWED,
            f"negotiated {name} = {got} is higher than the maximum allowed value ({most})",
            m.ConnectionTuneOk,
        )
