"""Definitions over the management API: export all that the broker is set up with, and import it."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import ROOT, Api, bad_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingConnection
    from tests.support.brokers import Broker

SALT = b"\x01\x02\x03\x04"


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [item for item in items if item["name"] == name]
    return found


@pytest.fixture
def filled(api: Api, vhost: str) -> str:
    """A virtual host with one thing of each kind."""
    api.put(f"queues/{vhost}/q", {"durable": True, "arguments": {"x-max-length": 7}})
    api.put(f"exchanges/{vhost}/e", {"durable": True, "type": "topic"})
    api.post(f"bindings/{vhost}/e/e/q/q", {"routing_key": "a.#", "arguments": {"x": 1}})
    api.put(f"policies/{vhost}/p", {"pattern": "^q", "definition": {"max-length": 5}})
    api.put(f"operator-policies/{vhost}/o", {"pattern": "^q", "definition": {"expires": 500000}})
    api.put(f"vhost-limits/{vhost}/max-queues", {"value": 9})
    return vhost


def test_what_is_exported(api: Api, filled: str) -> None:
    exported = api.get("definitions")

    def of(section: str) -> list[dict[str, Any]]:
        return [item for item in exported[section] if item.get("vhost") == filled]

    (queue,) = of("queues")
    assert (queue["name"], queue["durable"], queue["auto_delete"]) == ("q", True, False)
    assert queue["arguments"]["x-max-length"] == 7
    (exchange,) = of("exchanges")
    assert (exchange["name"], exchange["type"], exchange["durable"]) == ("e", "topic", True)
    assert of("bindings") == [
        {
            "source": "e",
            "vhost": filled,
            "destination": "q",
            "destination_type": "queue",
            "routing_key": "a.#",
            "arguments": {"x": 1},
        }
    ]
    assert of("policies") == [
        {
            "vhost": filled,
            "name": "p",
            "pattern": "^q",
            "definition": {"max-length": 5},
            "priority": 0,
            "apply-to": "all",
        }
    ]
    assert of("permissions") == [
        {"user": "guest", "vhost": filled, "configure": ".*", "write": ".*", "read": ".*"}
    ]
    operator = named(of("parameters"), "o")
    assert (operator["component"], operator["value"]["definition"]) == (
        "operator_policy",
        {"expires": 500000},
    )
    assert named(exported["vhosts"], filled)["name"] == filled
    guest = named(exported["users"], "guest")
    assert (guest["tags"], guest["hashing_algorithm"]) == (
        ["administrator"],
        "rabbit_password_hashing_sha256",
    )
    assert guest["password_hash"]


def test_what_comes_and_goes_by_itself_is_not_exported(
    api: Api, name: str, connections: Callable[..., BlockingConnection]
) -> None:
    connections().channel().queue_declare(name, exclusive=True)
    exported = api.get("definitions")
    assert name not in [item["name"] for item in exported["queues"]]
    assert not any(
        item["name"].startswith("amq.")
        for item in exported["exchanges"]
        if item["name"] != "amq.rabbitmq.log"
    )
    assert not any(item["source"] == "" for item in exported["bindings"])


def test_definitions_of_one_virtual_host_name_none(api: Api, filled: str, broker: Broker) -> None:
    exported = api.get(f"definitions/{filled}")
    assert [item["name"] for item in exported["queues"]] == ["q"]
    named = since(broker, (4, 0), set(), {"policies"})
    for section in ("queues", "exchanges", "bindings", "policies"):
        assert ["vhost" in item for item in exported[section]] == [section in named], section
    assert api.error(400, "GET", "definitions/nov") == bad_request("vhost_not_found")
    nowhere = {"error": "not_found", "reason": "vhost_not_found"}
    assert api.error(404, "POST", "definitions/nov", {}) == nowhere


def test_an_export_is_imported_again(api: Api, filled: str) -> None:
    exported = api.get("definitions")
    api.delete(f"vhosts/{filled}")
    api.post("definitions", exported)
    again = api.get("definitions")
    for section in ("queues", "exchanges", "bindings", "policies", "permissions", "parameters"):
        before, after = (
            [item for item in found[section] if item.get("vhost") == filled] for found in (exported, again)
        )
        assert after == before, section


def test_an_export_of_one_virtual_host_is_imported_into_another(api: Api, filled: str, name: str) -> None:
    other = f"{filled}.copy"
    api.put(f"vhosts/{other}")
    try:
        api.post(f"definitions/{other}", api.get(f"definitions/{filled}"))
        assert [item["name"] for item in api.get(f"queues/{other}")] == ["q"]
        bindings = [item for item in api.get(f"bindings/{other}") if item["source"]]
        assert [(item["source"], item["destination"]) for item in bindings] == [("e", "q")]
        assert [item["name"] for item in api.get(f"policies/{other}")] == ["p"]
    finally:
        api.delete(f"vhosts/{other}")


def test_an_import_changes_but_removes_nothing(api: Api, filled: str) -> None:
    policy = {"vhost": filled, "name": "p", "pattern": "^x", "definition": {"max-length": 6}}
    queue = {"vhost": filled, "name": "q", "durable": True, "auto_delete": False, "arguments": {}}
    api.post("definitions", {"policies": [policy], "queues": [queue], "nonsense": 1})
    assert api.get(f"policies/{filled}/p")["definition"] == {"max-length": 6}
    assert api.get(f"queues/{filled}/q")["arguments"]["x-max-length"] == 7


def test_users_are_imported_with_hash_or_password(api: Api, name: str) -> None:
    hashed = base64.b64encode(SALT + hashlib.sha256(SALT + b"pw").digest()).decode()
    users: list[dict[str, Any]] = [
        {
            "name": f"hash.{name}",
            "password_hash": hashed,
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "management",
        },
        {"name": f"text.{name}", "password": "pw", "tags": ["management"]},
    ]
    try:
        api.post("definitions", {"users": users})
        for user in users:
            with Api(str(api.url), (user["name"], "pw")) as made:
                assert made.get("whoami")["tags"] == ["management"]
    finally:
        for user in users:
            api.delete(f"users/{user['name']}")


@pytest.mark.parametrize("content", [b"{", b"[]"])
def test_what_is_no_json_object_is_refused(api: Api, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    error = api.error(400, "POST", "definitions", content=content, headers=headers)
    assert error == bad_request("failed_to_parse_json")


def test_items_that_refer_to_nothing_are_refused(api: Api, broker: Broker) -> None:
    queue = {"name": "q", "vhost": "nov", "durable": True, "auto_delete": False, "arguments": {}}
    error = api.error(400, "POST", "definitions", {"queues": [queue]})
    reason: Any = 'Please create virtual host "nov" prior to importing definitions.'
    if broker.kind == "embedded":
        reason += ' (queues: vhost "nov", name "q")'  # in both profiles: it is the better text
    elif broker.version < (4, 0):
        reason = ["no_such_vhost", "nov"]
    assert error == bad_request(reason)
    permission = {"user": "nobody", "vhost": "/", "configure": "", "write": "", "read": ""}
    refused = api.error(400, "POST", "definitions", {"permissions": [permission]})
    assert "no_such_user" in str(refused["reason"]) or "not_found" in str(refused["reason"])
    policy = {"vhost": "/", "name": "bad", "pattern": ".", "definition": {"foo": 1}}
    wrong = api.error(400, "POST", "definitions", {"policies": [policy]})
    assert "are not recognised policy settings" in wrong["reason"]


def test_an_upload_of_a_form_is_imported(api: Api, vhost: str) -> None:
    content = (
        f'{{"queues": [{{"name": "f", "vhost": "{vhost}", "durable": true, '
        '"auto_delete": false, "arguments": {}}]}'
    )
    answer = api.ask("POST", "definitions", files={"file": ("d.json", content.encode())})
    assert answer.status_code == 204, answer.text
    assert [item["name"] for item in api.get(f"queues/{vhost}")] == ["f"]


def test_a_download_has_a_name(api: Api) -> None:
    answer = api.ask("GET", "definitions?download=d.json")
    assert answer.headers["content-disposition"] == "attachment; filename=d.json"


def test_cluster_definitions_need_an_administrator(api: Api, users: Callable[..., Api]) -> None:
    user = users("monitoring,policymaker")
    for method, path in (("GET", "definitions"), ("POST", "definitions"), ("GET", f"definitions/{ROOT}")):
        error = user.error(401, method, path, {} if method == "POST" else None)
        assert error == {"error": "not_authorised", "reason": "Not administrator user"}
