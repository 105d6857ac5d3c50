"""What the web application is allowed to do, and for whom."""

import ipaddress
from dataclasses import dataclass

#: Names of this machine that browsers use.
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """How the web application is served.

    Attributes:
        allow_changes: Whether everybody who may look may also change.
        sign_in: Whether nobody may look without signing in.
        hosts: Host names, in lower case, by which browsers may address it, besides those of this machine.
        is_encrypted: Whether browsers come over TLS, so that cookies need it.
        listens_on: The address that it listens on.
    """

    allow_changes: bool = False
    sign_in: bool = False
    hosts: frozenset[str] = frozenset()
    is_encrypted: bool = False
    listens_on: str = "127.0.0.1"

    def knows_host(self, host: str) -> bool:
        """Whether a request for this host is meant for us; another one comes from a rebound name."""
        name = host.rpartition(":")[0] if not host.endswith("]") and host.count(":") == 1 else host
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        name = name.lower().rstrip(".")
        return name in _LOCAL or name in self.hosts or name == self.listens_on.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
