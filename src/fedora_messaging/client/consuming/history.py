"""What a message carries from attempt to attempt, and into the dead-letter queue."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from ...printable import printable

if TYPE_CHECKING:
    from ...wire.properties import Properties

#: Header of a message that comes again, and of one in a dead-letter queue.
HEADER: Final = "x-fedora-messaging-history"
#: What is beyond comes from no program of ours, and one more would not fit into a header.
_NUMBER_MAX: Final = 2**62
#: Added by brokers on the way through a delay queue, or meant for the first publish only.
_TRANSIENT_HEADERS: Final = (
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "CC",
    "BCC",
)


@dataclass(frozen=True)
class History:
    """Where a message came from, and how often it was tried.

    Attributes:
        queue: Queue it is consumed from.
        exchange: Exchange it was published to at first.
        topic: Routing key it was published with at first.
        attempts: Attempts that failed.
        first: When the first of them did, in seconds since 1970; 0 if none has.
        last: When the last of them did.
        reason: Why it is here: ``retry``, ``exhausted``, ``failed`` or ``invalid``; empty at first.
        error: What the last attempt raised.
    """

    queue: str
    exchange: str
    topic: str
    attempts: int = 0
    first: int = 0
    last: int = 0
    reason: str = ""
    error: str = ""

    def taken_from(self, properties: "Properties") -> Self:
        """Read the history that a message carries, and remove it from the headers that the callback sees.

        Only what came back by way of a delay queue carries one: then it was published to the queue itself.
        """
        headers = properties.headers
        if self.exchange != "" or self.topic != self.queue or not isinstance(headers, dict):
            return self
        table = headers.get(HEADER)
        found = self.from_table(table) if isinstance(table, dict) else None
        if found is None:
            return self
        for name in (HEADER, *_TRANSIENT_HEADERS):
            headers.pop(name, None)
        return replace(found, queue=self.queue)

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Self | None:
        """Read what :meth:`as_table` wrote; anything else gives ``None``."""
        try:
            history = cls(**table)
        except TypeError:
            return None
        texts = (history.queue, history.exchange, history.topic, history.reason, history.error)
        numbers = (history.attempts, history.first, history.last)
        sound = all(isinstance(text, str) for text in texts) and all(
            isinstance(number, int) and 0 <= number <= _NUMBER_MAX for number in numbers
        )
        return history if sound else None

    def failed(self, reason: str, error: BaseException | str) -> Self:
        """Return the history with one more failure."""
        now = int(time.time())
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        return replace(
            self,
            attempts=self.attempts + 1,
            first=self.first or now,
            last=now,
            reason=reason,
            error=printable(text),
        )

    def as_table(self) -> dict[str, Any]:
        """Return the header's value."""
        return dict(self.__dict__)


def without_traces(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Return headers without those that hold for one publish only."""
    return {name: value for name, value in (headers or {}).items() if name not in _TRANSIENT_HEADERS}
