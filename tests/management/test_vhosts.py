"""Virtual hosts and their limits over the management API."""

from __future__ import annotations

import html
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.brokers import Broker

FULL = {"configure": ".*", "write": ".*", "read": ".*"}


def test_who_makes_a_virtual_host_has_all_permissions_in_it(api: Api, vhost: str) -> None:
    assert api.put(f"vhosts/{vhost}") == 204
    (permission,) = api.get(f"vhosts/{vhost}/permissions")
    assert permission == {"user": "guest", "vhost": vhost, **FULL}
    assert api.get(f"vhosts/{vhost}/topic-permissions") == []


def test_a_virtual_host_is_shown_as_it_was_made(api: Api, vhost: str) -> None:
    api.put(f"vhosts/{vhost}", {"description": "d", "tags": "a, b", "default_queue_type": "quorum"})
    shown = api.get(f"vhosts/{vhost}")
    assert (shown["name"], shown["description"], shown["tags"]) == (vhost, "d", ["a", "b"])
    assert (shown["tracing"], list(shown["cluster_state"].values())) == (False, ["running"])
    assert shown["metadata"]["description"] == "d"
    api.put(f"vhosts/{vhost}", {"tags": ["c"]})
    assert api.get(f"vhosts/{vhost}")["tags"] == ["c"]
    assert vhost in [item["name"] for item in api.get("vhosts")]


def test_queues_get_the_default_type_of_their_virtual_host(api: Api, name: str, broker: Broker) -> None:
    vhost = f"vhost.{name}"
    try:
        assert api.put(f"vhosts/{vhost}", {"default_queue_type": "quorum"}) == 201
        api.put(f"queues/{vhost}/q", {"durable": True})
        kind = since(broker, (4, 0), "quorum", "classic")  # before, it is for AMQP only
        assert api.get(f"queues/{vhost}/q")["type"] == kind
    finally:
        api.delete(f"vhosts/{vhost}")


def test_a_type_of_queues_that_does_not_exist(api: Api, name: str, broker: Broker) -> None:
    if broker.version < (4, 0):
        pytest.skip("older releases take any text")
    error = api.error(400, "PUT", f"vhosts/{name}", {"default_queue_type": "nope"})
    assert error == bad_request("nope is not a valid queue type")
    assert api.error(404, "GET", f"vhosts/{name}") == NOT_FOUND


def test_deleting_a_virtual_host_deletes_what_is_in_it(api: Api, vhost: str) -> None:
    api.put(f"queues/{vhost}/q", {"durable": True})
    api.delete(f"vhosts/{vhost}")
    assert api.error(404, "DELETE", f"vhosts/{vhost}") == NOT_FOUND
    assert api.error(404, "GET", f"queues/{vhost}/q") == NOT_FOUND
    api.put(f"vhosts/{vhost}")
    assert api.get(f"queues/{vhost}") == []


def test_a_protected_virtual_host_is_not_deleted(api: Api, vhost: str, broker: Broker) -> None:
    path = f"vhosts/{vhost}/deletion/protection"
    if broker.version < (4, 0):
        assert api.ask("POST", path).status_code in (404, 405)
        return
    assert api.ask("POST", path).status_code == 204
    assert api.get(f"vhosts/{vhost}")["protected_from_deletion"] is True
    assert api.error(412, "DELETE", f"vhosts/{vhost}") == {
        "error": "precondition_failed",
        "reason": f"Refusing to delete virtual host '{vhost}' because it is protected from deletion",
    }
    api.delete(path)
    assert api.get(f"vhosts/{vhost}")["protected_from_deletion"] is False
    api.delete(f"vhosts/{vhost}")


