"""Counters of consumers."""

from collections import Counter
from copy import copy
from typing import Any


# Not a data class: see `options`.
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

    def __init__(
        self,
        received: int = 0,
        processed: int = 0,
        dropped: int = 0,
        rejected: int = 0,
        failed: int = 0,
        invalid: int = 0,
        retried: int = 0,
        dead_lettered: int = 0,
        duplicates: int = 0,
        redelivered: int = 0,
        invalid_kinds: Counter[str] | None = None,
    ) -> None:
        self.received = received
        self.processed = processed
        self.dropped = dropped
        self.rejected = rejected
        self.failed = failed
        self.invalid = invalid
        self.retried = retried
        self.dead_lettered = dead_lettered
        self.duplicates = duplicates
        self.redelivered = redelivered
        self.invalid_kinds: Counter[str] = Counter[str]() if invalid_kinds is None else invalid_kinds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConsumerStats) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        return f"ConsumerStats({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def __add__(self, other: "ConsumerStats") -> "ConsumerStats":
        # Another thread may be counting, so work on copies.
        mine, others = self.as_dict(), other.as_dict()
        return ConsumerStats(**{name: mine[name] + others[name] for name in mine})

    def as_dict(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {name: copy(value) for name, value in self.__dict__.items()}
