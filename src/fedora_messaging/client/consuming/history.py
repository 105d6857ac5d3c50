"""The history that a message carries from attempt to attempt, and into the dead-letter queue."""

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from ...printable import printable

if TYPE_CHECKING:
    from ...wire.property_codec import Properties

#: Header that holds the history, in a message that comes again and in one in a dead-letter queue.
HEADER: Final = "x-fedora-messaging-history"
#: This library never writes a number as high as this; counting on from a higher one could overflow a header.
_NUMBER_MAX: Final = 2**62
#: Headers that brokers add on the way through a delay queue, or that are meant for the first publish only.
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


class History(NamedTuple):
    """Where a message came from, and how often it was tried.

    Attributes:
        queue: Queue that it is consumed from.
        exchange: Exchange that it was first published to.
        topic: Routing key that it was first published with.
        attempts: How many attempts failed.
        first: When the first attempt failed, in seconds since 1970; 0 if none has.
        last: When the last attempt failed.
        reason: Why it was published again: ``retry``, ``exhausted``, ``failed`` or ``invalid``; else empty.
        error: Exception of the last attempt.
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

        Only a message that came back through a delay queue has one: it was published to the queue itself.
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
        return found._replace(queue=self.queue)

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Self | None:
        """Read a table that :meth:`as_table` wrote; ``None`` for any other."""
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
        return self._replace(
            attempts=self.attempts + 1,
            first=self.first or now,
            last=now,
            reason=reason,
            error=printable(text),
        )

    def as_table(self) -> dict[str, Any]:
        """Return the value of the header."""
        return self._asdict()


def without_traces(headers: dict[str, Any] | None) -> dict[str, Any]:
    """Return headers without those that belong to a single publish."""
    return {name: value for name, value in (headers or {}).items() if name not in _TRANSIENT_HEADERS}
