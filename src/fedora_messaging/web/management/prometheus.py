"""``/metrics`` for Prometheus, under the names of RabbitMQ's plugin."""

import os
import resource
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ...broker.core.churn import add
from ...broker.core.counters import Counters
from .statistics import messages, totals_of

if TYPE_CHECKING:
    from ...broker.core.queue import Queue
    from ...broker.server import Server

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_QUEUE: Final = ["vhost", "queue"]
#: Counters of channels: name, help, attributes of :class:`Counters` that count for it.
_CHANNEL_TOTALS: Final = (
    ("messages_published", "Messages published", ("publish",)),
    ("messages_confirmed", "Messages confirmed", ("confirm",)),
    ("messages_unroutable_returned", "Messages returned as unroutable", ("return_unroutable",)),
    ("messages_unroutable_dropped", "Messages dropped as unroutable", ("drop_unroutable",)),
    ("messages_delivered", "Messages delivered without acknowledgement", ("deliver_no_ack",)),
    ("messages_delivered_ack", "Messages delivered for acknowledgement", ("deliver",)),
    ("messages_acked", "Messages acknowledged", ("ack",)),
    ("messages_redelivered", "Messages redelivered", ("redeliver",)),
    ("get", "Messages fetched without acknowledgement", ("get_no_ack",)),
    ("get_ack", "Messages fetched for acknowledgement", ("get",)),
    ("get_empty", "Fetches from empty queues", ("get_empty",)),
)
#: Counters of what comes and goes: name, help, name in :class:`Churn`.
_CHURN: Final = {
    "connections_opened": ("Connections opened", "connection_created"),
    "connections_closed": ("Connections closed or ended", "connection_closed"),
    "channels_opened": ("Channels opened", "channel_created"),
    "channels_closed": ("Channels closed", "channel_closed"),
    "queues_declared": ("Queues declared", "queue_declared"),
    "queues_created": ("Queues created", "queue_created"),
    "queues_deleted": ("Queues deleted", "queue_deleted"),
}
#: Counters of logins: end of the name, help.
_LOGINS: Final = {
    "": "Attempts to log in",
    "_succeeded": "Logins that succeeded",
    "_failed": "Logins that were refused",
}


class _Collector:
    """Reads the broker whenever metrics are asked for.

    Args:
        server: The broker.
        per_object: Whether to tell queues apart, instead of adding them up.
    """

    def __init__(self, server: "Server", per_object: bool) -> None:
        self._server = server
        self._per_object = per_object

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        server = self._server
        info = GaugeMetricFamily(
            "rabbitmq_build_info", "Version of RabbitMQ that is imitated", labels=["rabbitmq_version"]
        )
        info.add_metric([server.profile.version], 1)
        yield info
        identity = GaugeMetricFamily(
            "rabbitmq_identity_info", "Node and cluster", labels=["rabbitmq_node", "rabbitmq_cluster"]
        )
        identity.add_metric([server.node, server.administration.cluster_name], 1)
        yield identity
        yield from self._objects()
        yield from self._totals()
        yield from self._churn()
        yield from self._logins()
        yield from self._resources()
        yield from self._queues()

    def _objects(self) -> Iterator[Any]:
        server = self._server
        queues = [queue for vhost in server.vhosts.values() for queue in vhost.queues.values()]
        sessions = [session for session in server.sessions if session.open_vhost is not None]
        counts = {
            "connections": ("Open connections", len(sessions)),
            "channels": ("Open channels", sum(len(session.channels) for session in sessions)),
            "consumers": ("Consumers", sum(len(queue.consumers) for queue in queues)),
            "queues": ("Queues", len(queues)),
        }
        for name, (about, count) in counts.items():
            yield GaugeMetricFamily(f"rabbitmq_{name}", about, value=count)

    def _totals(self) -> Iterator[Any]:
        totals = Counters()
        for vhost in self._server.vhosts.values():
            counted = totals_of(self._server, vhost)
            totals.add_publishing(counted)
            totals.add_deliveries(counted)
        for name, about, attributes in _CHANNEL_TOTALS:
            value = sum(getattr(totals, attribute) for attribute in attributes)
            yield CounterMetricFamily(f"rabbitmq_channel_{name}", about, value=value)

    def _churn(self) -> Iterator[Any]:
        counted = add(self._server.churn, *(vhost.churn for vhost in self._server.vhosts.values()))
        for name, (about, key) in _CHURN.items():
            yield CounterMetricFamily(f"rabbitmq_{name}", about, value=counted[key])

    def _logins(self) -> Iterator[Any]:
        attempts = list(self._server.logins)
        for name, about in _LOGINS.items():
            family = CounterMetricFamily(f"rabbitmq_auth_attempts{name}", about, labels=["protocol"])
            for attempt in attempts:
                counted = {
                    "": attempt.failed + attempt.succeeded,
                    "_failed": attempt.failed,
                    "_succeeded": attempt.succeeded,
                }
                family.add_metric([attempt.protocol], counted[name])
            yield family

    def _resources(self) -> Iterator[Any]:
        server = self._server
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
        gauges = {
            "process_resident_memory_bytes": ("Memory of the process", resident),
            "process_open_fds": ("Open file descriptors", descriptors),
            "process_max_fds": ("File descriptors at most", soft),
            "resident_memory_limit_bytes": ("Memory at which publishers wait", server.alarms.memory_limit),
            "disk_space_available_limit_bytes": (
                "Free space at which publishers wait",
                server.alarms.disk_limit,
            ),
            "disk_space_available_bytes": ("Free space", shutil.disk_usage(server.data or "/").free),
            "alarms_memory_used_watermark": ("Whether memory is short", server.alarms.is_low("memory")),
            "alarms_free_disk_space_watermark": ("Whether the disk is short", server.alarms.is_low("disk")),
        }
        for name, (about, value) in gauges.items():
            yield GaugeMetricFamily(f"rabbitmq_{name}", about, value=value)

    def _queues(self) -> Iterator[Any]:
        kinds = {
            "messages": "messages",
            "messages_ready": "messages_ready",
            "messages_unacked": "messages_unacknowledged",
        }
        queues = [
            (vhost.name, queue) for vhost in self._server.vhosts.values() for queue in vhost.queues.values()
        ]
        for name, key in kinds.items():
            about = f"Number of {name.replace('_', ' ')} in queues"
            family = GaugeMetricFamily(
                f"rabbitmq_queue_{name}", about, labels=_QUEUE if self._per_object else []
            )
            if self._per_object:
                for vhost, queue in queues:
                    family.add_metric([vhost, _label(queue)], messages([queue])[key])
            else:
                family.add_metric([], messages([queue for _, queue in queues])[key])
            yield family
        if self._per_object:
            family = GaugeMetricFamily("rabbitmq_queue_consumers", "Consumers of a queue", labels=_QUEUE)
            for vhost, queue in queues:
                family.add_metric([vhost, _label(queue)], len(queue.consumers))
            yield family


def _label(queue: "Queue") -> str:
    return queue.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def metrics(server: "Server", per_object: bool) -> bytes:
    """Return all metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(server, per_object))
    return generate_latest(registry)
