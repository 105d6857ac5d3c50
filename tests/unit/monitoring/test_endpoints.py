"""The answers of the monitoring endpoints: status, type and body."""

from __future__ import annotations

import json
import sys
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.monitoring import endpoints
from fedora_messaging.monitoring.snapshot import OutboxSnapshot, QueueSnapshot, Snapshot

if TYPE_CHECKING:
    from fedora_messaging.monitoring.endpoints import Answer

IDLE = Snapshot(True, False, None, 0, ConsumerStats(), 0, None, ())
BUSY = Snapshot(
    connected=True,
    consuming=True,
    reason=None,
    published=11,
    consumed=ConsumerStats(6, 5, 4, 3, 2, invalid=1, invalid_kinds=Counter(json=1)),
    reconnects=12,
    blocked="low on memory",
    queues=(
        QueueSnapshot("a", True, False, 3, 1.5, 0.5, 1000.25, 2, ConsumerStats(received=6)),
        QueueSnapshot('"ü\n', False, True, 0, None, 0.0, None, 0, ConsumerStats()),
    ),
    outbox=OutboxSnapshot(7, 700, 2.5, False),
)


def body(answer: Answer) -> Any:
    assert answer.content_type == "application/json"
    assert answer.body.endswith(b"\n")
    return json.loads(answer.body)


@pytest.mark.parametrize(
    ("alive", "status", "text"),
    [
        (True, HTTPStatus.OK, b'{"status": "OK"}\n'),
        (False, HTTPStatus.SERVICE_UNAVAILABLE, b'{"status": "the event loop does not answer"}\n'),
    ],
)
def test_live(alive: bool, status: HTTPStatus, text: bytes) -> None:
    assert endpoints.live(alive) == (status, "application/json", text)


def test_ready_has_the_bytes_of_version_3_9() -> None:
    answer = endpoints.ready(BUSY)
    assert answer.status == HTTPStatus.OK
    assert answer.body == (
        b'{"consuming": true, "published": 11, "consumed": {"received": 6, "processed": 5, '
        b'"dropped": 4, "rejected": 3, "failed": 2}}\n'
    )


def test_program_that_only_publishes_is_ready() -> None:
    answer = endpoints.ready(IDLE)
    assert (answer.status, body(answer)["consuming"]) == (HTTPStatus.OK, False)
    assert "reason" not in body(answer)


@pytest.mark.parametrize(
    ("reason", "always", "status"),
    [
        ("not connected", False, 503),
        ("not connected", True, 200),
        # A reason without words is one, too.
        ("", False, 503),
        (None, True, 200),
    ],
)
def test_ready_or_not(reason: str | None, always: bool, status: int) -> None:
    answer = endpoints.ready(BUSY._replace(reason=reason), always)
    assert answer.status == status
    assert body(answer).get("reason") == reason


def test_status_tells_everything() -> None:
    answer = endpoints.status(BUSY)
    told = body(answer)
    assert answer.status == HTTPStatus.OK
    first, second = told.pop("queues")
    consumed = told.pop("consumed")
    assert told == {
        "connected": True,
        "consuming": True,
        "ready": True,
        "reason": None,
        "blocked": "low on memory",
        "reconnects": 12,
        "published": 11,
        "outbox": {"messages": 7, "bytes": 700, "oldest": 2.5, "sending": False},
        "in_flight": 3,
        "oldest_in_flight": 1.5,
        "last_message": 1000.25,
    }
    assert (consumed["received"], consumed["invalid"], consumed["invalid_kinds"]) == (6, 1, {"json": 1})
    assert first == {
        "queue": "a",
        "consuming": True,
        "stalled": False,
        "in_flight": 3,
        "oldest_in_flight": 1.5,
        "last_message": 1000.25,
        "resubscriptions": 2,
        **ConsumerStats(received=6).as_dict(),
    }
    assert (second["queue"], second["stalled"], second["oldest_in_flight"]) == ('"ü\n', True, None)


def test_status_is_200_even_if_nothing_works() -> None:
    """Whoever looks at it wants to read it; `/ready` is there to say no."""
    answer = endpoints.status(IDLE._replace(connected=False, reason="not connected"))
    told = body(answer)
    assert answer.status == HTTPStatus.OK
    assert (told["connected"], told["ready"], told["reason"]) == (False, False, "not connected")
    assert (told["outbox"], told["queues"], told["last_message"]) == (None, [], None)


def test_body_is_one_line_of_ascii() -> None:
    """Whatever the names of queues are."""
    text = endpoints.status(BUSY).body
    assert text.isascii()
    assert text.count(b"\n") == 1


def test_metrics() -> None:
    answer = endpoints.metrics(BUSY)
    assert answer.status == HTTPStatus.OK
    assert answer.content_type.startswith("text/plain; version=")
    assert b"\nfedora_messaging_published_total 11.0\n" in answer.body


def test_metrics_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fedora_messaging.monitoring.prometheus", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    # As if it were not installed: importing it fails.
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert endpoints.metrics(BUSY) == (
        HTTPStatus.NOT_FOUND,
        "text/plain; charset=utf-8",
        b"/metrics needs prometheus-client: pip install 'fedora-messaging[metrics]'\n",
    )
