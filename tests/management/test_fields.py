"""The keys of RabbitMQ's answers are in those of the embedded broker, with values of the same type.

Both brokers go through the same scenario. What the embedded broker leaves out is in the table `LEFT_OUT`.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pika
from tests.management.client import ROOT, Api, part
from tests.support.admin import close_quietly, connect
from tests.support.waiting import eventually

from fedora_messaging.broker import Broker as EmbeddedBroker

if TYPE_CHECKING:
    from tests.support.rabbitmq import RabbitNode

ERLANG: Final = "is about Erlang's virtual machine"
STORE: Final = "is about RabbitMQ's message store"
CLUSTER: Final = "is about clusters, and the embedded broker is alone"
COWBOY: Final = "is about RabbitMQ's HTTP server"
RAFT: Final = "is about RabbitMQ's replicated log"
PRIORITIES: Final = "shows how a quorum queue keeps priorities apart"

#: Keys that the embedded broker leaves out, as regular expressions of paths, and why.
LEFT_OUT: Final = {
    r".*\.(garbage_collection|reductions(_details)?)": ERLANG,
    r"node\.(proc|gc|context|io|mnesia|msg_store|queue_index|ra_open|metrics_gc).*": ERLANG,
    r"node\.(net_ticktime|mem_calc).*": ERLANG,
    r"node\.(connection|channel|queue)_(created|closed|declared|deleted).*": "is in the overview, too",
    r"node\.(mem|fd|sockets|disk)_(used|free)_details": "nobody draws the rates of such values",
    r"node\.(cluster_links|being_drained)": CLUSTER,
    r"node\.(erlang|crypto).*version": ERLANG,
    r"node\.(log_files|config_files|contexts|enabled_plugins|partitions)\[\].*": "it is shorter",
    r"memory\.memory\..*": ERLANG,
    r"overview\.(sample_retention_policies|crypto_lib_version|release_series_support_status).*": ERLANG,
    r"overview\.(cluster_tags|node_tags)": CLUSTER,
    r"overview\.(is_op_policy_updating_enabled|require_definition_json_extension)": "is constant",
    r"overview\.default_queue_type": "is a setting of RabbitMQ's node",
    r"overview\.contexts\[\].*": COWBOY,
    r"overview\.listeners\[\]\.(socket_opts|tls).*": COWBOY,
    r"overview\.message_stats\.disk_.*": STORE,
    r".*\.backing_queue_status.*": STORE,
    r".*\.(recoverable_slaves|storage_version|idle_since)": STORE,
    r".*\.(messages_ready_ram|messages_unacknowledged_ram)": STORE,
    r".*\.(messages|message_bytes)_paged_out": STORE,
    r".*\.cached_segments": STORE,
    r".*\.(recv_cnt|send_cnt)": "counts packets, which only Erlang knows",
    r".*\.pending_raft_commands": RAFT,
    r"(quorum|stream)\.(leader|members|online|open_files|readers).*": CLUSTER,
    r"(quorum|stream)\.(message_bytes_dlx|messages_dlx|publishers|segments|first_timestamp)": RAFT,
    r"quorum\.(messages_by_priority|messages_active_priorities|messages_delayed|delayed_retry).*": PRIORITIES,
    r"quorum\.(messages_ready_returned|single_active_consumer_ctag|delivery_limit)": PRIORITIES,
    r".*\.(internal_owner|internal)": "is for queues of plugins",
    r".*\.consumer_timeout": "each consumer has the one of the broker",
    r".*\.peer_cert_serial_number": "is not known",
    r"vhosts?(\[\])?\.(recv|send)_oct.*": "is not counted by virtual host",
    r"definitions\.explanation": "is a text of RabbitMQ about its format",
    r"(vhost_)?definitions\.(explanation|product_version)": "is a text of RabbitMQ about its format",
    r"(vhost_)?definitions\.parameters\[\]\.value\..*": "each has a type of its own",
    r"vhost_definitions\.(parameters|policies)\[\]\.vhost": "is in those of 3.10 only, and needless",
}
#: Keys that clients use; none of them may be left out.
USED: Final = re.compile(
    r".*\.(name|vhost|type|durable|auto_delete|exclusive|arguments|messages(_ready|_unacknowledged)?(_details)?|"
    r"consumers|message_stats.*|state|policy|operator_policy|node|user|user_provided_name|client_properties|"
    r"consumer_tag|queue|ack_required|prefetch_count|confirm|source|destination|destination_type|routing_key|"
    r"properties_key|tags|pattern|definition|priority|apply-to|configure|write|read|queue_totals.*|"
    r"object_totals.*|rabbitmq_version|running|mem_used|mem_limit|mem_alarm|disk_free|disk_free_alarm|"
    r"fd_used|fd_total|uptime|payload|properties|consumer_details|connected_at|channels|port|peer_host)"
)
#: Those of them that are left out all the same, because what they are part of is.
USED_ELSEWHERE: Final = re.compile(
    r"node\.contexts.*|overview\.(contexts|message_stats\.disk_|listeners\[\]\.socket_opts).*|"
    r"(vhost_)?definitions\.(parameters\[\]\.value\.|.*\[\]\.vhost).*"
)


class Scenario:
    """Uses a broker in every way whose traces the management API shows.

    Args:
        url: AMQP URL.
        api: Client of the management API.
    """

    def __init__(self, url: str, api: Api) -> None:
        self._url = url
        self._api = api

    def shown(self, opened: ExitStack) -> dict[str, Any]:
        """Go through the scenario; returns what the API shows then, by kinds of objects."""
        self._set_up(opened)
        self._use(opened)
        return eventually(self._look)

    def _set_up(self, opened: ExitStack) -> None:
        api = self._api
        api.put("vhosts/fields", {"description": "d", "tags": "a"})
        opened.callback(api.ask, "DELETE", "vhosts/fields")
        api.put("users/fields", {"password": "p", "tags": "management"})
        opened.callback(api.ask, "DELETE", "users/fields")
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put("permissions/fields/fields", rights)
        topic = {"exchange": "amq.topic", "write": "^a", "read": "^b"}
        api.put("topic-permissions/fields/fields", topic)
        api.put("user-limits/fields/max-channels", {"value": 100})
        api.put("vhost-limits/fields/max-queues", {"value": 100})
        api.put("policies/fields/p", {"pattern": "^classic$", "definition": {"max-length": 100}})
        api.put("operator-policies/fields/o", {"pattern": "^classic$", "definition": {"max-length": 90}})
        api.put("global-parameters/fields", {"value": "v"})
        opened.callback(api.ask, "DELETE", "global-parameters/fields")
        for kind in ("classic", "quorum", "stream"):
            wanted = {"durable": True, "arguments": {"x-queue-type": kind}}
            api.put(f"queues/fields/{kind}", wanted)
        api.put("exchanges/fields/e", {"type": "topic", "durable": True})
        api.post("bindings/fields/e/e/q/classic", {"routing_key": "k", "arguments": {"a": 1}})
        self._cluster = api.get("cluster-name")

    def _use(self, opened: ExitStack) -> None:
        connection = connect(
            f"{self._url.removesuffix('/%2F')}/fields",
            client_properties={"connection_name": "fields"},
        )
        opened.callback(close_quietly, connection)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("exclusive", exclusive=True)
        for queue in ("classic", "quorum", "stream"):
            for _ in range(4):
                properties = pika.BasicProperties(delivery_mode=2, headers={"h": 1}, timestamp=1_700_000_000)
                channel.basic_publish("", queue, b"a", properties)
        channel.basic_publish("e", "k", b"a")
        channel.basic_publish("e", "nope", b"a")
        for queue in ("classic", "quorum"):
            method, _, _ = channel.basic_get(queue)
            assert method is not None
            channel.basic_ack(method.delivery_tag)
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": 1})

    def _look(self) -> dict[str, Any] | None:
        api = self._api
        lists: dict[str, list[dict[str, Any]]] = {
            kind: api.get(path)
            for kind, path in {
                "connections": "vhosts/fields/connections",
                "channels": "vhosts/fields/channels",
                "consumers": "consumers/fields",
                "queues": "queues/fields",
                "exchanges": "exchanges/fields",
            }.items()
        }
        if not lists["connections"] or not lists["channels"] or len(lists["consumers"]) < 2:
            return None
        name = lists["connections"][0]["name"]
        one = {
            "connection": f"connections/{part(name)}",
            "channel": f"channels/{part(name + ' (1)')}",
            "classic": "queues/fields/classic",
            "quorum": "queues/fields/quorum",
            "stream": "queues/fields/stream",
            "exclusive": "queues/fields/exclusive",
            "exchange": "exchanges/fields/e",
            "vhost": "vhosts/fields",
            "overview": "overview",
        }
        found = {kind: api.get(path) for kind, path in one.items()}
        if not all(_has_statistics(kind, item) for kind, item in found.items()):
            return None
        classic = next(item for item in lists["queues"] if item["name"] == "classic")
        # RabbitMQ tells it later than the rest.
        if any(item.get("head_message_timestamp") is None for item in (classic, found["classic"])):
            return None
        exchange = next(item for item in lists["exchanges"] if item["name"] == "e")
        return {
            **found,
            "connections": lists["connections"][0],
            "channels": lists["channels"][0],
            "consumers": lists["consumers"][0],
            "queues": classic,
            "exchanges": exchange,
            **self._more(),
        }

    def _more(self) -> dict[str, Any]:
        api = self._api
        node = api.get("overview?columns=node")["node"]
        paths = {
            "node": f"nodes/{part(node)}",
            "memory": f"nodes/{part(node)}/memory",
            "vhosts": "vhosts",
            "binding": "bindings/fields/e/e/q/classic",
            "user": "users/fields",
            "permissions": "permissions/fields/fields",
            "topic_permissions": "topic-permissions/fields/fields",
            "user_limits": "user-limits/fields",
            "vhost_limits": "vhost-limits/fields",
            "policy": "policies/fields/p",
            "operator_policy": "operator-policies/fields/o",
            "parameters": "parameters/vhost-limits/fields",
            "global_parameter": "global-parameters/fields",
            "definitions": "definitions",
            "vhost_definitions": "definitions/fields",
            "whoami": "whoami",
            "cluster_name": "cluster-name",
            "alarms": "health/checks/alarms",
            "aliveness": f"aliveness-test/{ROOT}",
            "page": "queues/fields?page=1&page_size=1&columns=name",
        }
        found = {kind: api.get(path) for kind, path in paths.items()}
        found["vhosts"] = [item for item in found["vhosts"] if item["name"] == "fields"]
        for section, items in found["definitions"].items():
            if isinstance(items, list):
                found["definitions"][section] = [item for item in items if "fields" in item.values()]
        found["published"] = api.post(
            "exchanges/fields/amq.default/publish",
            {"properties": {}, "routing_key": "nope", "payload": "p", "payload_encoding": "string"},
        )
        return found


def _has_statistics(kind: str, item: dict[str, Any]) -> bool:
    stats = item.get("message_stats", {})
    if kind in ("classic", "quorum", "channel", "vhost"):
        return "deliver_get" in stats and "publish" in stats and item.get("consumer_details") != []
    if kind == "exchange":
        return "publish_out" in stats
    if kind == "exclusive":
        return bool(item.get("owner_pid_details")) and "messages" in item
    if kind == "connection":
        return "recv_oct_details" in item and "name" in item
    return "publish" in stats


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "text", list: "list", dict: "object", type(None): "null"}[type(value)]


def differences(path: str, theirs: Any, ours: Any) -> dict[str, str]:
    """Return the keys of RabbitMQ's answer that ours lacks or has with another type, and how they differ."""
    if kind_of(theirs) != kind_of(ours):
        return {path: f"{kind_of(theirs)} is {kind_of(ours)}: {ours!r}"}
    found: dict[str, str] = {}
    if isinstance(theirs, dict):
        if path.endswith(".cluster_state"):  # its key is the node
            theirs, ours = ({"node": next(iter(found.values()))} for found in (theirs, ours))
        for key, value in theirs.items():
            place = f"{path}.{key}"
            if key not in ours:
                found[place] = f"{kind_of(value)} is missing"
            else:
                found |= differences(place, value, ours[key])
    elif isinstance(theirs, list) and theirs:
        if not ours:
            return {f"{path}[]": f"{kind_of(theirs[0])} is missing"}
        found |= differences(f"{path}[]", theirs[0], ours[0])
    return found


def test_answers_have_the_keys_of_rabbitmqs(rabbitmq: RabbitNode) -> None:
    profile = "4" if rabbitmq.version >= (4, 0) else "3"
    with ExitStack() as opened:
        embedded = opened.enter_context(EmbeddedBroker(http_port=0, profile=profile))
        assert embedded.management_url is not None
        shown = [
            Scenario(url, opened.enter_context(Api(management))).shown(opened)
            for url, management in (
                (rabbitmq.url, rabbitmq.management_url),
                (embedded.amqp_url, embedded.management_url),
            )
        ]
    theirs, ours = shown
    found: dict[str, str] = {}
    for kind, item in theirs.items():
        found |= differences(kind, item, ours[kind])
    unexplained = {
        path: how
        for path, how in found.items()
        if not any(re.fullmatch(pattern, path) for pattern in LEFT_OUT)
    }
    assert not unexplained, "\n".join(f"{path}: {how}" for path, how in unexplained.items())
    used = {path for path in found if USED.fullmatch(path) and not USED_ELSEWHERE.fullmatch(path)}
    assert used == set()
