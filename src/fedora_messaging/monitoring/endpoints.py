"""Answers of the monitoring endpoints; our own HTTP server and Twisted's both serve them."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from .snapshot import Snapshot

_JSON: Final = "application/json"


class Answer(NamedTuple):
    """An HTTP answer."""

    status: HTTPStatus
    content_type: str
    body: bytes


Endpoint = Callable[[], Answer]


def live(alive: bool) -> Answer:
    """Answer whether the event loop responds."""
    return _json({"status": "OK" if alive else "the event loop does not answer"}, alive)


def ready(snapshot: Snapshot, always: bool = False) -> Answer:
    """Answer with the counters; the status is 503 if messages cannot arrive, unless ``always`` is set."""
    body: dict[str, Any] = {
        "consuming": snapshot.consuming,
        "published": snapshot.published,
        "consumed": snapshot.ready_counters(),
    }
    if snapshot.reason is not None:
        body["reason"] = snapshot.reason
    return _json(body, always or snapshot.reason is None)


def status(snapshot: Snapshot) -> Answer:
    """Answer with the complete snapshot."""
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
    """Answer in the format of Prometheus, including other metrics that the program has registered."""
    try:
        from .prometheus import CONTENT_TYPE, exposition
    except ImportError:
        hint = b"/metrics needs prometheus-client: pip install 'fedora-messaging[metrics]'\n"
        return Answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", hint)
    return Answer(HTTPStatus.OK, CONTENT_TYPE, exposition(snapshot))


def _json(body: dict[str, Any], good: bool = True) -> Answer:
    code = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(code, _JSON, json.dumps(body).encode() + b"\n")
