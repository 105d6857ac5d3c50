"""The users of the broker and their permissions."""

import hashlib
import hmac
import ipaddress
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGURE = "configure"
WRITE = "write"
READ = "read"
#: Name of the default exchange in permissions; its own name is empty.
DEFAULT_RESOURCE = "amq.default"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Three regular expressions, which are searched for (unanchored) in the name of a resource."""

    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


@dataclass(slots=True)
class User:
    """An account.

    Attributes:
        name: Login name.
        tags: Tags, for example ``administrator``.
        permissions: Permissions by virtual host; a user has no access to a virtual host without an entry.
    """

    name: str
    salt: bytes = field(repr=False)
    password_hash: bytes | None = field(repr=False)
    tags: frozenset[str] = frozenset()
    permissions: dict[str, Permissions] = field(default_factory=dict)


class LoginRefused(Exception):
    """The broker refuses a login; the text says why, for the broker's log."""


@lru_cache(maxsize=4096)
def _matches(pattern: str, name: str) -> bool:
    return bool(pattern) and re.search(pattern, name) is not None


class Accounts:
    """All users of a broker.

    Args:
        guest: Whether to add the user ``guest`` with password ``guest`` and all rights on ``/``, who may log
            in from this machine only.
    """

    def __init__(self, guest: bool = True) -> None:
        self._users: dict[str, User] = {}
        #: Called with the name of each user who is removed, in the thread that removes it.
        self.on_removed: set[Callable[[str], None]] = set()
        #: Users who may log in over loopback or a Unix socket only.
        self.loopback_users = {"guest"}
        if guest:
            self.add_user("guest", "guest", tags=("administrator",))
            self.set_permissions("guest", "/", Permissions())

    def add_user(self, name: str, password: str | None, tags: tuple[str, ...] = ()) -> None:
        """Add a user, or change password and tags of an existing one, whose permissions stay.

        Without a password the user can log in with a certificate only.
        """
        salt = os.urandom(16)
        hashed = None if password is None else _hash(salt, password)
        before = self._users.get(name)
        permissions = {} if before is None else before.permissions
        self._users[name] = User(name, salt, hashed, frozenset(tags), permissions)

    def remove_user(self, name: str) -> None:
        """Remove a user; brokers that use these accounts end the user's connections."""
        if self._users.pop(name, None) is not None:
            for tell in list(self.on_removed):
                tell(name)

    def set_permissions(self, name: str, vhost: str, permissions: Permissions) -> None:
        """Give a user access to a virtual host.

        Raises:
            KeyError: The user does not exist.
            re.error: One of the permissions is not a regular expression.
        """
        for pattern in (permissions.configure, permissions.write, permissions.read):
            re.compile(pattern)
        self._users[name].permissions[vhost] = permissions

    def user(self, name: str) -> User | None:
        """Return a user, or ``None`` if there is none of this name."""
        return self._users.get(name)

    def login(self, name: str, password: str, peer: str | None) -> User:
        """Check a password.

        Args:
            name: Login name.
            password: Password that the client sent.
            peer: Address of the client; ``None`` for a Unix socket.

        Raises:
            LoginRefused: The login is wrong; the text is for the broker's log, not for the client.
        """
        user = self._users.get(name)
        expected = user.password_hash if user is not None else None
        # Hash in any case, so that an unknown user takes as long as a wrong password.
        actual = _hash(user.salt if user is not None else b"\0" * 16, password)
        if user is None:
            raise LoginRefused("there is no such user")
        if expected is None:
            raise LoginRefused("the user has no password, and may only log in with a certificate")
        if not hmac.compare_digest(expected, actual):
            raise LoginRefused("the password is wrong")
        self.check_origin(name, peer)
        return user

    def check_origin(self, name: str, peer: str | None) -> None:
        """Check that a user may log in from some address; ``None`` stands for a Unix socket.

        Raises:
            LoginRefused: The user may log in from this machine only.
        """
        if name in self.loopback_users and not _is_loopback(peer):
            raise LoginRefused("the user may only log in from the machine of the broker")

    def allows(self, user: User, vhost: str, permission: str, resource: str) -> bool:
        """Whether a user has a permission for an exchange or queue; ``""`` means ``amq.default``."""
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
