"""What administrators do: orders that are carried out or refused, and all of it after a restart."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client, MemoryServer

from fedora_messaging.broker.accounts import Accounts, Permissions, TopicPermissions
from fedora_messaging.broker.administration import AdministrationError, policy_item
from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.broker.passwords import PasswordHash
from fedora_messaging.broker.server import BrokerError, Server
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fedora_messaging.broker.administration import Administration
    from fedora_messaging.broker.core.vhost import VirtualHost

ALL = Permissions()
LENGTH = {"pattern": "^q", "definition": {"max-length": 3}, "priority": 2, "apply-to": "queues"}


@pytest.fixture
def admin(server: MemoryServer) -> Administration:
    """The administration of a broker in memory."""
    return server.administration


def refusal(order: Callable[[], Any]) -> tuple[str, str]:
    """Carry out an order; returns kind and reason of its refusal."""
    with pytest.raises(AdministrationError) as caught:
        order()
    assert str(caught.value) == caught.value.reason
    return caught.value.error, caught.value.reason


def bad(order: Callable[[], Any]) -> str:
    """Carry out an order that is wrong in itself; returns the reason of the refusal."""
    kind, reason = refusal(order)
    assert kind == "bad_request"
    return reason


def run(data: Path, use: Callable[[Server], Any], accounts: Accounts | None = None) -> Any:
    """Start a broker on a data directory, without listening; returns what is made of it."""

    async def start() -> Any:
        server = Server(data=data, accounts=accounts)
        server.open(asyncio.get_running_loop())
        try:
            return use(server)
        finally:
            await server.stop()

    return asyncio.run(start())


def order(data: Path, *orders: Callable[[Administration], Any]) -> None:
    """Start a broker on a data directory, and carry orders out."""
    run(data, lambda server: [each(server.administration) for each in orders])


def rows(data: Path, query: str = "SELECT section, key FROM definition ORDER BY section, key") -> list[Any]:
    """Return what is in the data file."""
    connection = sqlite3.connect(data / "broker.sqlite")
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def put(vhost: VirtualHost, body: bytes = b"x") -> None:
    """Put a persistent message into the queue q."""
    properties = encode_properties(BasicProperties(delivery_mode=2))
    vhost.queue("q").enqueue(new_message("", "q", properties, body))


def head(vhost: VirtualHost) -> bytes:
    """Return the first message in the queue q, without taking it."""
    first = vhost.queue("q").peek()
    assert first is not None
    return first.message.body


def permissions(server: Server) -> dict[str, dict[str, Permissions]]:
    """Return what the users of a broker may do."""
    return {user.name: user.permissions for user in server.accounts}


def with_user(name: str, password: str = "x") -> Accounts:
    """Return accounts with one user, who may do everything in the first virtual host."""
    accounts = Accounts(guest=False)
    accounts.add_user(name, password, tags=("given",))
    accounts.set_permissions(name, "/", ALL)
    return accounts


# Virtual hosts


def test_virtual_host_is_made_and_changed(server: MemoryServer, admin: Administration) -> None:
    """A change replaces all that can be said of it; what is in it stays."""
    assert admin.set_vhost("v", "for tests", ["a", "b"], "quorum") is True
    vhost = admin.vhost("v")
    assert server.vhosts["v"] is vhost
    assert (vhost.description, vhost.tags, vhost.default_queue_type) == ("for tests", ("a", "b"), "quorum")
    vhost.declare_queue(QueueDeclaration("q"), None)
    assert admin.set_vhost("v") is False
    assert admin.vhost("v") is vhost
    assert (vhost.description, vhost.tags, vhost.default_queue_type) == ("", (), "classic")
    assert list(vhost.queues) == ["q"]


def test_queue_type_by_its_name_in_rabbitmq(admin: Administration) -> None:
    admin.set_vhost("v", default_queue_type="rabbit_quorum_queue")
    assert admin.vhost("v").default_queue_type == "quorum"


def test_virtual_host_with_an_unknown_queue_type_is_not_made(
    server: MemoryServer, admin: Administration
) -> None:
    assert bad(lambda: admin.set_vhost("v", default_queue_type="bogus")) == "bogus is not a valid queue type"
    assert list(server.vhosts) == ["/"]


def test_virtual_host_that_does_not_exist(admin: Administration) -> None:
    orders: list[Callable[[], Any]] = [
        lambda: admin.vhost("v"),
        lambda: admin.delete_vhost("v"),
        lambda: admin.protect_vhost("v", True),
        lambda: admin.set_vhost_limit("v", "max-queues", 1),
        lambda: admin.set_policy("v", "p", LENGTH, operator=False),
        lambda: admin.delete_policy("v", "p", operator=False),
    ]
    assert {refusal(each) for each in orders} == {("not_found", "vhost_not_found")}


def test_protected_virtual_host_is_not_deleted(server: MemoryServer, admin: Administration) -> None:
    admin.set_vhost("v")
    admin.protect_vhost("v", True)
    assert refusal(lambda: admin.delete_vhost("v")) == (
        "precondition_failed",
        "Refusing to delete virtual host 'v' because it is protected from deletion",
    )
    admin.set_vhost("v", "changed")  # a change lifts no protection
    assert admin.vhost("v").is_protected
    admin.protect_vhost("v", False)
    admin.delete_vhost("v")
    assert list(server.vhosts) == ["/"]


def test_deleted_virtual_host_takes_connections_and_permissions_along(
    server: MemoryServer, admin: Administration
) -> None:
    client = Client(server).login()
    admin.set_vhost("v")
    admin.set_permissions("v", "guest", ALL)
    admin.set_topic_permissions("v", "guest", "amq.topic", TopicPermissions("a", "b"))
    admin.delete_vhost("/")
    (told,) = client.told()
    assert isinstance(told.method, m.ConnectionClose)
    assert (told.method.reply_code, told.method.reply_text) == (
        320,
        "CONNECTION_FORCED - vhost '/' is deleted",
    )
    guest = admin.user("guest")
    assert list(guest.permissions) == ["v"]
    admin.delete_vhost("v")
    assert (guest.permissions, guest.topic_permissions, server.vhosts) == ({}, {}, {})


def test_limits_of_a_virtual_host(admin: Administration) -> None:
    admin.set_vhost_limit("/", "max-queues", 5)
    admin.set_vhost_limit("/", "max-connections", -1)
    assert admin.vhost("/").limits == {"max-queues": 5, "max-connections": -1}
    admin.set_vhost_limit("/", "max-queues", 0)
    admin.set_vhost_limit("/", "max-connections", None)
    admin.set_vhost_limit("/", "max-connections", None)
    assert admin.vhost("/").limits == {"max-queues": 0}


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("max-foo", 1, 'Unrecognised terms [{<<"max-foo">>,1}] in limits'),
        ("max-channels", "a", 'Unrecognised terms [{<<"max-channels">>,<<"a">>}] in limits'),
        ("max-queues", "x", 'max-queues should be a number, actually was <<"x">>'),
        ("max-queues", 1.5, "max-queues should be a number, actually was 1.5"),
        ("max-queues", True, "max-queues should be a number, actually was True"),
    ],
)
def test_limits_that_are_wrong(admin: Administration, limit: str, value: Any, reason: str) -> None:
    expected = f"Validation failed\n\n{reason}\n"
    assert bad(lambda: admin.set_vhost_limit("/", limit, value)) == expected
    assert admin.vhost("/").limits == {}


# Users


def test_user_is_added_and_changed(admin: Administration) -> None:
    assert admin.set_user("bob", PasswordHash.of("first"), ["monitoring"]) is True
    admin.set_permissions("/", "bob", ALL)
    assert admin.set_user("bob", None) is False
    bob = admin.user("bob")
    assert (bob.password, bob.tags, bob.permissions) == (None, (), {"/": ALL})


def test_deleted_user_is_disconnected(server: MemoryServer, admin: Administration) -> None:
    client = Client(server).login()
    server.accounts.on_removed.add(server._user_removed)
    admin.delete_user("guest")
    (told,) = client.told()
    assert isinstance(told.method, m.ConnectionClose)
    assert told.method.reply_text == "CONNECTION_FORCED - user 'guest' is deleted"
    assert refusal(lambda: admin.delete_user("guest")) == ("not_found", "Not Found")
    assert bad(lambda: admin.user("guest")) == "no_such_user: guest"


def test_limits_of_a_user(admin: Administration) -> None:
    admin.set_user_limit("guest", "max-channels", 2)
    admin.set_user_limit("guest", "max-connections", 3)
    admin.set_user_limit("guest", "max-channels", None)
    assert admin.user("guest").limits == {"max-connections": 3}
    # Texts of RabbitMQ, which differ from those about virtual hosts.
    unknown = bad(lambda: admin.set_user_limit("guest", "max-queues", 1))
    assert unknown == 'Unrecognised terms [{<<"max-queues">>,1}] in user-limits'
    wrong = bad(lambda: admin.set_user_limit("guest", "max-channels", "x"))
    assert wrong == 'max-channels should be a number, actually was <<"x">>'
    assert bad(lambda: admin.set_user_limit("bob", "max-channels", 1)) == "no_such_user: bob"
    assert admin.user("guest").limits == {"max-connections": 3}


# Permissions


def test_permissions_are_set_and_cleared(admin: Administration) -> None:
    admin.set_user("bob", None)
    assert admin.set_permissions("/", "bob", Permissions("a", "b", "c")) is True
    assert admin.set_permissions("/", "bob", ALL) is False
    assert admin.user("bob").permissions == {"/": ALL}
    admin.clear_permissions("/", "bob")
    assert admin.user("bob").permissions == {}
    for user in ("bob", "nobody"):
        assert refusal(partial(admin.clear_permissions, "/", user)) == ("not_found", "Not Found")


def test_topic_permissions_are_set_and_cleared(admin: Administration) -> None:
    """At one exchange, or at all of a virtual host."""
    admin.set_vhost("v")
    own = TopicPermissions("^{username}", ".*")
    for vhost, exchange in (("/", "amq.topic"), ("/", "e"), ("/", "f"), ("v", "e")):
        # For RabbitMQ, only the first ones in a virtual host are new.
        is_first = exchange == "amq.topic" or vhost == "v"
        assert admin.set_topic_permissions(vhost, "guest", exchange, own) is is_first
    assert admin.set_topic_permissions("/", "guest", "e", TopicPermissions()) is False
    guest = admin.user("guest")
    assert guest.topic_permissions["/", "e"] == TopicPermissions(".*", ".*")
    admin.clear_topic_permissions("/", "guest", "e")
    assert set(guest.topic_permissions) == {("/", "amq.topic"), ("/", "f"), ("v", "e")}
    assert refusal(lambda: admin.clear_topic_permissions("/", "guest", "e")) == ("not_found", "Not Found")
    admin.clear_topic_permissions("/", "guest")
    assert guest.topic_permissions == {("v", "e"): own}
    for user in ("guest", "nobody"):
        assert refusal(partial(admin.clear_topic_permissions, "/", user))[0] == "not_found"


def test_permissions_of_nobody_or_nowhere(admin: Administration) -> None:
    for vhost, user in (("v", "guest"), ("/", "bob"), ("v", "bob")):
        reasons = {
            bad(partial(admin.set_permissions, vhost, user, ALL)),
            bad(partial(admin.set_topic_permissions, vhost, user, "e", TopicPermissions())),
        }
        assert reasons == {"vhost_or_user_not_found"}


def test_permission_that_is_no_expression(admin: Administration) -> None:
    expected = "invalid_regexp: missing ), unterminated subpattern at position 0"
    assert bad(lambda: admin.set_permissions("/", "guest", Permissions(read="("))) == expected
    assert bad(lambda: admin.set_topic_permissions("/", "guest", "e", TopicPermissions("("))) == expected
    assert admin.user("guest").permissions == {"/": ALL}
    assert admin.user("guest").topic_permissions == {}


# Policies and parameters


def test_policy_is_set_and_deleted(admin: Administration) -> None:
    """A queue that exists feels both at once."""
    vhost = admin.vhost("/")
    queue = vhost.declare_queue(QueueDeclaration("q"), None)
    for _ in range(5):
        put(vhost)
    assert admin.set_policy("/", "short", LENGTH, operator=False) is True
    assert len(queue) == 3
    longer = {**LENGTH, "definition": {"max-length": 7}}
    assert admin.set_policy("/", "short", longer, operator=False) is False
    assert [policy_item("/", policy) for policy in vhost.policies.ordinary.values()] == [
        {"vhost": "/", "name": "short", **longer}
    ]
    admin.delete_policy("/", "short", operator=False)
    assert refusal(lambda: admin.delete_policy("/", "short", operator=False)) == ("not_found", "Not Found")
    assert vhost.policies.ordinary == {}


def test_operator_policies_are_apart(admin: Administration) -> None:
    admin.set_policy("/", "p", LENGTH, operator=True)
    assert refusal(lambda: admin.delete_policy("/", "p", operator=False))[0] == "not_found"
    policies = admin.vhost("/").policies
    assert (list(policies.ordinary), list(policies.operator)) == ([], ["p"])
    admin.delete_policy("/", "p", operator=True)
    assert policies.operator == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"definition": None}, "the definition of a policy must be an object"),
        ({"definition": [1]}, "the definition of a policy must be an object"),
        ({"definition": {}}, "Validation failed\n\nno policy provided\n"),
        (
            {"definition": {"max-length": -1}},
            "Validation failed\n\n-1 is not a valid maximum length\n",
        ),
        ({"pattern": None}, "Validation failed\n\npattern should be a binary but was null\n"),
        (
            {"priority": float("nan")},
            "Validation failed\n\npriority should be a number, actually was nan\n",
        ),
        (
            {"apply-to": ["queues"]},
            "Validation failed\n\napply-to '['queues']' unrecognised; should be one of: 'queues', "
            "'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'\n",
        ),
    ],
)
def test_policy_that_is_wrong(admin: Administration, change: dict[str, Any], reason: str) -> None:
    assert bad(lambda: admin.set_policy("/", "p", {**LENGTH, **change}, operator=False)) == reason
    assert admin.vhost("/").policies.ordinary == {}


def test_parameters_are_operator_policies_and_limits(admin: Administration) -> None:
    admin.set_vhost("v")
    assert admin.set_parameter("operator_policy", "/", "p", LENGTH) is True
    assert admin.set_parameter("operator_policy", "/", "p", LENGTH) is False
    admin.set_parameter("vhost-limits", "v", "limits", {"max-queues": 1, "max-connections": 2})
    limits = {
        "value": {"max-queues": 1, "max-connections": 2},
        "vhost": "v",
        "component": "vhost-limits",
        "name": "limits",
    }
    policy = {"value": LENGTH, "vhost": "/", "component": "operator_policy", "name": "p"}
    assert admin.parameters() == [policy, limits]
    admin.set_parameter("vhost-limits", "v", "limits", [])  # how RabbitMQ may write an empty object
    assert admin.parameters() == [policy, limits]
    admin.delete_parameter("operator_policy", "/", "p")
    admin.delete_parameter("vhost-limits", "v", "limits")
    assert admin.parameters() == []
    for component, name in (("operator_policy", "p"), ("vhost-limits", "limits"), ("shovel", "s")):
        kind, reason = refusal(partial(admin.delete_parameter, component, "v", name))
        assert (kind, reason) == ("not_found", "Not Found")


@pytest.mark.parametrize(
    ("component", "value", "reason"),
    [
        ("policy", LENGTH, "policies may not be set using this method"),
        ("shovel", {}, "Validation failed\n\ncomponent shovel not found\n"),
        ("vhost-limits", 5, "Validation failed\n\ncomponent vhost-limits not found\n"),
        (
            "vhost-limits",
            {"max-foo": 1},
            'Validation failed\n\nUnrecognised terms [{<<"max-foo">>,1}] in limits\n',
        ),
    ],
)
def test_parameters_that_are_wrong(admin: Administration, component: str, value: Any, reason: str) -> None:
    assert bad(lambda: admin.set_parameter(component, "/", "x", value)) == reason


def test_global_parameters(admin: Administration) -> None:
    assert admin.cluster_name == "embedded"
    assert admin.set_global_parameter("cluster_name", "test bus") is True
    assert admin.cluster_name == "test bus"
    assert admin.set_global_parameter("cluster_name", {"not": "a text"}) is False
    assert admin.cluster_name == "embedded"
    admin.delete_global_parameter("cluster_name")
    kind, reason = refusal(lambda: admin.delete_global_parameter("cluster_name"))
    assert (kind, reason) == ("not_found", "Not Found")


# Restarts


def test_restart_keeps_everything(tmp_path: Path) -> None:
    order(
        tmp_path,
        lambda admin: admin.set_vhost("v", "for tests", ["a"], "quorum"),
        lambda admin: admin.set_vhost_limit("v", "max-queues", 9),
        lambda admin: admin.protect_vhost("v", True),
        lambda admin: admin.set_vhost("gone"),
        lambda admin: admin.set_user("bob", PasswordHash.of("secret"), ["monitoring", "x"]),
        lambda admin: admin.set_user_limit("bob", "max-channels", 3),
        lambda admin: admin.set_user("cert", None),
        lambda admin: admin.set_user("gone", None),
        lambda admin: admin.set_permissions("v", "bob", Permissions("a", "b", "")),
        lambda admin: admin.set_permissions("v", "gone", ALL),
        lambda admin: admin.set_topic_permissions("v", "bob", "e", TopicPermissions("w", "r")),
        lambda admin: admin.set_policy("v", "p", {**LENGTH, "priority": -1.5}, operator=False),
        lambda admin: admin.set_policy("v", "p", LENGTH, operator=True),
        lambda admin: admin.set_policy("/", "gone", LENGTH, operator=False),
        lambda admin: admin.set_global_parameter("cluster_name", "żółw"),
        lambda admin: admin.set_global_parameter("gone", None),
    )
    order(
        tmp_path,
        lambda admin: admin.delete_vhost("gone"),
        lambda admin: admin.delete_user("gone"),
        lambda admin: admin.delete_policy("/", "gone", operator=False),
        lambda admin: admin.delete_global_parameter("gone"),
    )

    def look(server: Server) -> None:
        assert set(server.vhosts) == {"/", "v"}
        vhost = server.vhosts["v"]
        assert (vhost.description, vhost.tags, vhost.default_queue_type) == ("for tests", ("a",), "quorum")
        assert (vhost.limits, vhost.is_protected) == ({"max-queues": 9}, True)
        users = {user.name: user for user in server.accounts}
        assert set(users) == {"guest", "bob", "cert"}
        bob = users["bob"]
        assert server.accounts.login("bob", "secret", "192.0.2.1") is bob
        assert (bob.tags, bob.limits) == (("monitoring", "x"), {"max-channels": 3})
        assert bob.permissions == {"v": Permissions("a", "b", "")}
        assert bob.topic_permissions == {("v", "e"): TopicPermissions("w", "r")}
        assert (users["cert"].password, users["cert"].permissions) == (None, {})
        assert users["guest"].permissions == {"/": ALL}
        policies = vhost.policies
        assert [policy_item("v", policy) for policy in policies.ordinary.values()] == [
            {"vhost": "v", "name": "p", **LENGTH, "priority": -1.5}
        ]
        assert [policy_item("v", policy) for policy in policies.operator.values()] == [
            {"vhost": "v", "name": "p", **LENGTH}
        ]
        assert server.vhosts["/"].policies.ordinary == {}
        assert server.administration.global_parameters == {"cluster_name": "żółw"}

    run(tmp_path, look)


def test_restart_keeps_queues_and_messages_of_each_virtual_host(tmp_path: Path) -> None:
    """Those of one name are kept apart, and policies hold from the beginning."""

    def fill(server: Server) -> None:
        server.administration.set_vhost("v")
        for name, body in (("/", b"in /"), ("v", b"in v")):
            vhost = server.vhosts[name]
            vhost.declare_queue(QueueDeclaration("q", durable=True), None)
            vhost.declare_exchange(ExchangeDeclaration("e", "fanout", durable=True))
            vhost.bind("e", vhost.queue("q"), f"key {name}", {})
            put(vhost, body)
        server.administration.set_policy("v", "p", LENGTH, operator=False)

    run(tmp_path, fill)

    def look(server: Server) -> Any:
        return {
            name: (
                head(vhost),
                [binding.routing_key for binding in vhost.exchanges["e"].bindings.values()],
            )
            for name, vhost in server.vhosts.items()
        }

    assert run(tmp_path, look) == {"/": (b"in /", ["key /"]), "v": (b"in v", ["key v"])}

    def overfill(server: Server) -> dict[str, int]:
        for vhost in server.vhosts.values():
            for _ in range(5):
                put(vhost)
        return {name: len(vhost.queues["q"]) for name, vhost in server.vhosts.items()}

    assert run(tmp_path, overfill) == {"/": 6, "v": 3}


def test_deleted_virtual_host_leaves_no_rows(tmp_path: Path) -> None:
    def fill(server: Server) -> None:
        admin = server.administration
        admin.set_user("bob", None)
        for name in ("v", "w"):
            admin.set_vhost(name)
            admin.set_permissions(name, "bob", ALL)
            admin.set_topic_permissions(name, "bob", "e", TopicPermissions())
            admin.set_policy(name, "p", LENGTH, operator=False)
            admin.set_policy(name, "p", LENGTH, operator=True)
            vhost = server.vhosts[name]
            vhost.declare_exchange(ExchangeDeclaration("e", "topic", durable=True))
            vhost.declare_queue(QueueDeclaration("q", durable=True), None)
            vhost.bind("e", vhost.queue("q"), "k", {})
            vhost.bind("amq.topic", vhost.queue("q"), "k", {})
            vhost.bind("amq.topic", vhost.exchange("e"), "k", {})
            put(vhost)

    run(tmp_path, fill)
    # Bob may be absent in a start whose program has users of its own.
    run(tmp_path, lambda server: server.administration.delete_vhost("v"), with_user("alice"))
    tables = ("exchange", "queue", "binding")
    assert {name: rows(tmp_path, f"SELECT DISTINCT vhost FROM {name}") for name in tables} == dict.fromkeys(
        tables, [("w",)]
    )
    assert rows(tmp_path, "SELECT count(*) FROM message") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM queue_message") == [(1,)]
    sections = [(section, key) for section, key in rows(tmp_path) if "v" in json.loads(key)]
    assert sections == []
    assert len(rows(tmp_path)) == len(["/", "w", "bob"]) + 4


def test_first_virtual_host_can_be_deleted_for_good(tmp_path: Path) -> None:
    order(tmp_path, lambda admin: admin.set_vhost("v"), lambda admin: admin.delete_vhost("/"))
    assert run(tmp_path, lambda server: list(server.vhosts)) == ["v"]


def test_broker_whose_virtual_hosts_are_all_deleted_starts_with_the_first(tmp_path: Path) -> None:
    order(tmp_path, lambda admin: admin.delete_vhost("/"))
    assert run(tmp_path, lambda server: list(server.vhosts)) == ["/"]


# Restarts: guest, whom every new broker has


def test_deleted_guest_stays_deleted(tmp_path: Path) -> None:
    order(tmp_path, lambda admin: admin.delete_user("guest"))
    assert run(tmp_path, permissions) == {}
    order(tmp_path, lambda admin: admin.set_user("guest", PasswordHash.of("new"), []))

    def look(server: Server) -> None:
        guest = server.accounts.login("guest", "new", "127.0.0.1")
        # Who is added again has no permissions from before.
        assert (guest.permissions, guest.tags) == ({}, ())

    run(tmp_path, look)


def test_changed_guest_stays_changed(tmp_path: Path) -> None:
    order(tmp_path, lambda admin: admin.set_user("guest", PasswordHash.of("new"), ["monitoring"]))

    def look(server: Server) -> None:
        guest = server.accounts.login("guest", "new", "127.0.0.1")
        assert (guest.permissions, guest.tags) == ({"/": ALL}, ("monitoring",))

    for _ in range(2):
        run(tmp_path, look)


@pytest.mark.parametrize("vhost", ["/", "v"])
def test_permissions_that_were_taken_from_guest_stay_away(tmp_path: Path, vhost: str) -> None:
    order(
        tmp_path,
        lambda admin: admin.set_vhost("v"),
        lambda admin: admin.set_permissions("v", "guest", Permissions("a", "b", "c")),
        lambda admin: admin.clear_permissions(vhost, "guest"),
    )
    left = {"v": Permissions("a", "b", "c"), "/": ALL}
    del left[vhost]
    for _ in range(2):
        assert run(tmp_path, permissions) == {"guest": left}


def test_guest_has_no_access_to_a_virtual_host_that_is_made_again(tmp_path: Path) -> None:
    order(
        tmp_path,
        lambda admin: admin.set_vhost("v"),
        lambda admin: admin.delete_vhost("/"),
        lambda admin: admin.set_vhost("/"),
    )
    assert run(tmp_path, permissions) == {"guest": {}}


# Restarts: users whom the program gives


def test_user_of_the_program_wins(tmp_path: Path) -> None:
    order(
        tmp_path,
        lambda admin: admin.set_user("alice", PasswordHash.of("stored"), ["stored"]),
        lambda admin: admin.set_permissions("/", "alice", Permissions("a", "b", "c")),
        lambda admin: admin.set_user_limit("alice", "max-channels", 1),
    )

    def look(server: Server) -> None:
        alice = server.accounts.login("alice", "given", None)
        assert (alice.tags, alice.permissions, alice.limits) == (("given",), {"/": ALL}, {})
        assert server.users_of_program == {"alice"}

    run(tmp_path, look, with_user("alice", "given"))
    # What was stored comes back when the program has no users.
    stored = run(tmp_path, permissions)
    assert stored == {"guest": {"/": ALL}, "alice": {"/": Permissions("a", "b", "c")}}


def test_user_of_the_program_keeps_access_to_further_virtual_hosts(tmp_path: Path) -> None:
    def let_in(server: Server) -> None:
        server.administration.set_vhost("v")
        server.administration.set_permissions("v", "alice", Permissions("a", "b", "c"))

    run(tmp_path, let_in, with_user("alice"))
    expected = {"alice": {"/": ALL, "v": Permissions("a", "b", "c")}}
    assert run(tmp_path, permissions, with_user("alice")) == expected


def test_names_of_users_and_virtual_hosts_are_not_confused(tmp_path: Path) -> None:
    """A user of the program called alice has nothing to do with others' access to a virtual host alice."""
    order(
        tmp_path,
        lambda admin: admin.set_vhost("alice"),
        lambda admin: admin.set_user("bob", None),
        lambda admin: admin.set_permissions("alice", "bob", ALL),
        lambda admin: admin.set_topic_permissions("/", "bob", "alice", TopicPermissions("a", "b")),
    )

    def look(server: Server) -> None:
        bob = server.administration.user("bob")
        assert bob.permissions == {"alice": ALL}
        assert bob.topic_permissions == {("/", "alice"): TopicPermissions("a", "b")}

    run(tmp_path, look, with_user("alice"))


