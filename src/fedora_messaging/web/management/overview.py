"""The broker as a whole: overview, node, health checks, features."""

import math
import os
import resource
import shutil
import sys
from typing import Any, Final

from ..._version import __version__
from ...broker.core.churn import add
from ...broker.core.counters import Counters
from ...broker.core.exchanges import TYPES
from .call import NO_CONTENT, Answer, Call
from .connections import visible_sessions
from .errors import RequestError, bad_request, not_authorised, not_found
from .lists import choose
from .routes import NEW, OLD, Endpoint
from .statistics import deliveries, messages, publishing, stats_item, totals_of

_PROTOCOL: Final = "amqp"
#: What clients call it, in lower case.
_PROTOCOL_NAMES: Final = frozenset({"amqp", "amqp091", "amqp0.9.1", "amqp0-9-1", "amqp 0-9-1"})
#: Largest integer in an answer.
_LARGEST: Final = 2**63 - 1


def _exchange_types() -> list[dict[str, Any]]:
    return [
        {"name": name, "description": (cls.__doc__ or "").splitlines()[0], "enabled": True}
        for name, cls in sorted(TYPES.items())
    ]


def listeners(call: Call) -> list[dict[str, Any]]:
    """Return what the broker listens on."""
    found = [
        {"node": call.server.node, "protocol": _PROTOCOL, "ip_address": "127.0.0.1", "port": call.server.port}
    ]
    if call.server.http_port:
        found.append(
            {
                "node": call.server.node,
                "protocol": "http",
                "ip_address": "127.0.0.1",
                "port": call.server.http_port,
            }
        )
    return found


def _contexts(call: Call) -> list[dict[str, Any]]:
    """Return what is served over HTTP."""
    return [
        {
            "node": call.server.node,
            "description": "RabbitMQ Management",
            "path": "/",
            "ip": "127.0.0.1",
            "port": str(call.server.http_port),
        }
    ]


def _churn(call: Call) -> dict[str, int]:
    return add(call.server.churn, *(vhost.churn for vhost in call.server.vhosts.values()))


def overview(call: Call) -> Any:
    """Show the broker at a glance."""
    call.show_samples()
    totals = Counters()
    queues = []
    exchanges = 0
    vhosts = call.vhosts()
    for vhost in vhosts:
        counted = totals_of(call.server, vhost)
        totals.add_publishing(counted)
        totals.add_deliveries(counted)
        queues += list(vhost.queues.values())
        exchanges += len(vhost.exchanges)
    sessions = visible_sessions(call)
    version = call.server.profile.version
    item: dict[str, Any] = {
        "management_version": version,
        "rates_mode": "basic",
        "exchange_types": _exchange_types(),
        "product_version": version,
        "product_name": "RabbitMQ",
        "rabbitmq_version": version,
        "cluster_name": call.admin.cluster_name,
        "erlang_version": "",
        "erlang_full_version": f"fedora-messaging {__version__}, Python {sys.version.split()[0]}",
        "disable_stats": False,
        "enable_queue_totals": False,
        "message_stats": {},
        **stats_item(call.rates, call.server, publishing(totals) | deliveries(totals), vhosts),
        "churn_rates": call.rates.with_details(call.server, _churn(call), "churn"),
        "queue_totals": call.rates.with_details(call.server, messages(queues), "messages", vhosts),
        "object_totals": {
            "channels": sum(len(session.channels) for session in sessions),
            "connections": len(sessions),
            "consumers": sum(len(queue.consumers) for queue in queues),
            "exchanges": exchanges,
            "queues": len(queues),
        },
        "statistics_db_event_queue": 0,
    }
    if call.has_tag("monitoring"):
        item |= {"node": call.server.node, "listeners": listeners(call), "contexts": _contexts(call)}
    return choose(item, call.query)


def _node_item(call: Call) -> dict[str, Any]:
    server = call.server
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else len(server.sessions)  # noqa: PTH112, PTH208
    alarms = server.alarms
    return {
        "name": server.node,
        "rabbitmq_version": server.profile.version,
        "running": True,
        "type": "disc",
        "os_pid": str(os.getpid()),
        "fd_total": soft,
        "fd_used": used,
        "sockets_total": soft,
        "sockets_used": len(server.sessions),
        "mem_used": server.memory.bytes,
        "mem_limit": alarms.memory_limit,
        "mem_alarm": alarms.is_low("memory"),
        "disk_free": shutil.disk_usage(server.data or "/").free,
        "disk_free_limit": alarms.disk_limit,
        "disk_free_alarm": alarms.is_low("disk"),
        "proc_total": 1,
        "proc_used": 1,
        "rates_mode": "basic",
        "being_drained": False,
        "uptime": int((server.clock() - server.started_at) * 1000),
        "run_queue": 0,
        "processors": os.cpu_count() or 1,
        "exchange_types": _exchange_types(),
        "auth_mechanisms": [
            {"name": name, "description": "", "enabled": True} for name in ("PLAIN", "AMQPLAIN")
        ],
        "applications": [
            {"name": "fedora_messaging", "description": "fedora-messaging", "version": __version__}
        ],
        "contexts": _contexts(call),
        "log_files": [],
        "db_dir": str(server.data or ""),
        "config_files": [],
        "enabled_plugins": ["rabbitmq_management"],
        "partitions": [],
    }


