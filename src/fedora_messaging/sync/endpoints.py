"""What the monitoring endpoints answer, whichever server serves them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from ..client.stats import ConsumerStats

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
    """

    connected: bool
    consuming: bool
    reason: str | None
    published: int
    consumed: ConsumerStats
    reconnects: int
    blocked: str | None
    queues: tuple["QueueSnapshot", ...]

    def ready_counters(self) -> dict[str, int]:
        """Return the counters that ``/ready`` shows."""
        return {name: getattr(self.consumed, name) for name in _READY_COUNTERS}


class QueueSnapshot(NamedTuple):
    """A consumer at one moment.

    Attributes:
        unsettled: Deliveries that are here and not yet acknowledged or put back.
        last_delivery: When the last one came, in seconds since 1970; ``None`` if none has.
    """

    queue: str
    consuming: bool
    unsettled: int
    last_delivery: float | None
    consumed: ConsumerStats


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
            "queues": [
                {
                    "queue": queue.queue,
                    "consuming": queue.consuming,
                    "unsettled": queue.unsettled,
                    "last_delivery": queue.last_delivery,
                    **queue.consumed.as_dict(),
                }
                for queue in snapshot.queues
            ],
        }
    )


def metrics(snapshot: Snapshot) -> Answer:
    """Answer in the format of Prometheus; whatever else the program has registered there is included."""
    try:
        from .metrics import CONTENT_TYPE, exposition
    except ImportError:
        hint = b"/metrics needs prometheus-client: pip install 'fedora-messaging[metrics]'\n"
        return Answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", hint)
    return Answer(HTTPStatus.OK, CONTENT_TYPE, exposition(snapshot))


def _json(body: dict[str, Any], good: bool = True) -> Answer:
    code = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(code, _JSON, json.dumps(body).encode() + b"\n")
