"""Counting what comes and goes, under the names of RabbitMQ's statistics."""

from typing import Final

NAMES: Final = (
    "connection_created",
    "connection_closed",
    "channel_created",
    "channel_closed",
    "queue_declared",
    "queue_created",
    "queue_deleted",
)


class Churn:
    """Totals since the start of a broker or virtual host.

    Attributes:
        connection_created: Connections that opened a virtual host.
        connection_closed: Connections that ended, also before that.
        channel_created: Channels opened.
        channel_closed: Channels that ended.
        queue_declared: Declarations of queues that there were, or are now.
        queue_created: Queues that are new.
        queue_deleted: Queues that are gone.
    """

    __slots__ = NAMES

    def __init__(self) -> None:
        self.connection_created = 0
        self.connection_closed = 0
        self.channel_created = 0
        self.channel_closed = 0
        self.queue_declared = 0
        self.queue_created = 0
        self.queue_deleted = 0


def add(*parts: Churn) -> dict[str, int]:
    """Return the sums by name."""
    return {name: sum(getattr(part, name) for part in parts) for name in NAMES}
