"""How often clients have tried to log in, by protocol."""

from collections.abc import Iterator
from typing import NamedTuple


class Attempts(NamedTuple):
    """The logins over one protocol.

    Attributes:
        protocol: RabbitMQ's name of it.
        failed: Logins that were refused.
        succeeded: Those that were not.
    """

    protocol: str
    failed: int
    succeeded: int


class LoginCounter:
    """Counts logins until it is reset."""

    def __init__(self) -> None:
        self._counted: dict[str, Attempts] = {}

    def __iter__(self) -> Iterator[Attempts]:
        """Yield the counts of each protocol that has been used."""
        return iter(self._counted.values())

    def count(self, protocol: str, succeeded: bool) -> None:
        """Note a login."""
        old = self._counted.get(protocol, Attempts(protocol, 0, 0))
        self._counted[protocol] = Attempts(protocol, old.failed + (not succeeded), old.succeeded + succeeded)

    def reset(self) -> None:
        """Begin again."""
        self._counted.clear()
