"""How many connections and channels virtual hosts and users may have."""

from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, Final, Protocol

from ..protocol.errors import NOT_ALLOWED, ConnectionError
from ..wire import methods as m

if TYPE_CHECKING:
    from ..protocol.server_handshake import ServerMachine
    from .accounts import User
    from .core.vhost import VirtualHost

_CONNECTIONS: Final = "max-connections"
_CHANNELS: Final = "max-channels"


class Connection(Protocol):
    """The part of a session that counts."""

    machine: "ServerMachine"

    @property
    def open_vhost(self) -> "VirtualHost | None":
        """The open virtual host, or ``None`` before that."""
        ...

    @property
    def user_name(self) -> str | None:
        """Name of the user who is logged in, or ``None`` before that."""
        ...

    @property
    def channels(self) -> Sized:
        """The open channels."""
        ...


def refusal_of_connection(user: "User", vhost: "VirtualHost", sessions: Iterable[Connection]) -> str | None:
    """Return why the limits allow no other connection, or ``None`` if they do."""
    # A connection that has ended may still wait for its client to close the socket.
    alive = [session for session in sessions if session.open_vhost and not session.machine.is_closed]
    most = vhost.limits.get(_CONNECTIONS, -1)
    if 0 <= most <= sum(session.open_vhost is vhost for session in alive):
        return (
            f"access to vhost '{vhost.name}' refused for user '{user.name}': "
            f"connection limit ({most}) is reached"
        )
    most = user.limits.get(_CONNECTIONS, -1)
    if 0 <= most <= sum(session.user_name == user.name for session in alive):
        return f"connection refused for user '{user.name}': user connection limit ({most}) is reached"
    return None


def check_channels(user: "User", sessions: Iterable[Connection]) -> None:
    """Check that a user may have another channel.

    Raises:
        ConnectionError: 530.
    """
    most = user.limits.get(_CHANNELS, -1)
    if most < 0:
        return
    if sum(len(session.channels) for session in sessions if session.user_name == user.name) >= most:
        raise ConnectionError(
            NOT_ALLOWED,
            f"number of channels opened for user '{user.name}' has reached the maximum allowed user limit "
            f"of {most}",
            m.ChannelOpen,
        )
