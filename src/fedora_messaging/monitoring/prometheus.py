"""The state of a process's messaging as Prometheus metrics."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from .snapshot import Snapshot

#: The format that `generate_latest` writes; prometheus-client names it only since version 0.23.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HELP: Final = {
    "received": "Valid messages handed to a callback.",
    "processed": "Messages acknowledged.",
    "dropped": "Messages that a callback dropped.",
    "rejected": "Messages that a callback put back.",
    "failed": "Messages whose callback raised an unexpected exception.",
    "retried": "Messages put off to be tried again later.",
    "dead_lettered": "Messages kept in the dead-letter queue.",
    "duplicates": "Deliveries of messages that were processed before.",
    "redelivered": "Deliveries that had been out before.",
}


_QUEUES: Final[dict[str, tuple[Any, str]]] = {
    "consuming": (GaugeMetricFamily, "Whether messages of a queue can come."),
    "stalled": (GaugeMetricFamily, "Whether messages wait in a queue, and none arrives."),
    "in_flight": (GaugeMetricFamily, "Deliveries of a queue that are here and not settled."),
    "oldest_in_flight_seconds": (GaugeMetricFamily, "For how long the oldest of them has been here."),
    "last_message_timestamp_seconds": (GaugeMetricFamily, "When the last delivery of a queue came."),
    "resubscriptions": (CounterMetricFamily, "Subscriptions that replaced others of the same connection."),
}


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        yield GaugeMetricFamily(
            "fedora_messaging_connected", "Whether there is a connection to the broker.", snapshot.connected
        )
        yield GaugeMetricFamily(
            "fedora_messaging_ready", "Whether messages can come and go.", snapshot.reason is None
        )
        yield CounterMetricFamily(
            "fedora_messaging_published", "Publishes that the broker confirmed.", snapshot.published
        )
        yield GaugeMetricFamily(
            "fedora_messaging_blocked", "Whether the broker takes no publishes.", snapshot.blocked is not None
        )
        yield CounterMetricFamily(
            "fedora_messaging_reconnects", "Connections that replaced lost ones.", snapshot.reconnects
        )
        for name, text in _HELP.items():
            yield CounterMetricFamily(f"fedora_messaging_{name}", text, getattr(snapshot.consumed, name))
        yield self._invalid()
        yield from self._outbox()
        yield from self._queues()

    def _invalid(self) -> Metric:
        family = CounterMetricFamily(
            "fedora_messaging_invalid", "Deliveries that are no valid messages.", labels=["kind"]
        )
        for kind, number in self._snapshot.consumed.invalid_kinds.items():
            family.add_metric([kind], number)
        return family

    def _outbox(self) -> Iterator[Metric]:
        outbox = self._snapshot.outbox
        if outbox is not None:
            yield GaugeMetricFamily(
                "fedora_messaging_outbox_messages", "Messages to be sent.", outbox.messages
            )
            yield GaugeMetricFamily("fedora_messaging_outbox_bytes", "Their bytes.", outbox.bytes)
            yield GaugeMetricFamily(
                "fedora_messaging_outbox_oldest_seconds",
                "For how long the oldest of them has waited.",
                outbox.oldest or 0.0,
            )

    def _queues(self) -> Iterator[Metric]:
        for name, (kind, text) in _QUEUES.items():
            family = kind(f"fedora_messaging_{name}", text, labels=["queue"])
            for queue in self._snapshot.queues:
                value = getattr(queue, name.removesuffix("_seconds").removesuffix("_timestamp"))
                if value is not None:
                    family.add_metric([queue.queue], value)
            yield family


def exposition(snapshot: Snapshot) -> bytes:
    """Return our metrics, and those of the default registry."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry) + generate_latest(REGISTRY)
