"""Queues over the management API: declare, show, delete, purge, fetch messages."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.support import since
from tests.management.client import NOT_FOUND, ROOT, Api, bad_request, refused
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker

#: The shortest request for messages that is complete.
FETCH = {"count": 10, "ackmode": "ack_requeue_true", "encoding": "auto"}


def path_of(queue: str) -> str:
    return f"queues/{ROOT}/{queue}"


def put_in(channel: BlockingChannel, queue: str, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def test_declaring_twice_is_no_error(api: Api, name: str) -> None:
    wanted = {"durable": True, "arguments": {"x-max-length": 5}}
    assert [api.put(path_of(name), wanted) for _ in range(2)] == [201, 204]


def test_a_queue_is_shown_as_it_was_declared(api: Api, name: str) -> None:
    api.put(path_of(name), {"durable": True, "auto_delete": True, "arguments": {"x-max-length": 5}})
    shown = api.get(path_of(name))
    assert shown["arguments"].pop("x-queue-type", "classic") == "classic"
    keys = ("name", "vhost", "durable", "auto_delete", "exclusive", "type", "arguments")
    assert {key: shown[key] for key in keys} == {
        "name": name,
        "vhost": "/",
        "durable": True,
        "auto_delete": True,
        "exclusive": False,
        "type": "classic",
        "arguments": {"x-max-length": 5},
    }


def test_nothing_is_durable_unless_the_request_says_so(api: Api, name: str, broker: Broker) -> None:
    answer = api.ask("PUT", path_of(name), {})
    if answer.status_code == 201:
        shown = api.get(path_of(name))
        assert (shown["durable"], shown["auto_delete"]) == (False, False)
    else:  # releases that refuse transient queues
        assert answer.status_code == 400
        assert "transient_nonexcl_queues" in answer.text


def test_texts_stand_for_truth_values_as_rabbitmqadmin_sends_them(api: Api, name: str) -> None:
    api.put(path_of(name), {"durable": "true", "auto_delete": "false"})
    shown = api.get(path_of(name))
    assert (shown["durable"], shown["auto_delete"]) == (True, False)


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_other_values_are_no_truth_values(api: Api, name: str, value: Any) -> None:
    reason = api.error(400, "PUT", path_of(name), {"durable": value})
    assert reason == bad_request(["not_boolean", value])


def test_path_wins_over_names_in_the_body(api: Api, name: str) -> None:
    api.put(path_of(name), {"name": "other", "vhost": "elsewhere", "durable": True, "unknown": 1})
    assert api.get(path_of(name))["name"] == name


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"durable": False}, "inequivalent arg 'durable' for queue '{}' in vhost '/': received 'false' but"),
        (
            {"durable": True, "auto_delete": True},
            "inequivalent arg 'auto_delete' for queue '{}' in vhost '/': received 'true' but",
        ),
        (
            {"durable": True, "arguments": {"x-max-length": 11}},
            "inequivalent arg 'x-max-length' for queue '{}' in vhost '/': received '11' but current is '10'",
        ),
        (
            {"durable": True},
            "inequivalent arg 'x-max-length' for queue '{}' in vhost '/': received none but current is the "
            "value '10' of type 'long'",
        ),
    ],
)
def test_other_settings_than_those_of_the_queue_are_refused(
    api: Api, name: str, wanted: dict[str, Any], text: str
) -> None:
    api.put(path_of(name), {"durable": True, "arguments": {"x-max-length": 10}})
    error = api.error(400, "PUT", path_of(name), wanted)
    assert error["error"] == "bad_request"
    assert error["reason"].startswith(text.format(name))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-max-length": "a"}, "invalid arg 'x-max-length' for queue '{}' in vhost '/': "),
        (
            {"x-message-ttl": -1},
            "invalid arg 'x-message-ttl' for queue '{}' in vhost '/': {value_negative,-1}",
        ),
        ({"x-queue-type": "nope"}, "invalid arg 'x-queue-type' for queue '{}' in vhost '/': "),
    ],
)
def test_wrong_arguments_are_refused(api: Api, name: str, arguments: dict[str, Any], text: str) -> None:
    error = api.error(400, "PUT", path_of(name), {"durable": True, "arguments": arguments})
    assert error["error"] == "bad_request"
    assert error["reason"].startswith(text.replace("{}", name))
    assert api.error(404, "GET", path_of(name)) == NOT_FOUND


def test_arguments_must_not_be_null(api: Api, name: str) -> None:
    error = api.error(400, "PUT", path_of(name), {"durable": True, "arguments": {"x-custom": None}})
    assert error == bad_request("null_not_allowed")


def test_arguments_that_no_broker_knows_are_kept(api: Api, name: str) -> None:
    custom = {"x-custom": ["a", 1, 1.5, True, {"b": [2]}]}
    api.put(path_of(name), {"durable": True, "arguments": custom})
    shown = api.get(path_of(name))["arguments"]
    assert shown["x-custom"] == custom["x-custom"]


def test_an_empty_list_is_no_arguments(api: Api, name: str) -> None:
    assert api.put(path_of(name), {"durable": True, "arguments": []}) == 201


@pytest.mark.parametrize("queue_name", ["amq.own", "amq."])
def test_names_of_the_broker_are_refused(api: Api, queue_name: str) -> None:
    assert api.error(401, "PUT", path_of(queue_name), {"durable": True}) == refused("Access refused.")


def test_a_name_has_at_most_255_bytes(api: Api) -> None:
    error = api.error(400, "PUT", path_of("é" * 128), {"durable": True})
    assert error == bad_request("queue should be less than 255 bytes, actually was 256\n")


def test_a_slash_in_a_name_is_no_end_of_it(api: Api, names: Any) -> None:
    name = names.keep(f"{names()}/with space/é")
    path = f"queues/{ROOT}/{name.replace('/', '%2F').replace(' ', '%20')}"
    assert api.put(path, {"durable": True}) == 201
    assert api.get(path)["name"] == name


def test_missing_virtual_hosts(api: Api) -> None:
    missing = {"error": "not_found", "reason": "vhost_not_found"}
    assert api.error(404, "PUT", "queues/nov/q", {"durable": True}) == missing
    for path in ("queues/nov", "queues/nov/q"):
        assert api.error(404, "GET", path) == NOT_FOUND
    assert api.error(404, "DELETE", "queues/nov/q") == NOT_FOUND


def test_deleting(api: Api, queue: str) -> None:
    api.delete(path_of(queue))
    assert api.error(404, "DELETE", path_of(queue)) == NOT_FOUND
    assert api.error(404, "GET", path_of(queue)) == NOT_FOUND


def test_deleting_only_what_is_empty(api: Api, queue: str, channel: BlockingChannel) -> None:
    put_in(channel, queue, b"a")
    error = api.error(400, "DELETE", f"{path_of(queue)}?if-empty=true")
    assert error == bad_request(f"queue '{queue}' in vhost '/' not empty")
    channel.queue_purge(queue)
    api.delete(f"{path_of(queue)}?if-empty=true")


def test_deleting_only_what_is_unused(api: Api, queue: str, channel: BlockingChannel) -> None:
    tag = channel.basic_consume(queue, lambda *_: None)
    error = api.error(400, "DELETE", f"{path_of(queue)}?if-unused=true")
    assert error == bad_request(f"queue '{queue}' in vhost '/' in use")
    channel.basic_cancel(tag)
    api.delete(f"{path_of(queue)}?if-unused=true")


def test_purging(api: Api, queue: str, channel: BlockingChannel) -> None:
    put_in(channel, queue, b"a", b"b")
    api.delete(f"{path_of(queue)}/contents")
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    assert api.error(404, "DELETE", f"{path_of(queue)}x/contents") == NOT_FOUND
    assert api.error(405, "GET", f"{path_of(queue)}/contents") is None


def test_bindings_of_a_queue_begin_with_that_of_the_default_exchange(api: Api, queue: str) -> None:
    api.ask("POST", f"bindings/{ROOT}/e/amq.topic/q/{queue}", {"routing_key": "a.b"})
    shown = api.get(f"{path_of(queue)}/bindings")
    assert [(item["source"], item["routing_key"], item["properties_key"]) for item in shown] == [
        ("", queue, queue),
        ("amq.topic", "a.b", "a.b"),
    ]
    assert {item["destination"] for item in shown} == {queue}


def test_actions_are_those_of_mirrored_queues(api: Api, queue: str, broker: Broker) -> None:
    status = since(broker, (4, 0), 400, 204)
    answer = api.ask("POST", f"{path_of(queue)}/actions", {"action": "sync"})
    assert answer.status_code == status
    if status == 400:
        assert answer.json() == bad_request(["unknown", "sync"])
    unknown = api.error(400, "POST", f"{path_of(queue)}/actions", {"action": "nope"})
    assert unknown == bad_request(["unknown", "nope"])
    none = api.error(400, "POST", f"{path_of(queue)}/actions", {})
    assert none == bad_request("[{key_missing,action}]")


# Fetching messages


def test_a_fetched_message_tells_all_about_itself(api: Api, queue: str, channel: BlockingChannel) -> None:
    put_in(channel, queue, b"hello", content_type="text/plain", headers={"a": 1}, delivery_mode=2, priority=3)
    (message,) = api.post(f"{path_of(queue)}/get", FETCH)
    assert message == {
        "payload_bytes": 5,
        "redelivered": False,
        "exchange": "",
        "routing_key": queue,
        "message_count": 0,
        "properties": {
            "content_type": "text/plain",
            "headers": {"a": 1},
            "delivery_mode": 2,
            "priority": 3,
        },
        "payload": "hello",
        "payload_encoding": "string",
    }


def test_a_message_without_properties_has_a_list_of_them(
    api: Api, queue: str, channel: BlockingChannel
) -> None:
    channel.basic_publish("", queue, b"a")
    (message,) = api.post(f"{path_of(queue)}/get", FETCH)
    assert message["properties"] == []


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("ack_requeue_true", [b"1", b"2"]),
        ("reject_requeue_true", [b"1", b"2"]),
        ("ack_requeue_false", [b"2"]),
        ("reject_requeue_false", [b"2"]),
    ],
)
def test_what_becomes_of_a_fetched_message(
    api: Api, queue: str, channel: BlockingChannel, mode: str, left: list[bytes]
) -> None:
    put_in(channel, queue, b"1", b"2")
    (message,) = api.post(f"{path_of(queue)}/get", {**FETCH, "count": 1, "ackmode": mode})
    assert (message["payload"], message["message_count"]) == ("1", 1)
    found = []
    eventually(lambda: channel.queue_declare(queue, passive=True).method.message_count == len(left))
    for _ in left:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        found.append((body, method.redelivered))
    assert found == [(body, body == b"1") for body in left]


def test_rejected_messages_become_dead_letters(api: Api, names: Any, channel: BlockingChannel) -> None:
    source, target = names("source"), names("target")
    api.put(path_of(target), {"durable": True})
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target}
    api.put(path_of(source), {"durable": True, "arguments": dead})
    put_in(channel, source, b"a")
    api.post(f"{path_of(source)}/get", {**FETCH, "ackmode": "reject_requeue_false"})
    method, properties, body = eventually(lambda: _got(channel, target))
    assert body == b"a"
    assert properties.headers["x-death"][0]["reason"] == "rejected"


def _got(channel: BlockingChannel, queue: str) -> Any:
    got = channel.basic_get(queue, auto_ack=True)
    return None if got[0] is None else got


@pytest.mark.parametrize(
    ("count", "payloads"), [(2, ["1", "2"]), ("2", ["1", "2"]), (0, []), (-1, ["1", "2", "3"])]
)
def test_how_many_messages_are_fetched(
    api: Api, queue: str, channel: BlockingChannel, count: Any, payloads: list[str]
) -> None:
    put_in(channel, queue, b"1", b"2", b"3")
    got = api.post(f"{path_of(queue)}/get", {**FETCH, "count": count})
    assert [message["payload"] for message in got] == payloads


@pytest.mark.parametrize(
    ("body", "encoding", "payload", "written_as"),
    [
        ("é".encode(), "auto", "é", "string"),
        (b"\xff", "auto", "/w==", "base64"),
        (b"a", "base64", "YQ==", "base64"),
        (b"\x00", "auto", "\x00", "string"),
    ],
)
def test_payloads_that_are_no_text_come_as_base64(
    api: Api,
    queue: str,
    channel: BlockingChannel,
    body: bytes,
    encoding: str,
    payload: str,
    written_as: str,
) -> None:
    put_in(channel, queue, body)
    (message,) = api.post(f"{path_of(queue)}/get", {**FETCH, "encoding": encoding})
    assert (message["payload"], message["payload_encoding"]) == (payload, written_as)


@pytest.mark.parametrize("truncate", [2, "2"])
def test_payloads_are_cut_on_request(
    api: Api, queue: str, channel: BlockingChannel, truncate: int | str
) -> None:
    put_in(channel, queue, b"hello")
    (message,) = api.post(f"{path_of(queue)}/get", {**FETCH, "truncate": truncate})
    assert (message["payload"], message["payload_bytes"]) == ("he", 5)


def test_wrong_requests_for_messages(api: Api, queue: str, broker: Broker) -> None:
    path = f"{path_of(queue)}/get"
    missing = "[{key_missing,ackmode},{key_missing,count},{key_missing,encoding}]"
    assert api.error(400, "POST", path, {}) == bad_request(missing)
    old = api.error(400, "POST", path, {"count": 1, "requeue": True, "encoding": "auto"})
    assert old == bad_request("[{key_missing,ackmode}]")
    encoding = api.error(400, "POST", path, {**FETCH, "encoding": "hex"})
    assert encoding == bad_request("Unsupported encoding. Please use auto or base64.")
    count = api.error(400, "POST", path, {**FETCH, "count": "x"})
    assert count == bad_request(["not_integer", "x"])
    if broker.version >= (4, 0):
        mode = api.error(400, "POST", path, {**FETCH, "ackmode": "nope"})
        assert mode == bad_request(
            "Invalid ackmode value: nope. Valid values are: ack_requeue_true, ack_requeue_false, "
            "reject_requeue_true, reject_requeue_false"
        )


def test_fetching_from_a_queue_that_does_not_exist(api: Api, broker: Broker) -> None:
    old = "NOT_FOUND - no queue 'nope' in vhost '/'"
    error = api.error(404, "POST", f"{path_of('nope')}/get", FETCH)
    assert error == {"error": "not_found", "reason": since(broker, (4, 0), "queue_not_found", old)}


# What a queue shows of its use


def test_what_happens_in_a_queue_is_counted(api: Api, queue: str, channel: BlockingChannel) -> None:
    put_in(channel, queue, b"1", b"22", b"333", delivery_mode=2)
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.basic_get(queue)

    counts = {
        "messages": 2,
        "messages_ready": 1,
        "messages_unacknowledged": 1,
        "messages_persistent": 2,
        "message_bytes": 5,
        "message_bytes_ready": 3,
        "message_bytes_unacknowledged": 2,
        "state": "running",
    }
    uses = {"publish": 3, "get": 2, "get_no_ack": 0, "deliver": 0, "deliver_get": 2, "ack": 1, "redeliver": 0}

    def counted() -> tuple[dict[str, Any], dict[str, Any]]:
        found = api.get(path_of(queue))
        stats = found.get("message_stats", {})
        return {name: found.get(name) for name in counts}, {name: stats.get(name) for name in uses}

    # RabbitMQ's parts of a queue tell their numbers at different times.
    with suppress(AssertionError):
        eventually(lambda: counted() == (counts, uses))
    assert counted() == (counts, uses)
    stats = api.get(path_of(queue))["message_stats"]
    assert set(stats["publish_details"]) == {"rate"}


def test_an_exclusive_queue_names_its_owner(
    api: Api, name: str, connections: Callable[..., BlockingConnection]
) -> None:
    channel = connections().channel()
    channel.queue_declare(name, exclusive=True)
    shown = eventually(lambda: found if (found := api.get(path_of(name))).get("owner_pid_details") else None)
    owner = shown["owner_pid_details"]
    assert set(owner) == {"name", "peer_host", "peer_port"}
    assert (shown["exclusive"], owner["peer_host"]) == (True, "127.0.0.1")
    assert owner["name"].startswith(f"127.0.0.1:{owner['peer_port']} -> 127.0.0.1:")
    error = api.error(400, "DELETE", path_of(name))
    assert error == bad_request(
        f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be originally "
        "declared on another connection or the exclusive property value does not match that of the original "
        "declaration."
    )


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_types_of_queues(api: Api, name: str, kind: str, broker: Broker) -> None:
    wanted = {"durable": True, "arguments": {"x-queue-type": kind}}
    assert api.put(path_of(name), wanted) == 201
    shown = api.get(path_of(name))
    assert (shown["type"], shown["arguments"]) == (kind, {"x-queue-type": kind})
    if kind == "quorum":
        error = api.error(400, "DELETE", f"{path_of(name)}?if-unused=true")
        assert error["reason"].endswith(
            "queue.delete operations with if-unused flag set are not supported by quorum queues"
        )
    else:
        fetch = api.error(400, "POST", f"{path_of(name)}/get", FETCH)
        assert "basic.get not supported by stream queues" in fetch["reason"]
        purge = api.error(400, "DELETE", f"{path_of(name)}/contents")
        assert purge == bad_request(f"queue.purge not supported by stream queues queue '{name}' in vhost '/'")
    api.delete(path_of(name))


# Bodies


@pytest.mark.parametrize("content", [b"{", b"[]", b"1", b"nul"])
def test_a_body_must_be_an_object(api: Api, name: str, content: bytes) -> None:
    assert api.error(400, "PUT", path_of(name), content=content) == bad_request("not_json")


def test_a_body_must_not_be_encoded_twice(api: Api, name: str) -> None:
    error = api.error(400, "PUT", path_of(name), content=b'"{}"')
    assert error == bad_request(
        "invalid payload: the request body JSON-decoded to a string. Is the input doubly-JSON-encoded?"
    )


def test_the_content_type_of_a_body_does_not_matter(api: Api, name: str) -> None:
    answer = api.ask(
        "PUT", path_of(name), content=b'{"durable":true}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 201


def test_payload_of_base64_is_what_was_published(api: Api, queue: str) -> None:
    sent = {
        "properties": {},
        "routing_key": queue,
        "payload": base64.b64encode(b"\xff\x00").decode(),
        "payload_encoding": "base64",
    }
    assert api.post(f"exchanges/{ROOT}/amq.default/publish", sent) == {"routed": True}
    (message,) = api.post(f"{path_of(queue)}/get", FETCH)
    assert base64.b64decode(message["payload"]) == b"\xff\x00"


def test_the_list_with_all_details(api: Api, queue: str, broker: Broker) -> None:
    if broker.version < (4, 0):
        assert api.error(404, "GET", "queues/detailed") == NOT_FOUND
        return

    def item() -> Any:
        (found,) = api.get(f"queues/detailed?page=1&name={queue}")["items"]
        return found if "messages" in found else None

    shown = eventually(item)
    assert (shown["name"], shown["messages"], shown["durable"]) == (queue, 0, True)
    assert {"arguments", "node", "type"} <= shown.keys()
    assert {"name": queue} in api.get("queues/detailed?columns=name")
    assert api.ask("PUT", "queues/detailed", {}).status_code == 405


def test_the_replicas_of_a_quorum_queue(api: Api, names: Names, queue: str, broker: Broker) -> None:
    if broker.version < (4, 0):
        assert api.ask("GET", f"queues/quorum/{ROOT}/{queue}/status").status_code in (400, 404)
        return
    name = names()
    api.put(path_of(name), {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    (replica,) = api.get(f"queues/quorum/{ROOT}/{name}/status")
    shown = {key: replica[key] for key in ("Node Name", "Raft State", "Membership")}
    assert shown == {
        "Node Name": api.get("overview")["node"],
        "Raft State": "leader",
        "Membership": "voter",
    }
    refused = {"status": "failed", "reason": "classic_queue_not_supported"}
    assert api.error(503, "GET", f"queues/quorum/{ROOT}/{queue}/status") == refused
    assert api.error(404, "GET", f"queues/quorum/{ROOT}/nope/status") == NOT_FOUND
