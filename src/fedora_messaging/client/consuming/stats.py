"""Counters of consumers."""

from collections import Counter
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class ConsumerStats:
    """How many deliveries of a consumer ended in which way.

    Attributes:
        received: Valid messages handed to the callback.
        processed: Messages acknowledged.
        dropped: Messages refused by :class:`~fedora_messaging.exceptions.Drop`.
        rejected: Messages put back by :class:`~fedora_messaging.exceptions.Nack`.
        failed: Messages for which the callback raised another exception.
        invalid: Deliveries not handed to a callback because they are not valid messages.
        retried: Messages postponed, to be tried again later.
        dead_lettered: Messages kept in the dead-letter queue.
        duplicates: Messages not handed to a callback because they were processed before.
        redelivered: Deliveries that the broker had delivered before.
        invalid_kinds: The invalid ones by the kind of fault: ``size``, ``properties``, ``headers``,
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
        # Another thread may be counting, so work on copies.
        mine, others = self.as_dict(), other.as_dict()
        return ConsumerStats(**{name: mine[name] + others[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {f.name: copy(getattr(self, f.name)) for f in fields(self)}
