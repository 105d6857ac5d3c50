"""What a program looks like at one moment, for those who watch it."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from ..client.consuming.consumer import Consumer
from ..client.consuming.stats import ConsumerStats

#: What ``/ready`` shows, in its order: a fact of the compatible interface.
_READY_COUNTERS: Final = ("received", "processed", "dropped", "rejected", "failed")


@dataclass(frozen=True)
class Snapshot:
    """The state of a process's messaging at one moment.

    Attributes:
        connected: Whether there is a connection.
        consuming: Whether messages can come.
        reason: Why the process is not ready, or ``None``.
        published: Confirmed publishes.
        consumed: What all consumers did, those that have ended included.
        reconnects: How often a connection replaced one that was lost.
        blocked: Why the broker takes no publishes now, or ``None``.
        queues: The living consumers.
        outbox: What waits to be sent, if messages are stored first.
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
        """Deliveries that are here and not settled."""
        return sum(queue.in_flight for queue in self.queues)

    @property
    def oldest_in_flight(self) -> float | None:
        """For how many seconds the oldest of them has been here; ``None`` without any."""
        ages = [queue.oldest_in_flight for queue in self.queues]
        return max((age for age in ages if age is not None), default=None)

    @property
    def last_message(self) -> float | None:
        """When the last message came, in seconds since 1970; ``None`` if none has."""
        times = [queue.last_message for queue in self.queues]
        return max((time for time in times if time is not None), default=None)

    def ready_counters(self) -> dict[str, int]:
        """Return the counters that ``/ready`` shows."""
        return {name: getattr(self.consumed, name) for name in _READY_COUNTERS}


class OutboxSnapshot(NamedTuple):
    """An outbox at one moment.

    Attributes:
        messages: How many messages are in it.
        bytes: Their bytes.
        oldest: For how many seconds the oldest has waited; ``None`` without any.
        sending: Whether it is this process that sends them.
    """

    messages: int
    bytes: int
    oldest: float | None
    sending: bool


class QueueSnapshot(NamedTuple):
    """A consumer at one moment.

    Attributes:
        queue: Name of its queue.
        consuming: Whether messages can come.
        stalled: Whether messages wait in the queue, and none arrives.
        in_flight: Deliveries that are here and not yet acknowledged or put back.
        oldest_in_flight: For how many seconds the oldest of them has been here; ``None`` without any.
        unchanged: For how many seconds none of them has been settled; 0 without any.
        last_message: When the last one came, in seconds since 1970; ``None`` if none has.
        resubscriptions: How often it was subscribed again over the same connection.
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
        """Look at a consumer.

        Args:
            consumer: Whom.
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
        """Say why messages of the queue make no progress, or ``None`` if they do."""
        if self.stalled:
            return f"no progress: messages wait in queue {self.queue!r}, and none arrives"
        if self.unchanged > stuck_after:
            return f"no progress: no message of queue {self.queue!r} was settled for {self.unchanged:.0f} s"
        return None
