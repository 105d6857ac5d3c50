"""What the monitoring endpoints answer, whichever server serves them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Self

from ..client.consuming.consumer import Consumer
from ..client.consuming.stats import ConsumerStats

_JSON: Final = "application/json"
#: What ``/ready`` shows, in its order: a fact of the compatible interface.
_READY_COUNTERS: Final = ("received", "processed", "dropped", "rejected", "failed")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


Endpoint = Callable[[], Answer]


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


def live(alive: bool) -> Answer:
    """Answer whether the event loop does."""
    return _json({"status": "OK" if alive else "the event loop does not answer"}, alive)


def ready(snapshot: Snapshot, always: bool = False) -> Answer:
    """Answer with the counters, and with status 503 if messages cannot come, unless ``always``."""
    body: dict[str, Any] = {
        "consuming": snapshot.consuming,
        "published": snapshot.published,
        "consumed": snapshot.ready_counters(),
    }
    if snapshot.reason is not None:
        body["reason"] = snapshot.reason
    return _json(body, always or snapshot.reason is None)


def status(snapshot: Snapshot) -> Answer:
    """Answer with all that is known."""
    return _json(
        {
            "connected": snapshot.connected,
            "consuming": snapshot.consuming,
            "ready": snapshot.reason is None,
            "reason": snapshot.reason,
            "blocked": snapshot.blocked,
            "reconnects": snapshot.reconnects,
            "published": snapshot.published,
            "consumed": snapshot.consumed.as_dict(),
            "outbox": None if snapshot.outbox is None else snapshot.outbox._asdict(),
            "in_flight": snapshot.in_flight,
            "oldest_in_flight": snapshot.oldest_in_flight,
            "last_message": snapshot.last_message,
            "queues": [
                {
                    "queue": queue.queue,
                    "consuming": queue.consuming,
                    "stalled": queue.stalled,
                    "in_flight": queue.in_flight,
                    "oldest_in_flight": queue.oldest_in_flight,
                    "last_message": queue.last_message,
                    "resubscriptions": queue.resubscriptions,
                    **queue.consumed.as_dict(),
                }
                for queue in snapshot.queues
            ],
        }
    )


def metrics(snapshot: Snapshot) -> Answer:
    """Answer in the format of Prometheus; whatever else the program has registered there is included."""
    try:
        from .prometheus import CONTENT_TYPE, exposition
    except ImportError:
        hint = b"/metrics needs prometheus-client: pip install 'fedora-messaging[metrics]'\n"
        return Answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", hint)
    return Answer(HTTPStatus.OK, CONTENT_TYPE, exposition(snapshot))


def _json(body: dict[str, Any], good: bool = True) -> Answer:
    code = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(code, _JSON, json.dumps(body).encode() + b"\n")
