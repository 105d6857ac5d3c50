"""Bindings over the management API: make, list, show, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.management.client import NOT_FOUND, ROOT, Api, part, refused

if TYPE_CHECKING:
    from tests.support.admin import Names


def between(exchange: str, queue: str) -> str:
    return f"bindings/{ROOT}/e/{part(exchange)}/q/{part(queue)}"


def bind(api: Api, path: str, body: Any = None) -> str:
    """Make a binding; returns the header `Location`."""
    answer = api.ask("POST", path, {} if body is None else body)
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    return answer.headers["location"]


def test_a_binding_is_shown_as_it_was_made(api: Api, queue: str) -> None:
    bind(api, between("amq.topic", queue), {"routing_key": "a.*"})
    assert api.get(between("amq.topic", queue)) == [
        {
            "source": "amq.topic",
            "vhost": "/",
            "destination": queue,
            "destination_type": "queue",
            "routing_key": "a.*",
            "arguments": {},
            "properties_key": "a.%2A",
        }
    ]


def test_location_leads_to_the_binding(api: Api, queue: str) -> None:
    location = bind(api, between("amq.direct", queue), {"routing_key": "a/b"})
    assert location == f"{queue}/a%252Fb"
    shown = api.get(f"bindings/{ROOT}/e/amq.direct/q/{location}")
    assert shown["routing_key"] == "a/b"


def test_a_binding_that_exists_is_made_again_without_error(api: Api, queue: str) -> None:
    for _ in range(2):
        bind(api, between("amq.direct", queue), {"routing_key": "k"})
    assert len(api.get(between("amq.direct", queue))) == 1


@pytest.mark.parametrize(
    ("routing_key", "properties_key"),
    [
        ("", "~"),
        ("k", "k"),
        ("a.b-c_d", "a.b-c_d"),
        ("a b", "a+b"),
        ("a/b", "a%2Fb"),
        ("ü", "%C3%BC"),
        ("a~b", "a%7Eb"),
        ("100%", "100%25"),
        ("#", "%23"),
    ],
)
def test_properties_key_is_the_routing_key_fit_for_paths(
    api: Api, queue: str, routing_key: str, properties_key: str
) -> None:
    bind(api, between("amq.direct", queue), {"routing_key": routing_key})
    (shown,) = api.get(between("amq.direct", queue))
    assert (shown["routing_key"], shown["properties_key"]) == (routing_key, properties_key)
    path = f"{between('amq.direct', queue)}/{part(properties_key)}"
    assert api.get(path) == shown
    api.delete(path)
    assert api.get(between("amq.direct", queue)) == []
    assert api.error(404, "GET", path) == NOT_FOUND


def test_arguments_tell_bindings_apart(api: Api, queue: str) -> None:
    for arguments in ({"x-match": "any", "a": 1}, {"x-match": "any", "a": 2}):
        bind(api, between("amq.headers", queue), {"routing_key": "k", "arguments": arguments})
    first, second = api.get(between("amq.headers", queue))
    assert first["properties_key"] != second["properties_key"]
    for shown in (first, second):
        key, tilde, token = shown["properties_key"].partition("~")
        assert (key, tilde, len(token)) == ("k", "~", 6)
        assert api.get(f"{between('amq.headers', queue)}/{part(shown['properties_key'])}") == shown
    api.delete(f"{between('amq.headers', queue)}/{part(first['properties_key'])}")
    assert api.get(between("amq.headers", queue)) == [second]


def test_exchanges_are_bound_to_exchanges(api: Api, name: str, names: Names) -> None:
    other = names()
    for exchange in (name, other):
        api.put(f"exchanges/{ROOT}/{exchange}", {})
    path = f"bindings/{ROOT}/e/{name}/e/{other}"
    assert bind(api, path, {"routing_key": "k"}) == f"{other}/k"
    (shown,) = api.get(path)
    assert (shown["destination"], shown["destination_type"]) == (other, "exchange")
    api.delete(f"{path}/k")
    assert api.get(path) == []


def test_binding_what_does_not_exist(api: Api, queue: str) -> None:
    no_queue = {"error": "not_found", "reason": "no queue 'nope' in vhost '/'"}
    assert api.error(404, "POST", between("amq.direct", "nope"), {}) == no_queue
    no_exchange = {"error": "not_found", "reason": "no exchange 'nope' in vhost '/'"}
    assert api.error(404, "POST", between("nope", queue), {}) == no_exchange
    no_vhost = {"error": "not_found", "reason": "vhost_not_found"}
    assert api.error(404, "POST", "bindings/nov/e/amq.direct/q/q", {}) == no_vhost
    assert api.get(between("amq.direct", "nope")) == []
    assert api.error(404, "GET", "bindings/nov") == NOT_FOUND


def test_bindings_of_the_default_exchange_cannot_be_made_or_deleted(api: Api, queue: str) -> None:
    assert api.error(401, "POST", between("amq.default", queue), {}) == refused("Access refused.")
    path = f"{between('amq.default', queue)}/{queue}"
    assert api.get(path)["source"] == ""
    assert api.error(401, "DELETE", path) == refused("Access refused.")


def test_a_binding_has_no_put(api: Api, queue: str) -> None:
    assert api.error(405, "PUT", between("amq.direct", queue), {}) is None


def test_lists_are_in_the_order_of_names(api: Api, vhost: str) -> None:
    for queue in ("b", "a"):
        api.put(f"queues/{vhost}/{queue}", {"durable": True})
        for exchange in ("amq.topic", "amq.direct"):
            for key in ("2", "1"):
                bind(api, f"bindings/{vhost}/e/{exchange}/q/{queue}", {"routing_key": key})
    shown = api.get(f"bindings/{vhost}")
    found = [(item["source"], item["destination"], item["routing_key"]) for item in shown]
    assert found == [
        ("", "a", "a"),
        ("", "b", "b"),
        *((source, queue, key) for source in ("amq.direct", "amq.topic") for queue in "ab" for key in "12"),
    ]
    everywhere = [item for item in api.get("bindings") if item["vhost"] == vhost]
    assert everywhere == shown