def test_messages_of_a_virtual_host_are_counted(api: Api, queue: str, channel: BlockingChannel) -> None:
    before = api.get(f"vhosts/{ROOT}").get("message_stats", {}).get("publish", 0)
    for _ in range(3):
        channel.basic_publish("", queue, b"a")

    def counted() -> Any:
        found = api.get(f"vhosts/{ROOT}")
        return found if found.get("message_stats", {}).get("publish", 0) >= before + 3 else None

    shown = eventually(counted)
    assert set(shown["message_stats"]["publish_details"]) == {"rate"}
    assert eventually(lambda: api.get(f"vhosts/{ROOT}").get("messages_ready", 0)) >= 3


# Limits


def test_limits(api: Api, vhost: str) -> None:
    assert api.get(f"vhost-limits/{vhost}") == []
    api.put(f"vhost-limits/{vhost}/max-queues", {"value": 1})
    api.put(f"vhost-limits/{vhost}/max-connections", {"value": 5})
    limits = {"vhost": vhost, "value": {"max-connections": 5, "max-queues": 1}}
    assert api.get(f"vhost-limits/{vhost}") == [limits]
    assert limits in api.get("vhost-limits")
    api.put(f"queues/{vhost}/q", {"durable": True})
    error = api.error(400, "PUT", f"queues/{vhost}/r", {"durable": True})
    assert "limit" in error["reason"]
    api.delete(f"vhost-limits/{vhost}/max-queues")
    assert api.put(f"queues/{vhost}/r", {"durable": True}) == 201


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        (
            "max-foo",
            10,
            'Validation failed\n\nUnrecognised terms [{<<"max-foo">>,10}] in limits\n',
        ),
        (
            "max-queues",
            "x",
            'Validation failed\n\nmax-queues should be a number, actually was <<"x">>\n',
        ),
    ],
)
def test_wrong_limits(api: Api, vhost: str, limit: str, value: Any, reason: str, broker: Broker) -> None:
    error = api.error(400, "PUT", f"vhost-limits/{vhost}/{limit}", {"value": value})
    assert error["error"] == "bad_request"
    assert html.unescape(error["reason"]) == reason


def test_a_limit_needs_a_value_and_a_virtual_host(api: Api, vhost: str) -> None:
    missing = api.error(400, "PUT", f"vhost-limits/{vhost}/max-queues", {})
    assert missing == bad_request("[{key_missing,value}]")
    nowhere = api.error(404, "PUT", "vhost-limits/nov/max-queues", {"value": 1})
    assert nowhere == {"error": "not_found", "reason": "vhost_not_found"}


def test_users_see_the_virtual_hosts_in_which_they_have_permissions(
    api: Api, vhost: str, users: Callable[..., Api]
) -> None:
    user, monitor = users("management"), users("monitoring")
    assert [item["name"] for item in user.get("vhosts")] == ["/"]
    assert {"/", vhost} <= {item["name"] for item in monitor.get("vhosts")}


def test_what_is_in_a_virtual_host_has_columns_and_no_pages(
    api: Api, vhost: str, channel: BlockingChannel
) -> None:
    assert api.get(f"vhosts/{vhost}/permissions?columns=user") == [{"user": "guest"}]
    topic = {"exchange": "amq.topic", "write": "a", "read": "b"}
    api.put(f"topic-permissions/{vhost}/guest", topic)
    assert api.get(f"vhosts/{vhost}/topic-permissions?columns=read") == [{"read": "b"}]
    for kind in ("connections", "channels"):
        path = f"vhosts/{ROOT}/{kind}?page=1&page_size=1&columns=vhost"
        assert {"vhost": "/"} in eventually(partial(api.get, path))


def test_starting_what_does_not_exist(api: Api, vhost: str, broker: Broker) -> None:
    node = api.get("overview")["node"]
    assert api.post(f"vhosts/{vhost}/start/{node}") is None
    elsewhere = since(broker, (4, 0), "Unknown node: nope", "Request to node nope failed with nodedown")
    assert api.error(400, "POST", f"vhosts/{vhost}/start/nope", {}) == bad_request(elsewhere)
    nothing = f'Request to node {node} failed with {{no_such_vhost,<<"nov">>}}'
    assert api.error(400, "POST", f"vhosts/nov/start/{node}", {}) == bad_request(nothing)