def list_nodes(call: Call) -> Any:
    """List the nodes: this broker is the only one."""
    return [choose(_node_item(call), call.query)]


def _check_node(call: Call) -> None:
    if call.path.get("node", call.server.node) != call.server.node:
        raise not_found()


def get_node(call: Call) -> Any:
    """Show the node."""
    _check_node(call)
    return choose(_node_item(call), call.query)


#: What RabbitMQ uses memory for: clients expect them all.
_MEMORY_PARTS: Final = (
    *("connection_readers", "connection_writers", "connection_channels", "connection_other"),
    *("queue_procs", "quorum_queue_procs", "quorum_queue_dlx_procs", "stream_queue_procs"),
    *("stream_queue_replica_reader_procs", "stream_queue_coordinator_procs", "plugins", "metadata_store"),
    *("other_proc", "metrics", "mgmt_db", "quorum_ets", "mnesia", "metadata_store_ets", "other_ets"),
    *("binary", "msg_index", "code", "atom", "other_system", "allocated_unused", "reserved_unallocated"),
)


def node_memory(call: Call) -> dict[str, Any]:
    """Show what the node uses memory for."""
    _check_node(call)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = call.server.memory.bytes
    total = {"erlang": 0, "rss": resident, "allocated": resident}
    parts = dict.fromkeys(_MEMORY_PARTS, 0) | {"queue_procs": used, "other_proc": resident - used}
    return {"memory": {**parts, "strategy": "rss", "total": total}}


def node_memory_in_percent(call: Call) -> dict[str, Any]:
    """Show which part of its memory the node uses for what."""
    shown = node_memory(call)["memory"]
    parts = {name: used for name, used in shown.items() if name not in ("strategy", "total")}
    # Rounded up, as RabbitMQ does: what takes memory does not take 0 %.
    percent = {name: math.ceil(used * 100 / shown["total"]["rss"]) for name, used in parts.items()}
    return {"memory": {"total": 100, **percent}}


def version(call: Call) -> str:
    """Show the release of RabbitMQ that the broker imitates."""
    return call.server.profile.version


def cluster_name(call: Call) -> dict[str, str]:
    """Show the name of the cluster."""
    return {"name": call.admin.cluster_name}


def put_cluster_name(call: Call) -> Answer:
    """Name the cluster."""
    call.admin.set_global_parameter("cluster_name", call.text("name"))
    return NO_CONTENT


def extensions(call: Call) -> list[dict[str, str]]:
    """List the extensions of the management user interface."""
    return [{"javascript": "dispatcher.js"}]


def nothing(call: Call) -> list[Any]:
    """List what this broker has none of."""
    return []


def refuse_feature(call: Call) -> Answer:
    """Enable a feature flag: there are none that could be enabled."""
    raise bad_request("unsupported")


def do_nothing(call: Call) -> Answer:
    """Do what a broker of one node need not do."""
    _check_node(call)
    return NO_CONTENT


def aliveness(call: Call) -> dict[str, str]:
    """Check that a virtual host works."""
    if call.vhost().name not in call.user.permissions:
        raise not_authorised("Access refused.")
    return {"status": "ok"}


def _failed(reason: str, **more: Any) -> RequestError:
    return RequestError(503, {"status": "failed", "reason": reason, **more})


def check_alarms(call: Call) -> dict[str, str]:
    """Check that there is no alarm."""
    names = [name for name in ("memory", "disk") if call.server.alarms.is_low(name)]
    if names:
        alarms = [{"node": call.server.node, "resource": name} for name in names]
        raise _failed("There are alarms in effect in the cluster", alarms=alarms)
    return {"status": "ok"}


def check_port(call: Call) -> dict[str, Any]:
    """Check that something listens on a port."""
    try:
        port = int(call.path["port"])
    except ValueError:
        raise bad_request("Invalid port") from None
    if abs(port) > _LARGEST:
        raise bad_request("Invalid port")  # JSON has no such number
    ports = [listener["port"] for listener in listeners(call)]
    if port not in ports:
        raise _failed("No active listener", missing=port, ports=ports)
    return {"status": "ok", "port": port}


