"""Counters of what consumers did."""

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class ConsumerStats:
    """What became of the deliveries of a consumer.

    Attributes:
        received: Valid messages handed to the callback.
        processed: Acknowledged.
        dropped: Refused by :class:`~fedora_messaging.exceptions.Drop`.
        rejected: Put back by :class:`~fedora_messaging.exceptions.Nack`.
        failed: The callback raised something else.
        invalid: Not handed to a callback because they are no valid messages.
        retried: Put off to be tried again later.
        dead_lettered: Kept in the dead-letter queue.
        duplicates: Not handed to a callback because they were processed before.
        redelivered: Deliveries that had been out before.
    """

    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    invalid: int = 0
    retried: int = 0
    dead_lettered: int = 0
    duplicates: int = 0
    redelivered: int = 0

    def __add__(self, other: "ConsumerStats") -> "ConsumerStats":
        return ConsumerStats(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)
