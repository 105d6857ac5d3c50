"""What a user may do in a virtual host, and how refusals are worded."""

from typing import TYPE_CHECKING

from ..protocol.errors import ACCESS_REFUSED, ChannelError
from .accounts import CONFIGURE, DEFAULT_RESOURCE, READ, WRITE

if TYPE_CHECKING:
    from .accounts import Accounts, User
    from .core.exchanges import Exchange
    from .core.vhost import VirtualHost


class Permissions:
    """Checks what a user may do in a virtual host."""

    def __init__(self, accounts: "Accounts", user: "User", vhost: "VirtualHost") -> None:
        self._accounts = accounts
        self._user = user
        self._vhost = vhost

    def refusal(self, permission: str, kind: str, name: str) -> str | None:
        """Return why the user may not use a queue or exchange; ``None`` if the user may."""
        if self._accounts.allows(self._user, self._vhost.name, permission, name):
            return None
        return self._refused(permission, f"{kind} '{name or DEFAULT_RESOURCE}'")

    def topic_refusal(self, permission: str, exchange: "Exchange", routing_key: str) -> str | None:
        """Return why the user may not use a routing key with an exchange; ``None`` if the user may."""
        if not self._user.topic_permissions or exchange.type != "topic":
            return None
        vhost = self._vhost.name
        if self._accounts.allows_topic(self._user, vhost, permission, exchange.name, routing_key):
            return None
        return self._refused(permission, f"topic '{routing_key}' in exchange '{exchange.name}'")

    def _refused(self, permission: str, what: str) -> str:
        access = f"{permission} access" if self._vhost.profile.names_permission else "access"
        return f"{access} to {what} in vhost '{self._vhost.name}' refused for user '{self._user.name}'"

    def require(self, permission: str, kind: str, name: str) -> None:
        """Check a permission for a queue or exchange.

        Raises:
            ChannelError: 403.
        """
        refusal = self.refusal(permission, kind, name)
        if refusal is not None:
            raise ChannelError(ACCESS_REFUSED, refusal)

    def require_topic(self, permission: str, exchange: "Exchange | None", routing_key: str) -> None:
        """Check that the user may use a routing key with an exchange, if that is a topic exchange.

        Raises:
            ChannelError: 403.
        """
        refusal = self.topic_refusal(permission, exchange, routing_key) if exchange is not None else None
        if refusal is not None:
            raise ChannelError(ACCESS_REFUSED, refusal)

    def require_any(self, kind: str, name: str) -> None:
        """Check that the user has any permission at all, for releases that ask for that.

        Raises:
            ChannelError: 403.
        """
        if not self._vhost.profile.passive_needs_permission:
            return
        if all(self.refusal(permission, kind, name) is not None for permission in (READ, WRITE)):
            self.require(CONFIGURE, kind, name)
