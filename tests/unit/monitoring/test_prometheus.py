"""The metrics of a program's state, as Prometheus reads them."""

from __future__ import annotations

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.monitoring.prometheus import exposition
from fedora_messaging.monitoring.snapshot import OutboxSnapshot, QueueSnapshot, Snapshot

BUSY = Snapshot(
    connected=True,
    consuming=True,
    reason=None,
    published=11,
    consumed=ConsumerStats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, Counter(json=4, schema=2)),
    reconnects=12,
    blocked=None,
    queues=(
        QueueSnapshot("a", True, False, 3, 1.5, 0.5, 1000.25, 2, ConsumerStats()),
        QueueSnapshot('b"\\\n', False, True, 0, None, 0.0, None, 0, ConsumerStats()),
    ),
)


def samples(snapshot: Snapshot) -> dict[str, float]:
    """Return our samples by their name without its first part, and their label."""
    return {
        " ".join((sample.name.removeprefix("fedora_messaging_"), *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(snapshot).decode())
        for sample in family.samples
        if sample.name.startswith("fedora_messaging_")
    }


def test_everything_has_its_sample() -> None:
    assert samples(BUSY) == {
        "connected": 1,
        "ready": 1,
        "published_total": 11,
        "blocked": 0,
        "reconnects_total": 12,
        "received_total": 1,
        "processed_total": 2,
        "dropped_total": 3,
        "rejected_total": 4,
        "failed_total": 5,
        "retried_total": 7,
        "dead_lettered_total": 8,
        "duplicates_total": 9,
        "redelivered_total": 10,
        "invalid_total json": 4,
        "invalid_total schema": 2,
        "consuming a": 1,
        'consuming b"\\\n': 0,
        "stalled a": 0,
        'stalled b"\\\n': 1,
        "in_flight a": 3,
        'in_flight b"\\\n': 0,
        # What is not known has no sample.
        "oldest_in_flight_seconds a": 1.5,
        "last_message_timestamp_seconds a": 1000.25,
        "resubscriptions_total a": 2,
        'resubscriptions_total b"\\\n': 0,
    }


def test_program_that_is_not_ready() -> None:
    found = samples(BUSY._replace(connected=False, reason="not connected", blocked="low on memory"))
    assert (found["connected"], found["ready"], found["blocked"]) == (0, 0, 1)


@pytest.mark.parametrize(("oldest", "shown"), [(None, 0), (2.5, 2.5)])
def test_outbox(oldest: float | None, shown: float) -> None:
    found = samples(BUSY._replace(outbox=OutboxSnapshot(3, 4096, oldest, sending=True)))
    assert {name: value for name, value in found.items() if name.startswith("outbox")} == {
        "outbox_messages": 3,
        "outbox_bytes": 4096,
        "outbox_oldest_seconds": shown,
    }


def test_metrics_of_the_application_follow() -> None:
    text = exposition(BUSY).decode()
    assert text.index("fedora_messaging_connected 1.0") < text.index("python_info")


def test_each_metric_says_what_it_is() -> None:
    families = {
        family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(exposition(BUSY).decode())
        if family.name.startswith("fedora_messaging_")
    }
    assert all(documentation.endswith(".") for _type, documentation in families.values())
    assert families["fedora_messaging_in_flight"][0] == "gauge"
    assert families["fedora_messaging_processed"] == ("counter", "Messages acknowledged.")
