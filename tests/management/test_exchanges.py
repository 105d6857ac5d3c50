"""Exchanges over the management API: declare, show, delete, publish to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request, refused
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.admin import Names
    from tests.support.brokers import Broker


def path_of(exchange: str) -> str:
    return f"exchanges/{ROOT}/{exchange}"


def message(**changes: Any) -> dict[str, Any]:
    return {"properties": {}, "routing_key": "k", "payload": "p", "payload_encoding": "string", **changes}


def fetched(api: Api, queue: str) -> Any:
    (found,) = api.post(
        f"queues/{ROOT}/{queue}/get", {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    )
    return found


def test_declaring_twice_is_no_error(api: Api, name: str) -> None:
    wanted = {"type": "topic", "durable": True}
    assert [api.put(path_of(name), wanted) for _ in range(2)] == [201, 204]


def test_an_exchange_is_shown_as_it_was_declared(api: Api, name: str) -> None:
    wanted = {
        "type": "fanout",
        "durable": True,
        "auto_delete": True,
        "internal": True,
        "arguments": {"alternate-exchange": "amq.fanout"},
    }
    api.put(path_of(name), wanted)
    shown = api.get(path_of(name))
    expected = {
        "name": name,
        "vhost": "/",
        "user_who_performed_action": "guest",
        **wanted,
    }
    assert {key: shown[key] for key in expected} == expected
    assert "policy" not in shown


def test_an_exchange_is_transient_and_direct_unless_the_request_says_otherwise(api: Api, name: str) -> None:
    api.put(path_of(name), {})
    shown = api.get(path_of(name))
    keys = ("type", "durable", "auto_delete", "internal", "arguments")
    assert [shown[key] for key in keys] == ["direct", False, False, False, {}]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"type": "fanout", "durable": True}, "inequivalent arg 'type' for exchange '{}' in vhost '/': "),
        ({"type": "direct"}, "inequivalent arg 'durable' for exchange '{}' in vhost '/': "),
        (
            {"type": "direct", "durable": True, "internal": True},
            "inequivalent arg 'internal' for exchange '{}' in vhost '/': ",
        ),
    ],
)
def test_other_settings_than_those_of_the_exchange_are_refused(
    api: Api, name: str, wanted: dict[str, Any], text: str
) -> None:
    api.put(path_of(name), {"type": "direct", "durable": True})
    error = api.error(400, "PUT", path_of(name), wanted)
    assert error["error"] == "bad_request"
    assert error["reason"].startswith(text.format(name))


def test_an_unknown_type_is_refused(api: Api, name: str, broker: Broker) -> None:
    error = api.error(400, "PUT", path_of(name), {"type": "nope"})
    assert error["error"] == "bad_request"
    assert "nope" in error["reason"]


@pytest.mark.parametrize("name", ["amq.own", "amq.default", "amq.direct"])
def test_exchanges_of_the_broker_cannot_be_made_or_deleted(api: Api, name: str) -> None:
    if name != "amq.direct":
        assert api.error(401, "PUT", path_of(name), {}) == refused("Access refused.")
    if name != "amq.own":
        assert api.error(401, "DELETE", path_of(name)) == refused("Access refused.")


def test_deleting(api: Api, name: str) -> None:
    api.put(path_of(name), {})
    api.delete(path_of(name))
    assert api.error(404, "DELETE", path_of(name)) == NOT_FOUND
    assert api.error(404, "GET", path_of(name)) == NOT_FOUND


def test_deleting_only_what_is_unused(api: Api, queue: str) -> None:
    api.put(path_of(queue), {})
    api.post(f"bindings/{ROOT}/e/{queue}/q/{queue}", {})
    error = api.error(400, "DELETE", f"{path_of(queue)}?if-unused=true")
    assert error == bad_request(f"exchange '{queue}' in vhost '/' in use")
    api.delete(f"bindings/{ROOT}/e/{queue}/q/{queue}/~")
    api.delete(f"{path_of(queue)}?if-unused=true")


def test_exchanges_that_a_virtual_host_has_from_the_start(api: Api, vhost: str, broker: Broker) -> None:
    shown = {item["name"]: item for item in api.get(f"exchanges/{vhost}")}
    types = {
        "": "direct",
        "amq.direct": "direct",
        "amq.fanout": "fanout",
        "amq.headers": "headers",
        "amq.match": "headers",
        "amq.topic": "topic",
        "amq.rabbitmq.trace": "topic",
    }
    assert {name: shown[name]["type"] for name in types} == types
    assert api.get(f"exchanges/{vhost}/amq.default")["name"] == ""


def test_bindings_from_and_to_an_exchange(api: Api, name: str, names: Names) -> None:
    other = names()
    api.put(path_of(name), {})
    api.put(path_of(other), {})
    api.post(f"bindings/{ROOT}/e/{name}/e/{other}", {"routing_key": "k"})
    (outgoing,) = api.get(f"{path_of(name)}/bindings/source")
    (incoming,) = api.get(f"{path_of(other)}/bindings/destination")
    assert outgoing == incoming
    assert (outgoing["source"], outgoing["destination"], outgoing["destination_type"]) == (
        name,
        other,
        "exchange",
    )
    assert api.get(f"{path_of(name)}/bindings/destination") == []
    assert api.get(f"{path_of('nope')}/bindings/source") == []


def test_missing_virtual_hosts(api: Api) -> None:
    missing = {"error": "not_found", "reason": "vhost_not_found"}
    assert api.error(404, "PUT", "exchanges/nov/e", {}) == missing
    assert api.error(404, "GET", "exchanges/nov") == NOT_FOUND
    assert api.error(404, "DELETE", "exchanges/nov/e") == NOT_FOUND


# Publishing


def test_a_published_message_arrives_as_it_was_given(api: Api, queue: str) -> None:
    properties = {
        "content_type": "text/plain",
        "content_encoding": "utf-8",
        "headers": {"text": "é", "number": 5, "list": [1, "a"], "table": {"b": True}},
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "expiration": "60000",
        "message_id": "m",
        "timestamp": 1_700_000_000,
        "type": "t",
        "user_id": "guest",
        "app_id": "a",
        "cluster_id": "cl",
    }
    sent = message(routing_key=queue, payload="hé", properties=properties)
    assert api.post(f"{path_of('amq.default')}/publish", sent) == {"routed": True}
    found = fetched(api, queue)
    assert (found["payload"], found["payload_bytes"]) == ("hé", 3)
    assert found["properties"] == properties


def test_the_answer_tells_whether_a_queue_got_the_message(api: Api, queue: str) -> None:
    assert api.post(f"{path_of('amq.default')}/publish", message(routing_key="nope")) == {"routed": False}
    assert api.post(f"{path_of('amq.default')}/publish", message(routing_key=queue)) == {"routed": True}


def test_a_message_goes_on_to_the_alternate_exchange(api: Api, queue: str) -> None:
    api.put(path_of(queue), {"arguments": {"alternate-exchange": "amq.fanout"}})
    api.post(f"bindings/{ROOT}/e/amq.fanout/q/{queue}", {})
    assert api.post(f"{path_of(queue)}/publish", message()) == {"routed": True}
    assert fetched(api, queue)["exchange"] == queue


def test_unknown_properties_are_passed_over(api: Api, queue: str) -> None:
    sent = message(routing_key=queue, properties={"nope": 1})
    assert api.post(f"{path_of('amq.default')}/publish", sent) == {"routed": True}
    assert fetched(api, queue)["properties"] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"payload_encoding": "base64", "payload": "!!!"}, ["not_base64", "!!!"]),
        ({"payload_encoding": "hex"}, ["unsupported_encoding", "hex"]),
        ({"payload": 5}, "payload_not_string"),
        ({"properties": {"priority": "x"}}, ["not_int", "priority"]),
        ({"properties": {"content_type": 1}}, ["not_string", "content_type"]),
        ({"properties": {"expiration": 1}}, ["not_string", "expiration"]),
        (
            {"properties": {"expiration": "abc"}},
            "406 PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
        ),
        (
            {"properties": {"user_id": "other"}},
            "406 PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        ),
        ({"properties": {"headers": {"a": None}}}, "null_not_allowed"),
    ],
)
def test_wrong_messages_are_refused(api: Api, queue: str, changes: dict[str, Any], reason: Any) -> None:
    sent = message(routing_key=queue, **changes)
    assert api.error(400, "POST", f"{path_of('amq.default')}/publish", sent) == bad_request(reason)


@pytest.mark.parametrize("key", ["properties", "routing_key", "payload", "payload_encoding"])
def test_all_parts_of_a_message_are_needed(api: Api, key: str) -> None:
    sent = message()
    del sent[key]
    error = api.error(400, "POST", f"{path_of('amq.default')}/publish", sent)
    assert error == bad_request(f"[{{key_missing,{key}}}]")


def test_nobody_publishes_to_an_internal_exchange(api: Api, name: str) -> None:
    api.put(path_of(name), {"internal": True})
    error = api.error(400, "POST", f"{path_of(name)}/publish", message())
    assert error == bad_request(
        f"403 ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"
    )


def test_publishing_to_what_does_not_exist(api: Api, broker: Broker) -> None:
    old = bad_request("404 NOT_FOUND - no exchange 'nope' in vhost '/'")
    new = {"error": "not_found", "reason": "exchange_not_found"}
    error = api.error(since(broker, (4, 0), 404, 400), "POST", f"{path_of('nope')}/publish", message())
    assert error == since(broker, (4, 0), new, old)


def test_publishing_needs_permission(api: Api, queue: str, users: Callable[..., Api]) -> None:
    user = users("management", permissions=("", "", ".*"))
    sent = message(routing_key=queue)
    answer = user.ask("POST", f"{path_of('amq.default')}/publish", sent)
    assert answer.status_code in (400, 401)
    assert api.get(f"queues/{ROOT}/{queue}").get("messages", 0) == 0


# What an exchange shows of its use


def test_messages_in_and_out_are_counted(api: Api, queue: str, channel: BlockingChannel) -> None:
    api.put(path_of(queue), {"type": "direct"})
    api.post(f"bindings/{ROOT}/e/{queue}/q/{queue}", {"routing_key": "k"})
    for key in ("k", "k", "nope"):
        channel.basic_publish(queue, key, b"a")
    stats = eventually(lambda: _counted(api, queue))
    assert (stats["publish_in"], stats["publish_out"]) == (3, 2)
    assert set(stats["publish_in_details"]) == {"rate"}


def _counted(api: Api, exchange: str) -> Any:
    stats = api.get(path_of(exchange)).get("message_stats", {})
    # RabbitMQ tells of both one after the other.
    return stats if {"publish_in", "publish_out"} <= stats.keys() and stats["publish_out"] == 2 else None
