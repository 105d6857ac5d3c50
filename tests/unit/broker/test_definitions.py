"""Definitions: what an export holds, that an import brings it back, and which items are refused."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client, MemoryServer

from fedora_messaging.broker.accounts import Permissions, TopicPermissions
from fedora_messaging.broker.administration import AdministrationError
from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.broker.definitions import export_definitions, import_definitions
from fedora_messaging.broker.passwords import PasswordHash
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    import asyncio

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
POLICY = {"pattern": "^q", "definition": {"max-length": 3}, "priority": 1, "apply-to": "queues"}


def refusal(server: MemoryServer, document: Any, vhost: str | None = None) -> str:
    """Import definitions; returns why they are refused."""
    with pytest.raises(AdministrationError) as caught:
        import_definitions(server, document, None if vhost is None else server.vhosts[vhost])
    assert caught.value.error in ("bad_request", "not_found")
    return caught.value.reason


def set_up(server: MemoryServer) -> None:
    """Define one of everything."""
    admin = server.administration
    admin.set_vhost("v", "for tests", ["a", "b"], "quorum")
    admin.set_vhost_limit("v", "max-queues", 9)
    admin.set_user("bob", PasswordHash.of("secret"), ["monitoring"])
    admin.set_user_limit("bob", "max-channels", 4)
    admin.set_user("cert", None)
    admin.set_permissions("v", "bob", Permissions("a", "b", "c"))
    admin.set_topic_permissions("v", "bob", "amq.topic", TopicPermissions("w", "r"))
    admin.set_policy("v", "p", POLICY, operator=False)
    admin.set_policy("v", "o", POLICY, operator=True)
    admin.set_global_parameter("cluster_name", "test bus")
    for vhost in server.vhosts.values():
        vhost.declare_exchange(
            ExchangeDeclaration("e", "topic", True, False, True, {"x-a": [1, {"b": True}]})
        )
        vhost.declare_exchange(ExchangeDeclaration("t", "fanout", False, True, False, {}))
        vhost.declare_queue(
            QueueDeclaration("q", durable=True, arguments={"x-queue-type": "classic", "x-message-ttl": 5}),
            None,
        )
        vhost.declare_queue(QueueDeclaration("t", auto_delete=True), None)
        vhost.declare_queue(QueueDeclaration("", durable=True), None, "amq.gen-1")
        vhost.bind("e", vhost.queue("q"), "a.#", {})
        vhost.bind("amq.headers", vhost.queue("q"), "", {"x-match": "any", "n": 1})
        vhost.bind("e", vhost.exchange("t"), "", {})


# Exports


def test_export_of_a_new_broker(server: MemoryServer) -> None:
    found = export_definitions(server)
    (guest,) = found.pop("users")
    assert (guest["name"], guest["tags"], guest["limits"]) == ("guest", ["administrator"], {})
    assert PasswordHash.parse(guest["password_hash"], guest["hashing_algorithm"]).matches("guest")
    empty: dict[str, Any] = dict.fromkeys(
        (
            "topic_permissions",
            "parameters",
            "global_parameters",
            "policies",
            "queues",
            "exchanges",
            "bindings",
        ),
        [],
    )
    metadata = {"description": "", "tags": [], "default_queue_type": "classic"}
    assert found == {
        "rabbit_version": "4.3.6",
        "rabbitmq_version": "4.3.6",
        "product_name": "RabbitMQ",
        "product_version": "4.3.6",
        "rabbitmq_definition_format": "cluster",
        "original_cluster_name": "embedded",
        "vhosts": [{"name": "/", **metadata, "metadata": metadata, "limits": {}}],
        "permissions": [{"user": "guest", "vhost": "/", **ALL}],
        **empty,
    }


def test_version_is_that_of_the_profile(loop: asyncio.AbstractEventLoop) -> None:
    found = export_definitions(MemoryServer(loop, profile=RABBITMQ_3))
    assert {found[key] for key in ("rabbit_version", "rabbitmq_version", "product_version")} == {"3.10.8"}


def test_exclusive_queues_and_their_bindings_are_left_out(server: MemoryServer, client: Client) -> None:
    client.ask(m.QueueDeclare("own", exclusive=True))
    client.ask(m.QueueBind("own", "amq.topic", "k"))
    found = export_definitions(server)
    assert (found["queues"], found["bindings"]) == ([], [])


def test_values_that_json_lacks(server: MemoryServer) -> None:
    """As RabbitMQ writes them; what cannot be told is lost in both."""
    vhost = server.vhosts["/"]
    time = datetime(2026, 11, 29, tzinfo=UTC)
    vhost.declare_queue(
        QueueDeclaration("q\udcff", arguments={"x-a": time, "x-b": b"\xff", "x-c": None}), None
    )
    (queue,) = export_definitions(server)["queues"]
    assert queue["name"] == "Not UTF-8, base64 is: cf8="
    assert queue["arguments"] == {
        "x-a": 1795910400,
        "x-b": "Not UTF-8, base64 is: /w==",
        "x-c": "undefined",
        "x-queue-type": "classic",
    }
    json.dumps(export_definitions(server), allow_nan=False)


def test_permissions_in_a_virtual_host_that_is_missing_are_left_out(server: MemoryServer) -> None:
    """No other broker would take them."""
    server.accounts.set_permissions("guest", "missing", Permissions())
    assert [each["vhost"] for each in export_definitions(server)["permissions"]] == ["/"]


# Moves


def test_export_can_be_imported_elsewhere(server: MemoryServer, loop: asyncio.AbstractEventLoop) -> None:
    set_up(server)
    exported = json.loads(json.dumps(export_definitions(server)))
    other = MemoryServer(loop)
    for _ in range(2):  # a second time it changes nothing
        import_definitions(other, exported)
        assert export_definitions(other) == exported
    assert other.accounts.login("bob", "secret", "192.0.2.1").tags == ("monitoring",)
    assert other.vhosts["v"].queues["q"].arguments.queue_type == "classic"
    assert other.administration.cluster_name == "test bus"


@pytest.mark.parametrize("section", ["users", "vhosts", "policies", "global_parameters"])
def test_names_that_amqp_does_not_carry_may_be_long(
    server: MemoryServer, loop: asyncio.AbstractEventLoop, section: str
) -> None:
    """The management API takes them, so what it exports must not be refused."""
    admin, name = server.administration, "n" * 300
    admin.set_user(name, None)
    admin.set_vhost(name)
    admin.set_policy("/", name, POLICY, operator=False)
    admin.set_global_parameter(name, 1)
    found = [item for item in export_definitions(server)[section] if item["name"] == name]
    other = MemoryServer(loop)
    import_definitions(other, {section: found})
    assert [item for item in export_definitions(other)[section] if item["name"] == name] == found


def test_import_removes_nothing_and_leaves_what_exists(server: MemoryServer) -> None:
    set_up(server)
    before = export_definitions(server)
    import_definitions(server, {})
    import_definitions(
        server,
        {
            "queues": [{"name": "q", "vhost": "/", "durable": False, "arguments": {"x-max-length": 1}}],
            "exchanges": [
                {"name": "e", "vhost": "/", "type": "direct"},
                {"name": "amq.topic", "vhost": "/", "type": "direct"},
                {"name": "", "vhost": "/", "type": "topic"},
            ],
            "sections of tomorrow": {"a": 1},
        },
    )
    assert export_definitions(server) == before


def test_import_changes_users_policies_and_parameters(server: MemoryServer) -> None:
    set_up(server)
    changed = {"pattern": "", "definition": {"expires": 5}, "priority": 0, "apply-to": "all"}
    import_definitions(
        server,
        {
            "users": [{"name": "bob", "tags": "policymaker , monitoring", "password": "other"}],
            "policies": [{"vhost": "v", "name": "p", **changed}],
            "permissions": [{"vhost": "v", "user": "bob", **ALL}],
            "global_parameters": [{"name": "cluster_name", "value": "renamed"}],
        },
    )
    bob = server.accounts.login("bob", "other", None)
    assert (bob.tags, bob.permissions) == (("policymaker", "monitoring"), {"v": Permissions()})
    found = export_definitions(server)
    assert found["policies"] == [{"vhost": "v", "name": "p", **changed}]
    assert found["original_cluster_name"] == "renamed"


def test_items_of_other_releases(server: MemoryServer) -> None:
    """Older ones say less of a virtual host, and write no limits as an empty list; null says nothing."""
    new = {"description": "d", "tags": ["t"], "default_queue_type": "quorum"}
    old: dict[str, Any] = {"description": None, "tags": []}
    import_definitions(
        server,
        {
            "rabbit_version": "3.10.8",
            "users": [{"name": "bob", "tags": "", "password_hash": "", "limits": []}],
            "vhosts": [
                {"name": "plain"},
                {"name": "new", "metadata": new},
                {"name": "old", "metadata": old, "default_queue_type": "undefined"},
            ],
            "queues": [
                {"name": "bare", "vhost": "new"},
                {"name": "list", "vhost": "/", "durable": True, "auto_delete": False, "arguments": []},
            ],
        },
    )
    about = {name: (vhost.description, vhost.default_queue_type) for name, vhost in server.vhosts.items()}
    assert about == {
        "/": ("", "classic"),
        "plain": ("", "classic"),
        "new": ("d", "quorum"),
        "old": ("", "classic"),
    }
    assert server.vhosts["new"].queues["bare"].arguments.queue_type == "quorum"
    assert server.vhosts["/"].queues["list"].durable
    assert server.administration.user("bob").password is None


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha512"])
def test_hashes_of_passwords_are_kept(server: MemoryServer, algorithm: str) -> None:
    """With the function that made them."""
    salt = b"salt"
    text = base64.b64encode(salt + hashlib.new(algorithm, salt + b"secret").digest()).decode()
    name = f"rabbit_password_hashing_{algorithm}"
    import_definitions(
        server, {"users": [{"name": "bob", "password_hash": text, "hashing_algorithm": name, "tags": []}]}
    )
    server.accounts.login("bob", "secret", None)
    user = export_definitions(server)["users"][0]
    assert (user["password_hash"], user["hashing_algorithm"]) == (text, name)


def test_queues_of_an_older_release_can_be_declared_again(loop: asyncio.AbstractEventLoop) -> None:
    """The type that an export adds is none that a client must give."""
    server = MemoryServer(loop, profile=RABBITMQ_3)
    set_up(server)
    other = MemoryServer(loop, profile=RABBITMQ_3)
    import_definitions(other, export_definitions(server))
    client = Client(other).login()
    assert isinstance(client.ask(m.QueueDeclare("t", auto_delete=True)), m.QueueDeclareOk)


# One virtual host


def test_export_of_a_virtual_host_fits_any_other(server: MemoryServer) -> None:
    set_up(server)
    exported = export_definitions(server, server.vhosts["v"])
    assert set(exported) == {
        "rabbit_version",
        "rabbitmq_version",
        "product_name",
        "rabbitmq_definition_format",
        "original_vhost_name",
        "description",
        "metadata",
        "limits",
        "parameters",
        "policies",
        "queues",
        "exchanges",
        "bindings",
    }
    assert (exported["rabbitmq_definition_format"], exported["original_vhost_name"]) == (
        "single_virtual_host",
        "v",
    )
    sections = ("parameters", "policies", "queues", "exchanges", "bindings")
    assert not any("vhost" in item for section in sections for item in exported[section])
    assert json.dumps(exported).count('"name": "q"') == 1
    server.administration.set_vhost("w")
    import_definitions(server, exported, server.vhosts["w"])
    copied = export_definitions(server, server.vhosts["w"])
    assert {section: copied[section] for section in sections} == {
        section: exported[section] for section in sections
    }


def test_import_into_a_virtual_host_goes_nowhere_else(server: MemoryServer) -> None:
    """Whatever its items say, and without users."""
    server.administration.set_vhost("v")
    import_definitions(
        server,
        {
            "users": [{"name": "bob", "tags": []}],
            "vhosts": [{"name": "w"}],
            "permissions": [{"user": "guest", "vhost": "v", **ALL}],
            "global_parameters": [{"name": "g", "value": 1}],
            "queues": [{"name": "q", "vhost": "/"}],
            "policies": [{"name": "p", "vhost": "nowhere", **POLICY}],
        },
        server.vhosts["v"],
    )
    assert [user.name for user in server.accounts] == ["guest"]
    assert {name: list(vhost.queues) for name, vhost in server.vhosts.items()} == {"/": [], "v": ["q"]}
    assert list(server.vhosts["v"].policies.ordinary) == ["p"]
    assert server.administration.global_parameters == {}
    assert list(server.administration.user("guest").permissions) == ["/"]


# Users who stay


def test_kept_users_stay_as_they_are(server: MemoryServer) -> None:
    """The definitions can only let them into other virtual hosts."""
    import_definitions(
        server,
        {
            "users": [{"name": "guest", "tags": [], "password": "other", "limits": {"max-channels": 1}}],
            "vhosts": [{"name": "v"}],
            "permissions": [
                {"user": "guest", "vhost": "/", "configure": "", "write": "", "read": ""},
                {"user": "guest", "vhost": "v", "configure": "a", "write": "", "read": ""},
            ],
        },
        kept_users={"guest"},
    )
    guest = server.accounts.login("guest", "guest", "127.0.0.1")
    assert (guest.tags, guest.limits) == (("administrator",), {})
    assert guest.permissions == {"/": Permissions(), "v": Permissions("a", "", "")}


# Refusals


@pytest.mark.parametrize("document", [None, [], "x", 5])
def test_definitions_that_are_no_object(server: MemoryServer, document: Any) -> None:
    assert refusal(server, document) == "failed_to_parse_json"


@pytest.mark.parametrize("section", ["users", "queues", "bindings"])
@pytest.mark.parametrize("items", [{}, "x", None, [1], [[]]])
def test_sections_that_are_no_lists(server: MemoryServer, section: str, items: Any) -> None:
    expected = f"the section {section} of the definitions must be a list of objects"
    assert refusal(server, {section: items}) == expected
    assert refusal(server, {section: items}, "/") == expected


LONG = "ż" * 128
WRONG: list[tuple[str, Any, str | None]] = [
    ("users", {"tags": []}, '"name" is missing (users)'),
    ("users", {"name": "bob", "password": "canary"}, '"tags" is missing (users: name "bob")'),
    ("users", {"name": 5, "tags": []}, '"name" must be a string (users)'),
    ("users", {"name": "bob", "tags": 5}, None),
    ("users", {"name": "bob", "tags": [1]}, None),
    ("users", {"name": "bob", "tags": [], "password": 5}, '"password" must be a string (users: name "bob")'),
    ("users", {"name": "bob", "tags": [], "limits": 5}, '"limits" must be an object (users: name "bob")'),
    (
        "users",
        {"name": "bob", "tags": [], "limits": {"max-foo": 1}},
        'Unrecognised terms [{<<"max-foo">>,1}] in user-limits (users: name "bob")',
    ),
    (
        "users",
        {"name": "bob", "tags": [], "password_hash": "!canary"},
        'the password_hash cannot be used: Only base64 data is allowed (users: name "bob")',
    ),
    (
        "users",
        {"name": "bob", "tags": [], "password_hash": "canary==", "hashing_algorithm": "crc32"},
        "the password_hash cannot be used: unknown hashing algorithm 'crc32'; known: "
        "rabbit_password_hashing_sha256, rabbit_password_hashing_sha512, rabbit_password_hashing_md5 "
        '(users: name "bob")',
    ),
    ("vhosts", {}, '"name" is missing (vhosts)'),
    ("vhosts", {"name": None}, '"name" is missing (vhosts)'),
    ("vhosts", {"name": ["v"]}, '"name" must be a string (vhosts)'),
    (
        "vhosts",
        {"name": "v", "default_queue_type": "bogus"},
        'bogus is not a valid queue type (vhosts: name "v")',
    ),
    (
        "vhosts",
        {"name": "v", "metadata": {"default_queue_type": 5}},
        '"default_queue_type" must be a string (vhosts: name "v")',
    ),
    ("vhosts", {"name": "v", "metadata": 5}, '"metadata" must be an object (vhosts: name "v")'),
    (
        "permissions",
        {"vhost": "/", "user": "bob", **ALL},
        'vhost_or_user_not_found (permissions: vhost "/", user "bob")',
    ),
    (
        "permissions",
        {"vhost": "/", "user": "guest", **ALL, "read": "("},
        "invalid_regexp: missing ), unterminated subpattern at position 0 "
        '(permissions: vhost "/", user "guest")',
    ),
    (
        "permissions",
        {"vhost": "/", "user": "guest", "configure": "", "write": 5, "read": ""},
        '"write" must be a string (permissions: vhost "/", user "guest")',
    ),
    (
        "topic_permissions",
        {"vhost": "/", "user": "guest", "exchange": "e", "write": ""},
        '"read" is missing (topic_permissions: vhost "/", user "guest", exchange "e")',
    ),
    (
        "parameters",
        {"component": "shovel", "vhost": "/", "name": "s", "value": {"src-uri": "amqp://u:canary@h"}},
        "Validation failed\n\ncomponent shovel not found\n "
        '(parameters: vhost "/", component "shovel", name "s")',
    ),
    ("global_parameters", {"name": "g"}, '"value" is missing (global_parameters: name "g")'),
    (
        "policies",
        {"vhost": "nowhere", "name": "p", **POLICY},
        'Please create virtual host "nowhere" prior to importing definitions. '
        '(policies: vhost "nowhere", name "p")',
    ),
    (
        "policies",
        {"vhost": "/", "name": "p", "pattern": "", "definition": {"foo": 1}},
        'Validation failed\n\n[{<<"foo">>,1}] are not recognised policy settings\n '
        '(policies: vhost "/", name "p")',
    ),
    (
        "exchanges",
        {"vhost": "/", "name": "e", "type": "foo"},
        'precondition_failed: unknown exchange type \'foo\' (exchanges: vhost "/", name "e")',
    ),
    (
        "exchanges",
        {"vhost": "/", "name": "e", "durable": "yes"},
        '"durable" must be true or false (exchanges: vhost "/", name "e")',
    ),
    (
        "queues",
        {"vhost": "nowhere", "name": "q"},
        'Please create virtual host "nowhere" prior to importing definitions. '
        '(queues: vhost "nowhere", name "q")',
    ),
    (
        "queues",
        {"vhost": "/", "name": "q", "arguments": {"x-max-length": "canary"}},
        "precondition_failed: invalid arg 'x-max-length' for queue 'q' in vhost '/': "
        '"expected integer, got longstr" (queues: vhost "/", name "q")',
    ),
    (
        "queues",
        {"vhost": "/", "name": "q", "arguments": {"x": None}},
        'null_not_allowed (queues: vhost "/", name "q")',
    ),
    (
        "queues",
        {"vhost": "/", "name": LONG},
        '"name" should be less than 255 bytes, actually was 256 (queues: vhost "/", name "'
        + "ż" * 128
        + '")',
    ),
    (
        "queues",
        {"vhost": "/", "name": "\ud800"},
        '"name" is not Unicode text (queues: vhost "/", name "\ud800")',
    ),
    (
        "bindings",
        {"vhost": "/", "source": "amq.topic", "destination": "q", "destination_type": "queue"},
        'not_found: no queue \'q\' in vhost \'/\' (bindings: vhost "/", source "amq.topic", destination "q")',
    ),
    (
        "bindings",
        {"vhost": "/", "source": "amq.topic", "destination": "q", "destination_type": "topic"},
        'destination_type should be "queue" or "exchange", not "topic" '
        '(bindings: vhost "/", source "amq.topic", destination "q")',
    ),
    (
        "bindings",
        {"vhost": "/", "source": "", "destination": "amq.topic", "destination_type": "exchange"},
        "access_refused: operation not permitted on the default exchange "
        '(bindings: vhost "/", source "", destination "amq.topic")',
    ),
]


@pytest.mark.parametrize(("section", "item", "reason"), WRONG)
def test_items_that_are_wrong(server: MemoryServer, section: str, item: Any, reason: str | None) -> None:
    """Each text names the item, and shows no value that may be secret."""
    before = copy.deepcopy(export_definitions(server))
    tags = '"tags" must be a list of strings, or one string with commas (users: name "bob")'
    found = refusal(server, {section: [item]})
    assert found == (reason or tags)
    assert "canary" not in found
    after = export_definitions(server)
    if item.get("limits") != {"max-foo": 1}:  # that user was added before
        assert after == before


def test_items_before_a_wrong_one_are_added(server: MemoryServer) -> None:
    items = [{"vhost": "/", "name": name} for name in ("first", 5, "last")]
    assert refusal(server, {"queues": items}) == '"name" must be a string (queues: vhost "/")'
    assert list(server.vhosts["/"].queues) == ["first"]
