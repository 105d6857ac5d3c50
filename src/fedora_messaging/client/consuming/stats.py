"""Counters of what consumers did."""

from collections import Counter
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
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
        invalid_kinds: The invalid ones by what is wrong with them: ``size``, ``properties``, ``headers``,
            ``encoding``, ``json``, ``schema``, or ``class`` if their schema class cannot read them.
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
    invalid_kinds: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "ConsumerStats") -> "ConsumerStats":
        # Another thread may be counting; a copy is made in one go.
        mine, others = self.as_dict(), other.as_dict()
        return ConsumerStats(**{name: mine[name] + others[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {f.name: copy(getattr(self, f.name)) for f in fields(self)}
