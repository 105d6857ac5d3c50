"""The broker as a whole over the management API: overview, node, health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request, part
from tests.support.alarms import MEMORY_LIMIT, Alarm
from tests.support.waiting import eventually

from fedora_messaging.broker.alarms import ResourceLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker


@pytest.fixture(scope="module")
def resource_limits() -> ResourceLimits:
    """Little memory, for the alarm."""
    return ResourceLimits(memory=MEMORY_LIMIT)


def test_overview_names_the_release(api: Api, broker: Broker) -> None:
    shown = api.get("overview")
    version = ".".join(shown["rabbitmq_version"].split(".")[:2])
    assert version == f"{broker.version[0]}.{broker.version[1]}"
    assert shown["management_version"] == shown["rabbitmq_version"]
    assert (shown["product_name"], shown["rates_mode"]) == ("RabbitMQ", "basic")
    assert shown["node"] == api.get("nodes")[0]["name"]
    assert {"direct", "fanout", "headers", "topic"} <= {item["name"] for item in shown["exchange_types"]}
    listeners = {(item["protocol"], item["port"]) for item in shown["listeners"]}
    assert {("amqp", urlsplit(broker.url).port), ("http", api.url.port)} <= listeners


def test_overview_counts(api: Api, queue: str, channel: BlockingChannel) -> None:
    for _ in range(3):
        channel.basic_publish("", queue, b"a")
    channel.basic_consume(queue, lambda *_: None)

    def counted() -> Any:
        found = api.get("overview")
        objects, stats = found["object_totals"], found["message_stats"]
        full = objects["consumers"] and objects["connections"] and objects["channels"]
        return found if full and stats.get("deliver_get", 0) >= 3 else None

    shown = eventually(counted)
    assert shown["message_stats"]["publish"] >= 3
    assert shown["message_stats"]["confirm"] >= 3
    assert set(shown["message_stats"]["publish_details"]) == {"rate"}
    assert shown["object_totals"]["queues"] == len(api.get("queues"))
    assert shown["object_totals"]["exchanges"] == len(api.get("exchanges"))
    totals = eventually(lambda: api.get("overview")["queue_totals"])
    assert totals["messages"] == totals["messages_ready"] + totals["messages_unacknowledged"]


def test_overview_is_limited_to_what_the_user_may_see(api: Api, users: Callable[..., Api]) -> None:
    user = users("management", permissions=None)
    shown = user.get("overview")
    assert not {"node", "listeners", "contexts"} & set(shown)
    assert (shown["object_totals"]["queues"], shown["object_totals"]["exchanges"]) == (0, 0)
    assert "listeners" in users("monitoring").get("overview")


def test_the_node(api: Api) -> None:
    (node,) = api.get("nodes")
    assert (node["running"], node["type"], node["mem_alarm"], node["disk_free_alarm"]) == (
        True,
        "disc",
        False,
        False,
    )
    for key in ("fd_total", "fd_used", "mem_limit", "disk_free", "processors", "uptime"):
        assert node[key] > 0, key
    one = api.get(f"nodes/{part(node['name'])}")
    assert one["name"] == node["name"]
    memory = api.get(f"nodes/{part(node['name'])}/memory")["memory"]
    assert memory["total"]["rss"] > 0


def test_what_memory_is_for_in_percent(api: Api) -> None:
    node = part(api.get("nodes")[0]["name"])
    shown = api.get(f"nodes/{node}/memory/relative")["memory"]
    whole = api.get(f"nodes/{node}/memory")["memory"]
    assert shown.pop("total") == 100
    assert shown.keys() == whole.keys() - {"total", "strategy"}
    assert all(isinstance(value, int) and 0 <= value <= 100 for value in shown.values())
    assert api.error(404, "GET", "nodes/nope/memory/relative") == NOT_FOUND


def test_what_came_and_went_is_counted(
    api: Api, names: Names, connections: Callable[..., BlockingConnection]
) -> None:
    before = churn(api)
    connection = connections()
    channel = connection.channel()
    for _ in range(2):
        channel.queue_declare(names())
    lasting = names()
    for passive in (False, False, True):  # the second one finds it, the third one declares nothing
        channel.queue_declare(lasting, passive=passive)
    channel.queue_delete(lasting)
    channel.close()
    connection.close()

    # RabbitMQ takes samples of what others have done before, too.
    expected = {
        "connection_created": 1,
        "connection_closed": 1,
        "channel_created": 1,
        "channel_closed": 1,
        "queue_declared": 4,
        "queue_created": 3,
        "queue_deleted": 1,
    }
    grown: dict[str, int] = {}

    def is_counted() -> bool:
        grown.update({name: count - before.get(name, 0) for name, count in churn(api).items()})
        return grown.keys() == expected.keys() and all(grown[name] >= expected[name] for name in expected)

    eventually(is_counted)


def churn(api: Api) -> dict[str, int]:
    shown = api.get("overview")["churn_rates"]
    totals = {name: value for name, value in shown.items() if not name.endswith("_details")}
    assert all(shown[f"{name}_details"].keys() >= {"rate"} for name in totals)
    return totals


def test_a_node_that_does_not_exist(api: Api, broker: Broker) -> None:
    answer = api.ask("GET", "nodes/nope")
    # An error of 3.10's own that need not be imitated.
    assert answer.status_code in since(broker, (4, 0), {404}, {404, 500})


def test_cluster_name(api: Api) -> None:
    old = api.get("cluster-name")
    assert set(old) == {"name"}
    try:
        assert api.put("cluster-name", {"name": "tested"}) == 204
        assert api.get("cluster-name") == {"name": "tested"}
        assert api.get("overview")["cluster_name"] == "tested"
    finally:
        api.put("cluster-name", old)
    assert api.error(400, "PUT", "cluster-name", {}) == bad_request("[{key_missing,name}]")


def test_lists_that_clients_ask_for_at_their_start(api: Api, broker: Broker) -> None:
    assert isinstance(api.get("extensions"), list)
    assert isinstance(api.get("feature-flags"), list)
    for path in ("deprecated-features", "deprecated-features/used"):
        if broker.version >= (4, 0):
            assert isinstance(api.get(path), list)
        else:
            assert api.error(404, "GET", path) == NOT_FOUND


@pytest.mark.parametrize(
    "check",
    [
        "health/checks/alarms",
        "health/checks/local-alarms",
        "health/checks/virtual-hosts",
        "health/checks/node-is-quorum-critical",
        "health/checks/certificate-expiration/1/weeks",
        "healthchecks/node",
        f"aliveness-test/{ROOT}",
    ],
)
def test_all_is_well(api: Api, check: str) -> None:
    assert api.get(check)["status"] == "ok"


@pytest.mark.parametrize(
    "check",
    [
        "is-in-service",
        "ready-to-serve-clients",
        "below-node-connection-limit",
        "metadata-store/initialized",
        "metadata-store/initialized/with-data",
        "reached-target-cluster-size",
        f"quorum-queues-without-elected-leaders/vhost/{ROOT}",
        "quorum-queues-without-elected-leaders/all-vhosts",
    ],
)
def test_newer_checks(api: Api, check: str, broker: Broker) -> None:
    status = api.ask("GET", f"health/checks/{check}").status_code
    assert status in since(broker, (4, 0), {200}, {400, 404})


@pytest.mark.parametrize(
    "check",
    [
        "is-in-service",
        "ready-to-serve-clients",
        "below-node-connection-limit",
        "reached-target-cluster-size",
    ],
)
def test_load_balancers_need_no_login(stranger: Api, check: str, broker: Broker) -> None:
    status = since(broker, (4, 0), 200, 404)
    assert stranger.ask("GET", f"health/checks/{check}").status_code == status


@pytest.mark.parametrize("where", ["all-vhosts", f"vhost/{ROOT}"])
def test_some_quorum_queues_are_checked(api: Api, where: str, broker: Broker) -> None:
    path = f"health/checks/quorum-queues-without-elected-leaders/{where}/pattern/%5Ea"
    assert api.ask("GET", path).status_code in since(broker, (4, 0), {200}, {400, 404})


def test_a_check_for_mirrors(api: Api, broker: Broker) -> None:
    status = since(broker, (4, 0), 404, 200)
    assert api.ask("GET", "health/checks/node-is-mirror-sync-critical").status_code == status


def test_ports(api: Api, broker: Broker) -> None:
    port = urlsplit(broker.url).port
    assert api.get(f"health/checks/port-listener/{port}") == {"status": "ok", "port": port}
    failed = api.error(503, "GET", "health/checks/port-listener/1")
    ports = failed.pop("ports")
    assert failed == {"status": "failed", "reason": "No active listener", "missing": 1}
    assert {port, api.url.port} <= set(ports)
    assert api.error(400, "GET", "health/checks/port-listener/abc") == bad_request("Invalid port")
    for beyond in (65536, -1):
        assert api.error(503, "GET", f"health/checks/port-listener/{beyond}")["missing"] == beyond


def test_protocols(api: Api, broker: Broker) -> None:
    for name in ("amqp", "AMQP", "amqp091", "amqp0-9-1"):
        shown = api.get(f"health/checks/protocol-listener/{name}")
        assert shown["status"] == "ok"
        if broker.version < (4, 0):
            assert shown["protocol"] == "amqp"
        else:
            assert {"amqp", "http"} <= set(shown["protocols"])
    failed = api.error(503, "GET", "health/checks/protocol-listener/mqtt")
    assert (failed["status"], failed["reason"]) == ("failed", "No active listener")
    assert failed["missing"] == since(broker, (4, 0), ["mqtt"], "mqtt")
    assert "amqp" in failed["protocols"]


def test_several_protocols_at_once(api: Api, broker: Broker) -> None:
    path = "health/checks/protocol-listener/amqp,http"
    if broker.version < (4, 0):  # it takes them for the name of one protocol
        assert api.error(503, "GET", path)["missing"] == "amqp,http"
        return
    assert api.get(path)["status"] == "ok"
    assert api.error(503, "GET", f"{path},nope")["missing"] == ["nope"]


def test_wrong_spans_of_certificates(api: Api) -> None:
    unit = api.error(400, "GET", "health/checks/certificate-expiration/1/hours")
    assert unit == bad_request("Time unit not recognised. Supported units: days, weeks, months, years.")
    value = api.error(400, "GET", "health/checks/certificate-expiration/x/days")
    assert value == bad_request("Invalid expiration value.")


def test_checks_and_nodes_that_do_not_exist(api: Api) -> None:
    assert api.error(404, "GET", "health/checks/nope") == NOT_FOUND
    assert api.error(404, "GET", "aliveness-test/nov") == NOT_FOUND
    assert api.error(404, "GET", "healthchecks/node/nope") == NOT_FOUND
    assert api.error(404, "DELETE", "reset/nope") == NOT_FOUND


def test_an_alarm_fails_the_check(api: Api, alarm: Alarm) -> None:
    with alarm:
        _check_that_an_alarm_is_told(api)
    eventually(lambda: api.ask("GET", "health/checks/alarms").status_code == 200)


def _check_that_an_alarm_is_told(api: Api) -> None:
    failed = eventually(
        lambda: answer if (answer := api.ask("GET", "health/checks/alarms")).status_code == 503 else None
    ).json()
    assert failed["status"] == "failed"
    assert [item["resource"] for item in failed["alarms"]] == ["memory"]
    eventually(lambda: api.get("nodes")[0]["mem_alarm"] is True)
