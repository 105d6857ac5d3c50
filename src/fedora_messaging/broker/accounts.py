"""The users of the broker and their permissions."""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ..logs import REPEATABLE, logger
from ..printable import printable
from ..validation import guarded_regex
from .passwords import PasswordHash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logger(__name__)

CONFIGURE = "configure"
WRITE = "write"
READ = "read"
#: Name of the default exchange in permissions; its own name is empty.
DEFAULT_RESOURCE = "amq.default"
#: No password matches it, in the time that any hash takes.
_NO_PASSWORD: Final = PasswordHash()


@dataclass(frozen=True, slots=True)
class Permissions:
    """Three regular expressions, which are searched for (unanchored) in the name of a resource."""

    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


@dataclass(frozen=True, slots=True)
class TopicPermissions:
    """Two regular expressions, which are searched for in the routing keys of a topic exchange.

    In them ``{username}`` and ``{vhost}`` stand for the name of the user and of the virtual host.
    """

    write: str = ".*"
    read: str = ".*"


@dataclass(slots=True)
class User:
    """An account.

    Attributes:
        name: Login name.
        password: Hash of the password; ``None`` if the user may log in with a certificate only.
        tags: Tags, for example ``administrator``.
        permissions: Permissions by virtual host; a user has no access to a virtual host without an entry.
        topic_permissions: By virtual host and topic exchange; without an entry every routing key is allowed.
        limits: ``max-connections`` and ``max-channels``; a negative number is no limit.
    """

    name: str
    password: PasswordHash | None = field(repr=False)
    tags: tuple[str, ...] = ()
    permissions: dict[str, Permissions] = field(default_factory=dict)
    topic_permissions: dict[tuple[str, str], TopicPermissions] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)


class LoginRefused(Exception):
    """The broker refuses a login; the text says why, for the broker's log."""


@lru_cache(maxsize=4096)
def _matches(pattern: str, name: str) -> bool:
    if not pattern:
        return False
    try:
        with guarded_regex.budget():
            return guarded_regex.search(pattern, name)
    except guarded_regex.TooCostlyError:
        _log.warning(
            "The permission %s is refused for %s: the search could take too long. Write it without "
            "repetitions inside repetitions",
            printable(pattern),
            printable(name),
            extra=REPEATABLE,
        )
        return False


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
        self.loopback_users: set[str] = {"guest"}
        if guest:
            self.add_user("guest", "guest", tags=("administrator",))
            self.set_permissions("guest", "/", Permissions())

    def __iter__(self) -> "Iterator[User]":
        return iter(list(self._users.values()))

    def add_user(self, name: str, password: str | None, tags: tuple[str, ...] = ()) -> None:
        """Add a user, or change password and tags of an existing one, whose permissions stay.

        Without a password the user can log in with a certificate only.
        """
        self.add_hashed_user(name, None if password is None else PasswordHash.of(password), tags)

    def add_hashed_user(self, name: str, password: PasswordHash | None, tags: tuple[str, ...] = ()) -> None:
        """Add a user whose password is known by its hash only, or change an existing one."""
        user = self._users.setdefault(name, User(name, password))
        user.password, user.tags = password, tags

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
            guarded_regex.check(pattern)
        self._users[name].permissions[vhost] = permissions

    def set_topic_permissions(
        self, name: str, vhost: str, exchange: str, permissions: TopicPermissions
    ) -> None:
        """Limit the routing keys that a user may use with a topic exchange.

        Raises:
            KeyError: The user does not exist.
            re.error: One of the permissions is not a regular expression.
        """
        for pattern in (permissions.write, permissions.read):
            guarded_regex.check(pattern)
        self._users[name].topic_permissions[vhost, exchange] = permissions

    def forget_vhost(self, vhost: str) -> None:
        """Remove all permissions for a virtual host that is gone."""
        for user in self._users.values():
            user.permissions.pop(vhost, None)
            for key in [key for key in user.topic_permissions if key[0] == vhost]:
                del user.topic_permissions[key]

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
        expected = user.password if user is not None else None
        # Hash in any case, so that an unknown user takes as long as a wrong password.
        is_right = (expected or _NO_PASSWORD).matches(password)
        if user is None:
            raise LoginRefused("there is no such user")
        if expected is None:
            raise LoginRefused("the user has no password, and may only log in with a certificate")
        if not is_right:
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

    def allows_topic(self, user: User, vhost: str, permission: str, exchange: str, key: str) -> bool:
        """Whether a user may use a routing key with a topic exchange."""
        permissions = user.topic_permissions.get((vhost, exchange))
        if permissions is None:
            return True
        pattern: str = getattr(permissions, permission)
        for name, value in (("{username}", user.name), ("{vhost}", vhost)):
            pattern = pattern.replace(name, re.escape(value))
        return _matches(pattern or "^$", key)


def _is_loopback(peer: str | None) -> bool:
    if peer is None:
        return True
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
