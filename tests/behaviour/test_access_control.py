"""Permissions of users and the operator's close."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.peer import shortstr, table
from tests.behaviour.support import Inbox, bodies, closes, roundtrip, send, take
from tests.support.management import SECRET
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.management import Management

ACTIONS: dict[str, tuple[Callable[[Any, str], object], tuple[str, ...]]] = {
    "declare queue": (lambda channel, name: channel.queue_declare(name + ".new"), ("configure",)),
    "declare exchange": (
        lambda channel, name: channel.exchange_declare(name + ".new", "fanout"),
        ("configure",),
    ),
    "delete queue": (lambda channel, name: channel.queue_delete(name), ("configure",)),
    "delete exchange": (lambda channel, name: channel.exchange_delete(name), ("configure",)),
    "bind queue": (lambda channel, name: channel.queue_bind(name, name, "k"), ("write", "read")),
    "unbind queue": (lambda channel, name: channel.queue_unbind(name, name, "k"), ("write", "read")),
    "bind exchange": (
        lambda channel, name: channel.exchange_bind(name, name, "k"),
        ("write", "read"),
    ),
    "unbind exchange": (
        lambda channel, name: channel.exchange_unbind(name, name, "k"),
        ("write", "read"),
    ),
    "publish": (lambda channel, name: channel.basic_publish(name, "k", b""), ("write",)),
    "get": (lambda channel, name: channel.basic_get(name), ("read",)),
    "consume": (lambda channel, name: channel.basic_consume(name, print), ("read",)),
    "purge": (lambda channel, name: channel.queue_purge(name), ("read",)),
}
PERMISSIONS = ("configure", "write", "read")


def await_answers(channel: BlockingChannel) -> None:
    """Wait until the broker has worked through all this channel sent, without a need for permissions."""
    channel.flow(True)


@pytest.fixture
def resources(channel: BlockingChannel, names: Names) -> str:
    """A queue and an exchange of one name, and a name with .new behind it which is free."""
    made = names()
    names.keep(made + ".new")
    channel.queue_declare(made)
    channel.exchange_declare(made, "direct")
    return made


@pytest.mark.parametrize("action", ACTIONS)
def test_needed_permissions_are_enough(
    login: Callable[..., BlockingChannel], resources: str, action: str
) -> None:
    """The permissions that ACTIONS names for an action are enough; the user has no others."""
    act, needed = ACTIONS[action]
    channel = login(**dict.fromkeys(needed, "^behaviour"))
    act(channel, resources)
    await_answers(channel)


@pytest.mark.parametrize(
    ("action", "missing"), [(action, missing) for action in ACTIONS for missing in ACTIONS[action][1]]
)
def test_missing_permission(
    login: Callable[..., BlockingChannel], resources: str, action: str, missing: str
) -> None:
    """The broker refuses an action when one of its permissions is missing, whatever else the user may do."""
    act = ACTIONS[action][0]
    channel = login(**{permission: "" if permission == missing else ".*" for permission in PERMISSIONS})
    with closes(403, "access to "):
        act(channel, resources)
        await_answers(channel)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_refusal_names_resource_and_user(
    login: Callable[..., BlockingChannel], resources: str, kind: str
) -> None:
    """The refusal names resource, virtual host and user; newer versions name the permission, too."""
    with closes(403, f"access to {kind} '{resources}' in vhost '/' refused for user 'behaviour-"):
        channel = login()
        getattr(channel, f"{kind}_delete")(resources)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_any_permission_is_enough_to_declare_passively(
    login: Callable[..., BlockingChannel], resources: str, kind: str, permission: str
) -> None:
    """A passive declare needs no configure permission: any one of the three is enough."""
    getattr(login(**{permission: "^behaviour"}), f"{kind}_declare")(resources, passive=True)


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_passive_declare_without_permissions(
    broker: Broker, login: Callable[..., BlockingChannel], resources: str, kind: str
) -> None:
    """A passive declare needs no permission; RabbitMQ 4.3 asks for any one of the three."""
    refusal = closes(403, f"configure access to {kind} '{resources}' in vhost '/' refused for user")
    with refusal if broker.version >= (4, 3) else nullcontext():
        getattr(login(), f"{kind}_declare")(resources, passive=True)


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        (".*", True),
        ("", False),
        ("^$", False),
        ("^behaviour\\.", True),
        ("viour", True),
        ("^viour", False),
        ("BEHAVIOUR", False),
        ("other|behaviour", True),
        ("\\.new$", True),
        ("[.]old$", False),
    ],
)
def test_patterns_are_not_anchored(
    login: Callable[..., BlockingChannel], resources: str, pattern: str, allowed: bool
) -> None:
    """A permission is a regular expression, searched in the resource name; the empty one allows nothing."""
    channel = login(configure=pattern)
    if allowed:
        channel.queue_declare(resources + ".new")
        return
    with closes(403):
        channel.queue_declare(resources + ".new")


@pytest.mark.parametrize(("write", "allowed"), [("^amq\\.default$", True), ("^$", False), ("^behav", False)])
def test_default_exchange_is_called_amq_default(
    login: Callable[..., BlockingChannel], resources: str, channel: BlockingChannel, write: str, allowed: bool
) -> None:
    """The broker matches permissions for the default exchange against the name amq.default."""
    publisher = login(write=write)
    send(publisher, resources, b"x")
    if allowed:
        assert take(channel, resources).body == b"x"
        return
    with closes(403, "exchange 'amq.default'"):
        await_answers(publisher)
    assert bodies(channel, resources) == []


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [({"read": ".*", "write": ".*"}, True), ({"read": ".*"}, False), ({"write": ".*"}, False)],
)
def test_dead_letter_exchange_needs_more(
    login: Callable[..., BlockingChannel], resources: str, permissions: dict[str, str], allowed: bool
) -> None:
    """A dead-letter exchange needs read on the queue and write on that exchange, too."""
    channel = login(configure=".*", **permissions)
    arguments = {"x-dead-letter-exchange": resources}
    if allowed:
        channel.queue_declare(resources + ".new", arguments=arguments)
        return
    with closes(403):
        channel.queue_declare(resources + ".new", arguments=arguments)


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [({"read": ".*", "write": ".*"}, True), ({"read": ".*"}, False), ({"write": ".*"}, False)],
)
def test_alternate_exchange_needs_more(
    login: Callable[..., BlockingChannel], resources: str, permissions: dict[str, str], allowed: bool
) -> None:
    """An alternate exchange needs read on the exchange and write on the alternate exchange, too."""
    channel = login(configure=".*", **permissions)
    arguments = {"alternate-exchange": resources}
    if allowed:
        channel.exchange_declare(resources + ".new", "fanout", arguments=arguments)
        return
    with closes(403):
        channel.exchange_declare(resources + ".new", "fanout", arguments=arguments)


def test_server_named_queue_needs_configure(login: Callable[..., BlockingChannel]) -> None:
    """The broker matches the name that it made like any other."""
    with closes(403, "access to queue 'amq.gen-"):
        login(configure="^behaviour").queue_declare("", exclusive=True)
    login(configure="^amq\\.gen").queue_declare("", exclusive=True)


@pytest.mark.parametrize(("tags", "allowed"), [("impersonator", True), ("administrator", False), ("", False)])
def test_impersonator(
    login: Callable[..., BlockingChannel], resources: str, tags: str, allowed: bool
) -> None:
    """Users tagged impersonator may send any user-id; others only their own."""
    channel = login(write=".*", tags=tags)
    send(channel, resources, b"x", user_id="bob")
    if allowed:
        await_answers(channel)
        return
    with closes(406, "user_id property set to 'bob' but authenticated user was 'behaviour-"):
        await_answers(channel)


def test_user_without_rights_on_the_vhost(management: Management, peers: Callable[[], Peer]) -> None:
    """The broker closes the connection with 530."""
    user = management.stranger()
    peer = peers()
    peer.user, peer.password = user, SECRET
    with closes(530, f"access to vhost '/' refused for user '{user}'"):
        peer.login()


def test_operator_closes_a_connection(
    management: Management,
    connections: Callable[..., BlockingConnection],
    channel: BlockingChannel,
    queue: str,
) -> None:
    """The client gets the operator's reason, and the broker cleans up as at any end."""
    send(channel, queue, b"held")
    connection = connections(client_properties={"connection_name": queue})
    consuming = connection.channel()
    Inbox.on(consuming, queue).wait(1)
    management.close_connection(queue, "behaviour test")
    with closes(320, "CONNECTION_FORCED - behaviour test"):
        while True:
            connection.process_data_events(time_limit=1)
            roundtrip(consuming)
    assert eventually(lambda: bodies(channel, queue)) == [b"held"]


