"""Virtual hosts: made and deleted while clients are connected, their limits, their default queue type."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.peer import ClosedByBrokerError
from tests.behaviour.support import bodies, closes, exchange_exists, ready, send, since
from tests.support.management import SECRET
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.brokers import Broker
    from tests.support.management import Management

    Enter = Callable[..., Peer]
    Connect = Callable[..., BlockingConnection]


@pytest.fixture
def vhost(management: Management) -> str:
    """A virtual host."""
    return management.vhost()


@pytest.fixture
def inside(vhost: str, connections: Connect) -> BlockingChannel:
    """A channel in it."""
    return connections(virtual_host=vhost).channel()


@pytest.fixture
def enter(peers: Callable[[], Peer]) -> Enter:
    """Opens a connection to a virtual host."""

    def open_connection(vhost: str = "/", user: str = "") -> Peer:
        peer = peers()
        peer.vhost = vhost
        if user:
            peer.user, peer.password = user, SECRET
        return peer.login()

    return open_connection


# --- Life


def test_statuses(management: Management) -> None:
    """Of requests that make, change and delete one."""
    vhost = management.vhost()
    assert management.put("vhosts", vhost) == 204
    assert management.delete("vhosts", vhost) == 204
    for method in ("GET", "DELETE"):
        answer = management.ask(method, "vhosts", vhost)
        assert (answer.status_code, answer.json()["error"]) == (404, "Object Not Found")
    assert management.put("vhosts", vhost) == 201


def test_description_and_tags(management: Management) -> None:
    """They are shown as they were last given."""
    vhost = management.vhost(description="of tests", tags="a,b")
    shown = management.get("vhosts", vhost)
    assert (shown["name"], shown["description"], shown["tags"]) == (vhost, "of tests", ["a", "b"])
    management.put("vhosts", vhost, tags=["c"])
    shown = management.get("vhosts", vhost)
    assert (shown["description"], shown["tags"]) == ("", ["c"])


def test_who_makes_it_may_use_it(inside: BlockingChannel) -> None:
    """The exchanges that each has are there."""
    for kind in ("direct", "fanout", "headers", "topic"):
        inside.exchange_declare(f"amq.{kind}", kind, durable=True)
    assert exchange_exists(inside.connection, "amq.match")


def test_names_mean_nothing_elsewhere(vhost: str, inside: BlockingChannel, queue: str) -> None:
    """A queue of one virtual host is not in another."""
    with closes(404, f"no queue '{queue}' in vhost '{vhost}'"):
        inside.queue_declare(queue, passive=True)


def test_same_name_in_two(channel: BlockingChannel, inside: BlockingChannel, queue: str) -> None:
    """Their messages are apart."""
    inside.queue_declare(queue)
    send(inside, queue, b"inside")
    assert ready(channel, queue) == 0
    send(channel, queue, b"outside")
    assert (bodies(inside, queue), bodies(channel, queue)) == ([b"inside"], [b"outside"])


def test_unknown_one(enter: Enter, name: str) -> None:
    """Nobody is let in."""
    with closes(530, f"NOT_ALLOWED - vhost {name} not found"):
        enter(name)


def test_user_without_permissions(management: Management, enter: Enter, vhost: str) -> None:
    """Who may use another one is not let in."""
    user = management.user(".*", ".*", ".*")
    with closes(530, f"NOT_ALLOWED - access to vhost '{vhost}' refused for user '{user}'"):
        enter(vhost, user)


@pytest.mark.parametrize("name", ["/{}", "{}/a", "{} b", "{}é", "{}%2F"])
def test_special_names(management: Management, connections: Connect, vhost: str, name: str) -> None:
    """Any text is a name."""
    special = name.format(vhost)
    management.put("vhosts", special)
    assert management.get("vhosts", special)["name"] == special
    with closes(404, f"in vhost '{special}'"):
        connections(virtual_host=special).channel().queue_declare("q", passive=True)


def test_deleted_under_a_client(
    broker: Broker,
    management: Management,
    enter: Enter,
    connection: BlockingConnection,
    vhost: str,
    inside: BlockingChannel,
) -> None:
    """The broker closes its connections, and no others."""
    inside.queue_declare("q")
    management.delete("vhosts", vhost)
    with closes(320, f"CONNECTION_FORCED - vhost '{vhost}' is ") as closed:
        while True:
            inside.connection.process_data_events(time_limit=15)
    # RabbitMQ stops it before it deletes it, and clients may see either.
    ends = ("is deleted",) if broker.kind == "embedded" else ("is down", "is deleted")
    assert closed.text.endswith(ends)
    connection.channel()
    with closes(530, f"vhost {vhost} not found"):
        enter(vhost)


def test_all_is_gone_with_it(
    management: Management, enter: Enter, connections: Connect, vhost: str, inside: BlockingChannel
) -> None:
    """The next one of its name has nothing of it: not even permissions."""
    inside.queue_declare("q", durable=True)
    inside.exchange_declare("e", "fanout", durable=True)
    user = management.user("", "", "")
    management.permit(user, ".*", ".*", ".*", vhost)
    inside.connection.close()
    management.delete("vhosts", vhost)
    management.put("vhosts", vhost)
    again = connections(virtual_host=vhost)
    with closes(404):
        again.channel().queue_declare("q", passive=True)
    assert not exchange_exists(again, "e")
    with closes(530, "access to vhost"):
        enter(vhost, user)


def test_protection_from_deletion(broker: Broker, management: Management, vhost: str) -> None:
    """RabbitMQ 4 can protect one."""
    if broker.version < (4, 0):
        pytest.skip("there is no such request")
    assert management.ask("POST", "vhosts", vhost, "deletion", "protection").status_code == 204
    refused = management.ask("DELETE", "vhosts", vhost)
    assert (refused.status_code, refused.json()) == (
        412,
        {
            "error": "precondition_failed",
            "reason": f"Refusing to delete virtual host '{vhost}' because it is protected from deletion",
        },
    )
    management.delete("vhosts", vhost, "deletion", "protection")
    assert management.delete("vhosts", vhost) == 204


# --- Limits of virtual hosts


def test_limit_of_connections(management: Management, enter: Enter, vhost: str) -> None:
    """The broker refuses one too many, and accepts it when another one has left."""
    management.put("vhost-limits", vhost, "max-connections", value=1)
    first = enter(vhost)
    text = (
        f"NOT_ALLOWED - access to vhost '{vhost}' refused for user 'guest': connection limit (1) is reached"
    )
    with closes(530, text):
        enter(vhost)
    first.drop()

    def lets_in() -> bool:
        try:
            enter(vhost)
        except ClosedByBrokerError:
            return False
        return True

    eventually(lets_in)


@pytest.mark.parametrize(("limit", "refuses"), [(0, True), (-1, False)])
def test_special_limits_of_connections(
    management: Management,
    enter: Enter,
    vhost: str,
    inside: BlockingChannel,
    limit: int,
    refuses: bool,
) -> None:
    """0 keeps all others out, -1 nobody. Who is in stays."""
    management.put("vhost-limits", vhost, "max-connections", value=limit)
    with closes(530, "connection limit (0) is reached") if refuses else nullcontext():
        enter(vhost)
    inside.queue_declare("q")


def test_limit_of_queues(management: Management, vhost: str, inside: BlockingChannel) -> None:
    """A queue too many closes the channel; those that exist may be declared again."""
    management.put("vhost-limits", vhost, "max-queues", value=1)
    inside.queue_declare("first")
    inside.queue_declare("first")
    text = f"cannot declare queue 'second': queue limit in vhost '{vhost}' (1) is reached"
    with closes(406, f"PRECONDITION_FAILED - {text}"):
        inside.queue_declare("second")
    inside = inside.connection.channel()
    inside.queue_delete("first")
    inside.queue_declare("second")


@pytest.mark.parametrize(
    "settings",
    [
        {"queue": "q", "exclusive": True},
        {"queue": "", "exclusive": True},
        {"queue": "q", "durable": True, "arguments": {"x-queue-type": "quorum"}},
    ],
    ids=str,
)
def test_every_queue_counts(
    management: Management, vhost: str, inside: BlockingChannel, settings: dict[str, Any]
) -> None:
    """Exclusive ones, too."""
    management.put("vhost-limits", vhost, "max-queues", value=1)
    inside.queue_declare(**settings)
    with closes(406, f"queue limit in vhost '{vhost}' (1) is reached"):
        inside.queue_declare("second")


@pytest.mark.parametrize(("limit", "refuses"), [(0, True), (-1, False)])
def test_special_limits_of_queues(
    management: Management, vhost: str, inside: BlockingChannel, limit: int, refuses: bool
) -> None:
    """0 is for no queue, -1 for any number."""
    management.put("vhost-limits", vhost, "max-queues", value=limit)
    with closes(406, "(0) is reached") if refuses else nullcontext():
        inside.queue_declare("q")


def test_limit_that_is_lifted(management: Management, vhost: str, inside: BlockingChannel) -> None:
    """The requests show it, and may be made twice."""
    management.put("vhost-limits", vhost, "max-queues", value=0)
    assert management.get("vhost-limits", vhost) == [{"vhost": vhost, "value": {"max-queues": 0}}]
    for _ in range(2):
        assert management.delete("vhost-limits", vhost, "max-queues") == 204
    assert management.get("vhost-limits", vhost) in ([], [{"vhost": vhost, "value": {}}])
    inside.queue_declare("q")


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("max-foo", 10, 'Unrecognised terms [{<<"max-foo">>,10}] in limits'),
        ("max-queues", "x", 'max-queues should be a number, actually was <<"x">>'),
    ],
)
def test_refused_limit(management: Management, vhost: str, limit: str, value: object, reason: str) -> None:
    """The reason names it."""
    refused = management.refused("vhost-limits", vhost, limit, value=value)
    assert refused == (400, f"Validation failed\n\n{reason}\n")


def test_limit_of_an_unknown_one(management: Management, name: str) -> None:
    """There is nothing to limit."""
    assert management.refused("vhost-limits", name, "max-queues", value=1) == (404, "vhost_not_found")


# --- Limits of users


@pytest.fixture
def user(management: Management) -> str:
    """A user with all permissions."""
    return management.user(".*", ".*", ".*")


def test_users_limit_of_connections(management: Management, enter: Enter, user: str) -> None:
    """A user may have so many."""
    management.put("user-limits", user, "max-connections", value=1)
    enter("/", user)
    text = f"connection refused for user '{user}': user connection limit (1) is reached"
    with closes(530, f"NOT_ALLOWED - {text}"):
        enter("/", user)
    management.delete("user-limits", user, "max-connections")
    enter("/", user)


def test_users_limit_of_channels(management: Management, connections: Connect, user: str) -> None:
    """A channel too many, of all connections of the user, closes its connection."""
    management.put("user-limits", user, "max-channels", value=2)
    credentials = pika.PlainCredentials(user, SECRET)
    first, second = connections(credentials=credentials), connections(credentials=credentials)
    first.channel()
    second.channel()
    text = f"number of channels opened for user '{user}' has reached the maximum allowed user limit of "
    with closes(530, f"NOT_ALLOWED - {text}"):
        second.channel()
    first.process_data_events()
    assert first.is_open


def test_refused_limit_of_a_user(management: Management, user: str, name: str) -> None:
    """The reason names it."""
    put = management.refused
    assert put("user-limits", user, "max-foo", value=10) == (
        400,
        'Unrecognised terms [{<<"max-foo">>,10}] in user-limits',
    )
    assert put("user-limits", user, "max-channels", value="x") == (
        400,
        'max-channels should be a number, actually was <<"x">>',
    )
    assert put("user-limits", name, "max-channels", value=1) == (400, ["no_such_user", name])


# --- Default queue type


def type_of(management: Management, vhost: str, queue: str) -> tuple[str, object]:
    """Return the type of a queue, and its argument."""
    shown = management.get("queues", vhost, queue)
    return shown["type"], shown["arguments"].get("x-queue-type")


@pytest.fixture
def quorum(management: Management) -> str:
    """A virtual host whose queues are quorum queues by default."""
    # RabbitMQ 3.10 has the name without underscores only.
    return management.vhost(defaultqueuetype="quorum")


@pytest.fixture
def in_quorum(quorum: str, connections: Connect) -> BlockingChannel:
    """A channel in it."""
    return connections(virtual_host=quorum).channel()


def test_durable_queue_has_the_default_type(
    management: Management, quorum: str, in_quorum: BlockingChannel
) -> None:
    """As if the client had given it."""
    in_quorum.queue_declare("q", durable=True)
    assert type_of(management, quorum, "q") == ("quorum", "quorum")
    in_quorum.queue_declare("q", durable=True)
    in_quorum.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})


@pytest.mark.parametrize(
    "settings",
    [{}, {"auto_delete": True}, {"durable": True, "auto_delete": True}, {"exclusive": True}],
    ids=str,
)
def test_queues_that_cannot_have_the_default_type(
    broker: Broker, management: Management, quorum: str, in_quorum: BlockingChannel, settings: dict[str, bool]
) -> None:
    """They are classic."""
    in_quorum.queue_declare("q", **settings)
    assert type_of(management, quorum, "q") == ("classic", since(broker, (4, 0), "classic", None))
    in_quorum.queue_declare("q", **settings)


def test_arguments_must_fit_the_default_type(quorum: str, in_quorum: BlockingChannel) -> None:
    """Those of classic queues are refused."""
    text = f"invalid arg 'x-max-priority' for queue 'q' in vhost '{quorum}' of queue type rabbit_quorum_queue"
    with closes(406, text):
        in_quorum.queue_declare("q", durable=True, arguments={"x-max-priority": 5})


def test_given_type_wins(management: Management, quorum: str, in_quorum: BlockingChannel) -> None:
    """But then it has to be given each time."""
    in_quorum.queue_declare("q", durable=True, arguments={"x-queue-type": "classic"})
    assert type_of(management, quorum, "q") == ("classic", "classic")
    with closes(406, f"inequivalent arg 'x-queue-type' for queue 'q' in vhost '{quorum}': received "):
        in_quorum.queue_declare("q", durable=True)


def test_default_type_of_an_ordinary_one(
    broker: Broker, management: Management, vhost: str, inside: BlockingChannel
) -> None:
    """Is classic, which RabbitMQ 4 adds to the arguments."""
    inside.queue_declare("q", durable=True)
    assert type_of(management, vhost, "q") == ("classic", since(broker, (4, 0), "classic", None))
    inside.queue_declare("q", durable=True, arguments={"x-queue-type": "classic"})
    with closes(406, f"inequivalent arg 'x-queue-type' for queue 'q' in vhost '{vhost}': received "):
        inside.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})


def test_default_type_stream(management: Management, connections: Connect) -> None:
    """Queues may be streams by default."""
    vhost = management.vhost(defaultqueuetype="stream")
    connections(virtual_host=vhost).channel().queue_declare("q", durable=True)
    assert type_of(management, vhost, "q") == ("stream", "stream")


def test_default_type_that_changes(broker: Broker, management: Management, vhost: str) -> None:
    """RabbitMQ 4 shows it, and refuses one that does not exist."""
    if broker.version < (4, 0):
        pytest.skip("RabbitMQ 3.10 takes any, and loses it")
    assert management.get("vhosts", vhost)["default_queue_type"] == "classic"
    management.put("vhosts", vhost, default_queue_type="quorum")
    assert management.get("vhosts", vhost)["default_queue_type"] == "quorum"
    refused = management.refused("vhosts", vhost, default_queue_type="bogus")
    assert refused == (400, "bogus is not a valid queue type")
