"""The state of a process's messaging as Prometheus metrics."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from .endpoints import Snapshot

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_HELP: Final = {
    "received": "Valid messages handed to a callback.",
    "processed": "Messages acknowledged.",
    "dropped": "Messages that a callback dropped.",
    "rejected": "Messages that a callback put back.",
    "failed": "Messages whose callback raised an unexpected exception.",
    "invalid": "Deliveries refused because they are no valid messages.",
    "retried": "Messages put off to be tried again later.",
    "dead_lettered": "Messages kept in the dead-letter queue.",
    "duplicates": "Deliveries of messages that were processed before.",
    "redelivered": "Deliveries that had been out before.",
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
        for name, number in snapshot.consumed.as_dict().items():
            yield CounterMetricFamily(f"fedora_messaging_{name}", _HELP[name], number)
        consuming = GaugeMetricFamily(
            "fedora_messaging_consuming", "Whether messages of a queue can come.", labels=["queue"]
        )
        unsettled = GaugeMetricFamily(
            "fedora_messaging_unsettled", "Deliveries that are here and not settled.", labels=["queue"]
        )
        last = GaugeMetricFamily(
            "fedora_messaging_last_delivery_timestamp_seconds",
            "When the last delivery came.",
            labels=["queue"],
        )
        for queue in snapshot.queues:
            consuming.add_metric([queue.queue], queue.consuming)
            unsettled.add_metric([queue.queue], queue.unsettled)
            if queue.last_delivery is not None:
                last.add_metric([queue.queue], queue.last_delivery)
        yield from (consuming, unsettled, last)


def exposition(snapshot: Snapshot) -> bytes:
    """Return our metrics, and those of the default registry."""
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry) + generate_latest(REGISTRY)
