"""Snapshots of a program's state, for monitoring."""

from typing import Final, NamedTuple, Self

from ..client.consuming.consumer import Consumer
from ..client.consuming.stats import ConsumerStats

#: The counters that ``/ready`` shows, in order; the compatible interface fixes both.
_READY_COUNTERS: Final = ("received", "processed", "dropped", "rejected", "failed")


class Snapshot(NamedTuple):
    """The state of a process's messaging at one moment.

    Attributes:
        connected: Whether there is a connection.
        consuming: Whether messages can arrive.
        reason: Why the process is not ready, or ``None``.
        published: Number of confirmed publishes.
        consumed: Counters of all consumers together, including those that have ended.
        reconnects: How often a connection replaced one that was lost.
        blocked: Why the broker currently takes no publishes, or ``None``.
        queues: The running consumers.
        outbox: The outbox, if there is one.
    """

    connected: bool
    consuming: bool
    reason: str | None
    published: int
    consumed: ConsumerStats
    reconnects: int
    blocked: str | None
    queues: tuple["QueueSnapshot", ...]
    outbox: "OutboxSnapshot | None" = None

    @property
    def in_flight(self) -> int:
        """Number of deliveries that have arrived and are not settled (acknowledged or put back)."""
        return sum(queue.in_flight for queue in self.queues)

    @property
    def oldest_in_flight(self) -> float | None:
        """Seconds since the oldest delivery in flight arrived; ``None`` without any."""
        ages = [queue.oldest_in_flight for queue in self.queues]
        return max((age for age in ages if age is not None), default=None)

    @property
    def last_message(self) -> float | None:
        """When the last message arrived, in seconds since 1970; ``None`` if none has."""
        times = [queue.last_message for queue in self.queues]
        return max((time for time in times if time is not None), default=None)

    def ready_counters(self) -> dict[str, int]:
        """Return the counters that ``/ready`` shows."""
        return {name: getattr(self.consumed, name) for name in _READY_COUNTERS}


class OutboxSnapshot(NamedTuple):
    """An outbox at one moment.

    Attributes:
        messages: Number of messages in it.
        bytes: Their total size in bytes.
        oldest: Seconds that the oldest has waited; ``None`` without any.
        sending: Whether this process sends them.
    """

    messages: int
    bytes: int
    oldest: float | None
    sending: bool


class QueueSnapshot(NamedTuple):
    """A consumer at one moment.

    Attributes:
        queue: Name of its queue.
        consuming: Whether messages can arrive.
        stalled: Whether messages wait in the queue, and none arrives.
        in_flight: Number of deliveries that have arrived and are not settled (acknowledged or put back).
        oldest_in_flight: Seconds since the oldest of them arrived; ``None`` without any.
        unchanged: Seconds for which none of them has been settled; 0 without any.
        last_message: When the last message arrived, in seconds since 1970; ``None`` if none has.
        resubscriptions: How often the client subscribed again over the same connection.
        consumed: Its counters.
    """

    queue: str
    consuming: bool
    stalled: bool
    in_flight: int
    oldest_in_flight: float | None
    unchanged: float
    last_message: float | None
    resubscriptions: int
    consumed: ConsumerStats

    @classmethod
    def of(cls, consumer: Consumer, connected: bool, now: float) -> Self:
        """Take the snapshot of a consumer.

        Args:
            consumer: The consumer.
            connected: Whether there is a connection.
            now: Seconds of the monotonic clock.
        """
        oldest, progress = consumer.oldest_unsettled, consumer.last_progress
        return cls(
            queue=consumer.queue_name,
            consuming=connected and consumer.connected,
            stalled=consumer.stalled,
            in_flight=consumer.unsettled,
            oldest_in_flight=None if oldest is None else max(0.0, now - oldest),
            unchanged=0.0 if progress is None else max(0.0, now - progress),
            last_message=consumer.last_delivery,
            resubscriptions=consumer.resubscriptions,
            consumed=consumer.stats,
        )

    def no_progress(self, stuck_after: float) -> str | None:
        """Return why messages of the queue make no progress, or ``None`` if they do."""
        if self.stalled:
            return f"no progress: messages wait in queue {self.queue!r}, and none arrives"
        if self.unchanged > stuck_after:
            return f"no progress: no message of queue {self.queue!r} was settled for {self.unchanged:.0f} s"
        return None