def test_permissions_of_a_user_who_is_not_there_at_present(tmp_path: Path) -> None:
    """They neither keep the broker from starting, nor are they lost."""

    def let_in(server: Server) -> None:
        server.administration.set_vhost("v")
        server.administration.set_permissions("v", "alice", ALL)

    run(tmp_path, let_in, with_user("alice"))
    order(tmp_path, lambda admin: admin.set_permissions("v", "guest", ALL))
    assert run(tmp_path, permissions, with_user("carol")) == {"carol": {"/": ALL}}
    assert run(tmp_path, permissions) == {"guest": {"/": ALL, "v": ALL}}
    assert run(tmp_path, permissions, with_user("alice")) == {"alice": {"/": ALL, "v": ALL}}


# Damage


def insert(data: Path, *row: str) -> None:
    """Put a definition into a data file that no broker uses."""
    connection = sqlite3.connect(data / "broker.sqlite", isolation_level=None)
    connection.execute("INSERT INTO definition VALUES (?, ?, ?)", row)
    connection.close()


@pytest.mark.parametrize(
    "row",
    [
        ("users", "[", "{}"),
        ("users", '["bob"]', "{}"),
        ("vhosts", '["v"]', '{"name": "v"'),
        ("of a newer version", "[]", "{}"),
    ],
)
def test_damaged_definition_is_told_and_the_directory_released(tmp_path: Path, row: tuple[str, ...]) -> None:
    run(tmp_path, lambda server: None)
    insert(tmp_path, *row)
    for _ in range(2):
        with pytest.raises(BrokerError, match=r"broker\.sqlite is damaged, or no data file of a broker"):
            run(tmp_path, lambda server: None)
    connection = sqlite3.connect(tmp_path / "broker.sqlite", isolation_level=None)
    connection.execute("DELETE FROM definition WHERE section = ? AND key = ?", row[:2])
    connection.close()
    assert run(tmp_path, lambda server: list(server.vhosts)) == ["/"]


def test_definition_that_is_refused_is_named(tmp_path: Path) -> None:
    """For example a policy that only another profile knows."""
    run(tmp_path, lambda server: None)
    value = {"vhost": "/", "name": "p", "pattern": "", "definition": {"foo": 1}}
    insert(tmp_path, "policies", '["/", "p"]', json.dumps(value))
    with pytest.raises(BrokerError) as caught:
        run(tmp_path, lambda server: None)
    assert str(caught.value) == (
        f"In the data directory {tmp_path}, policies has an item '/', 'p' that is refused (Validation failed "
        '[{<<"foo">>,1}] are not recognised policy settings): if it was defined with another profile than 4, '
        "use that profile, or delete the item with it first."
    )
