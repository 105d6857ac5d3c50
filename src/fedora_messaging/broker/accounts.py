"""Users and what they may do."""

import hashlib
import hmac
import ipaddress
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache

CONFIGURE = "configure"
WRITE = "write"
READ = "read"
#: What the default exchange, whose name is empty, is called in permissions.
DEFAULT_RESOURCE = "amq.default"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Three regular expressions, searched for (unanchored) in the name of a resource."""

    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


@dataclass(slots=True)
class User:
    """An account.

    Attributes:
        name: Login name.
        tags: For example ``administrator``.
        permissions: By virtual host; none there means no access to it.
    """

    name: str
    salt: bytes = field(repr=False)
    password_hash: bytes | None = field(repr=False)
    tags: frozenset[str] = frozenset()
    permissions: dict[str, Permissions] = field(default_factory=dict)


class LoginRefused(Exception):
    """The broker does not accept this login; the text says why, for the broker's log."""


@lru_cache(maxsize=4096)
def _matches(pattern: str, name: str) -> bool:
    return bool(pattern) and re.search(pattern, name) is not None


class Accounts:
    """All users of a broker.

    Args:
        guest: Have the user ``guest`` with password ``guest`` and all rights on ``/``, who may only log
            in from this machine.
    """

    def __init__(self, guest: bool = True) -> None:
        self._users: dict[str, User] = {}
        #: Users who may only log in over loopback or a Unix socket.
        self.loopback_users = {"guest"}
        if guest:
            self.add_user("guest", "guest", tags=("administrator",))
            self.set_permissions("guest", "/", Permissions())

    def add_user(self, name: str, password: str | None, tags: tuple[str, ...] = ()) -> None:
        """Add or replace a user; without a password only certificates let it in."""
        salt = os.urandom(16)
        hashed = None if password is None else _hash(salt, password)
        self._users[name] = User(name, salt, hashed, frozenset(tags))

    def remove_user(self, name: str) -> None:
        """Remove a user."""
        self._users.pop(name, None)

    def set_permissions(self, name: str, vhost: str, permissions: Permissions) -> None:
        """Give a user access to a virtual host.

        Raises:
            KeyError: There is no such user.
            re.error: One of the permissions is no regular expression.
        """
        for pattern in (permissions.configure, permissions.write, permissions.read):
            re.compile(pattern)
        self._users[name].permissions[vhost] = permissions

    def user(self, name: str) -> User | None:
        """Return a user."""
        return self._users.get(name)

    def login(self, name: str, password: str, peer: str | None) -> User:
        """Check a password.

        Args:
            name: Login name.
            password: Password as given.
            peer: Address of the client; ``None`` for a Unix socket.

        Raises:
            LoginRefused: The reason is for the log of the broker, not for the client.
        """
        user = self._users.get(name)
        expected = user.password_hash if user is not None else None
        # An unknown user costs the same time as a wrong password.
        actual = _hash(user.salt if user is not None else b"\0" * 16, password)
        if user is None:
            raise LoginRefused("there is no such user")
        if expected is None:
            raise LoginRefused("the user has no password, and may only log in with a certificate")
        if not hmac.compare_digest(expected, actual):
            raise LoginRefused("the password is wrong")
        if name in self.loopback_users and not _is_loopback(peer):
            raise LoginRefused("the user may only log in from the machine of the broker")
        return user

    def allows(self, user: User, vhost: str, permission: str, resource: str) -> bool:
        """Say whether a user may do something with an exchange or queue; ``""`` is ``amq.default``."""
        permissions = user.permissions.get(vhost)
        if permissions is None:
            return False
        pattern: str = getattr(permissions, permission)
        return _matches(pattern, resource or DEFAULT_RESOURCE)


def _hash(salt: bytes, password: str) -> bytes:
    return hashlib.sha256(salt + password.encode("utf-8", "surrogateescape")).digest()


def _is_loopback(peer: str | None) -> bool:
    if peer is None:
        return True
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
