"""Who a client is: by name and password, by its certificate, or nobody in particular."""

from collections.abc import Callable
from typing import Any

from ..printable import printable
from ..protocol import sasl
from ..protocol.events import LoginRequested
from .accounts import Accounts, LoginRefused, User


def authenticate(
    accounts: Accounts, event: LoginRequested, peer_host: str | None, peer_certificate: Callable[[], Any]
) -> User:
    """Find the user who logs in.

    Args:
        accounts: All users.
        event: What the client sent.
        peer_host: The client's IP address; ``None`` on a Unix socket.
        peer_certificate: Returns the client's certificate in the form of :meth:`ssl.SSLSocket.getpeercert`.

    Raises:
        LoginRefused: There is no such user, or the password is wrong; the text is for the log.
    """
    if event.mechanism == sasl.EXTERNAL:
        return _user_of_certificate(accounts, _common_name(peer_certificate()), peer_host)
    if event.mechanism == sasl.ANONYMOUS:
        return accounts.login("guest", "guest", peer_host)
    login = sasl.parse_response(event.mechanism, event.response)
    if login is None:
        raise LoginRefused("the client sent no name and password")
    name, password = login
    try:
        return accounts.login(name, password, peer_host)
    except LoginRefused as error:
        raise LoginRefused(f"user {printable(name)}: {error}") from None


def _user_of_certificate(accounts: Accounts, name: str | None, peer_host: str | None) -> User:
    if name is None:
        raise LoginRefused("the client has no certificate, or one without a common name")
    user = accounts.user(name)
    if user is None:
        raise LoginRefused(
            f"user {printable(name)}, the common name of the certificate: there is no such user"
        )
    accounts.check_origin(name, peer_host)
    return user


def _common_name(certificate: Any) -> str | None:
    if not isinstance(certificate, dict):
        return None
    for part in certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