def check_protocol(call: Call) -> dict[str, Any]:
    """Check that something listens for a protocol."""
    active = [listener["protocol"] for listener in listeners(call)]
    names = [call.path["protocol"]] if call.is_old else call.path["protocol"].split(",")
    wanted = [_PROTOCOL if name.lower() in _PROTOCOL_NAMES else name for name in names]
    missing = [name for name in wanted if name not in active]
    if missing:
        raise _failed("No active listener", missing=missing[0] if call.is_old else missing, protocols=active)
    return {"status": "ok", "protocol": wanted[0]} if call.is_old else {"status": "ok", "protocols": active}


def check_vhosts(call: Call) -> dict[str, str]:
    """Check that all virtual hosts run."""
    return {"status": "ok"}


def check_node(call: Call) -> dict[str, str]:
    """Check that a node runs."""
    _check_node(call)
    return {"status": "ok"}


def check_certificates(call: Call) -> dict[str, str]:
    """Check that no certificate expires soon."""
    units = ("days", "weeks", "months", "years")
    if call.path["unit"] not in units:
        raise bad_request(f"Time unit not recognised. Supported units: {', '.join(units)}.")
    if not call.path["within"].isdecimal():
        raise bad_request("Invalid expiration value.")
    return {"status": "ok"}


def check_quorum(call: Call) -> dict[str, str]:
    """Check that the node may be stopped."""
    return {"status": "ok", "reason": "single node cluster"}


def _new_checks(tag: str | None, *names: str) -> tuple[Endpoint, ...]:
    paths = [f"health/checks/{name}" for name in names]
    return tuple(Endpoint(path, {"GET": check_vhosts}, tag, profiles=NEW) for path in paths)


ENDPOINTS: Final = (
    Endpoint("overview", {"GET": overview}),
    Endpoint("version", {"GET": version}, None, profiles=NEW),
    Endpoint(
        "cluster-name", {"GET": cluster_name, "PUT": put_cluster_name}, write_tags={"PUT": "administrator"}
    ),
    Endpoint("nodes", {"GET": list_nodes}, "monitoring"),
    Endpoint("nodes/{node}", {"GET": get_node}, "monitoring"),
    Endpoint("nodes/{node}/memory", {"GET": node_memory}, "monitoring"),
    Endpoint("nodes/{node}/memory/relative", {"GET": node_memory_in_percent}, "monitoring"),
    Endpoint("extensions", {"GET": extensions}),
    Endpoint("feature-flags", {"GET": nothing}, profiles=NEW),
    Endpoint("feature-flags", {"GET": nothing}, "administrator", profiles=OLD),
    Endpoint("feature-flags/{name}/enable", {"PUT": refuse_feature}, "administrator"),
    Endpoint("deprecated-features", {"GET": nothing}, profiles=NEW),
    Endpoint("deprecated-features/used", {"GET": nothing}, profiles=NEW),
    Endpoint("rebalance/queues", {"POST": do_nothing}, "administrator"),
    Endpoint("reset", {"DELETE": do_nothing}, "administrator"),
    Endpoint("reset/{node}", {"DELETE": do_nothing}, "administrator"),
    Endpoint("aliveness-test/{vhost}", {"GET": aliveness}),
    Endpoint("healthchecks/node", {"GET": check_vhosts}),
    Endpoint("healthchecks/node/{node}", {"GET": check_node}),
    Endpoint("health/checks/alarms", {"GET": check_alarms}),
    Endpoint("health/checks/local-alarms", {"GET": check_alarms}),
    Endpoint("health/checks/port-listener/{port}", {"GET": check_port}),
    Endpoint("health/checks/protocol-listener/{protocol}", {"GET": check_protocol}),
    Endpoint("health/checks/certificate-expiration/{within}/{unit}", {"GET": check_certificates}),
    Endpoint("health/checks/node-is-quorum-critical", {"GET": check_quorum}),
    Endpoint("health/checks/node-is-mirror-sync-critical", {"GET": check_quorum}, profiles=OLD),
    Endpoint("health/checks/virtual-hosts", {"GET": check_vhosts}),
    # Load balancers ask for these, without a login.
    *_new_checks(
        None,
        "is-in-service",
        "ready-to-serve-clients",
        "below-node-connection-limit",
        "reached-target-cluster-size",
    ),
    *_new_checks(
        "management",
        "metadata-store/initialized",
        "metadata-store/initialized/with-data",
        "quorum-queues-without-elected-leaders/all-vhosts",
        "quorum-queues-without-elected-leaders/all-vhosts/pattern/{pattern}",
        "quorum-queues-without-elected-leaders/vhost/{vhost}",
        "quorum-queues-without-elected-leaders/vhost/{vhost}/pattern/{pattern}",
    ),
)