@pytest.mark.parametrize(
    ("method_index", "kind"), [((50, 10), b""), ((40, 10), shortstr("fanout"))], ids=["queue", "exchange"]
)
def test_permission_is_that_for_the_name_without_line_ends(
    management: Management,
    peers: Callable[[], Peer],
    names: Names,
    method_index: tuple[int, int],
    kind: bytes,
) -> None:
    """Line ends are taken out of declared names: they must not lead past a pattern."""
    peer = peers()
    peer.user, peer.password = management.user("^(?!behaviour)", "", ""), SECRET
    peer.login().open_channel()
    fields = b"\0\0" + shortstr("\n" + names()) + kind + b"\0" + table()
    with closes(403):
        peer.send_fields(method_index, fields)
        peer.read_method()


def test_deleted_user_is_cut_off(
    management: Management, connections: Callable[..., BlockingConnection], connection: BlockingConnection
) -> None:
    """The broker closes the connections of a user who is deleted, and no others."""
    user = management.user(".*", ".*", ".*")
    channel = connections(credentials=pika.PlainCredentials(user, SECRET)).channel()
    management.delete("users", user)
    with closes(320, f"CONNECTION_FORCED - user '{user}' is deleted"):
        while True:
            channel.connection.process_data_events(time_limit=15)
    roundtrip(connection.channel())
