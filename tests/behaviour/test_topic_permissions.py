"""Topic permissions: which routing keys a user may use with a topic exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.behaviour.support import closes, since
from tests.support.management import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.admin import Names
    from tests.support.brokers import Broker
    from tests.support.management import Management


@pytest.fixture
def user(management: Management) -> str:
    """A user who may do everything as long as nobody says which topics."""
    return management.user(".*", ".*", ".*")


@pytest.fixture
def theirs(user: str, connections: Callable[..., BlockingConnection]) -> BlockingChannel:
    """A channel of that user."""
    return connections(credentials=pika.PlainCredentials(user, SECRET)).channel()


@pytest.fixture
def exchange(channel: BlockingChannel, queue: str) -> str:
    """A topic exchange of the queue's name."""
    channel.exchange_declare(queue, "topic")
    return queue


@pytest.fixture
def restrict(management: Management, user: str, exchange: str) -> Callable[..., None]:
    """Restricts the user's routing keys."""

    def put(write: str = ".*", read: str = ".*", of: str = exchange) -> None:
        management.put("topic-permissions", "/", user, exchange=of, write=write, read=read)

    return put


def answers(channel: BlockingChannel) -> None:
    """Wait until the broker has worked through all this channel sent."""
    channel.flow(True)


def refusal(broker: Broker, permission: str, key: str, exchange: str, user: str) -> Any:
    """The broker closes the channel with 403, and names the topic; RabbitMQ 4 names the permission, too."""
    text = f"access to topic '{key}' in exchange '{exchange}' in vhost '/' refused for user '{user}'"
    return closes(403, since(broker, (4, 0), f"ACCESS_REFUSED - {permission} {text}", text))


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("^a\\.", "a.x", "b.x"),
        ("a\\.", "x.a.y", "x.b.y"),
        ("^$", "", "a"),
        ("", "", "a"),
        ("^(a|b)$", "b", "c"),
    ],
)
def test_publishing(
    broker: Broker,
    theirs: BlockingChannel,
    restrict: Callable[..., None],
    user: str,
    exchange: str,
    pattern: str,
    allowed: str,
    refused: str,
) -> None:
    """The pattern for writing is searched for in the routing key; the empty one is for the empty key."""
    restrict(write=pattern, read="^no")
    theirs.basic_publish(exchange, allowed, b"x")
    answers(theirs)
    theirs.basic_publish(exchange, refused, b"x")
    with refusal(broker, "write", refused, exchange, user):
        answers(theirs)


@pytest.mark.parametrize("what", ["queue", "exchange"])
@pytest.mark.parametrize("how", ["bind", "unbind"])
def test_binding(
    broker: Broker,
    theirs: BlockingChannel,
    restrict: Callable[..., None],
    user: str,
    exchange: str,
    queue: str,
    what: str,
    how: str,
) -> None:
    """The pattern for reading is searched for in the binding key, to which # is a character like others."""
    restrict(write="^no", read="^a\\.")
    call = getattr(theirs, f"{what}_{how}")
    destination = queue if what == "queue" else "amq.fanout"
    call(destination, exchange, routing_key="a.#")
    with refusal(broker, "read", "#", exchange, user):
        call(destination, exchange, routing_key="#")


def test_binding_counts_for_the_source_only(
    theirs: BlockingChannel, restrict: Callable[..., None], exchange: str, names: Names
) -> None:
    """Not for the exchange that messages are passed to."""
    restrict(write="^no", read="^no")
    theirs.exchange_bind(exchange, "amq.fanout", routing_key="a")
    theirs.exchange_unbind(exchange, "amq.fanout", routing_key="a")


@pytest.mark.parametrize("kind", ["direct", "fanout", "headers"])
def test_other_types_are_free(
    theirs: BlockingChannel, restrict: Callable[..., None], channel: BlockingChannel, names: Names, kind: str
) -> None:
    """Permissions on topics are for topic exchanges."""
    exchange = names()
    channel.exchange_declare(exchange, kind)
    restrict(write="^no", read="^no", of=exchange)
    theirs.basic_publish(exchange, "a", b"x")
    answers(theirs)


def test_other_exchanges_are_free(
    theirs: BlockingChannel, restrict: Callable[..., None], exchange: str
) -> None:
    """What is said of one exchange is not said of others."""
    restrict(write="^no", read="^no")
    theirs.basic_publish("amq.topic", "a", b"x")
    answers(theirs)


def test_other_users_are_free(
    restrict: Callable[..., None], login: Callable[..., BlockingChannel], exchange: str
) -> None:
    """Nor of other users."""
    restrict(write="^no", read="^no")
    other = login(write=".*")
    other.basic_publish(exchange, "a", b"x")
    answers(other)


def test_plain_permission_is_needed_as_well(
    management: Management, login: Callable[..., BlockingChannel], exchange: str
) -> None:
    """It is looked at first."""
    theirs = login(read=".*")
    theirs.basic_publish(exchange, "a", b"x")
    with closes(403, f"access to exchange '{exchange}'"):
        answers(theirs)


@pytest.mark.parametrize(
    ("pattern", "key", "allowed"),
    [
        ("^{username}$", "USER", True),
        ("^{username}$", "other", False),
        ("^{vhost}$", "/", True),
        ("^{vhost}$", "other", False),
        ("^{client_id}$", "{client_id}", True),
        ("^{client_id}$", "other", False),
    ],
)
def test_variables(
    theirs: BlockingChannel,
    restrict: Callable[..., None],
    user: str,
    exchange: str,
    pattern: str,
    key: str,
    allowed: bool,
) -> None:
    """User and virtual host are put into patterns; what is no variable stays."""
    restrict(write=pattern)
    theirs.basic_publish(exchange, key.replace("USER", user), b"x")
    if allowed:
        answers(theirs)
        return
    with closes(403, "access to topic 'other'"):
        answers(theirs)


def test_special_characters_in_a_user_name(
    broker: Broker,
    management: Management,
    connections: Callable[..., BlockingConnection],
    exchange: str,
    user: str,
) -> None:
    """They are taken literally, but RabbitMQ 3.10 takes them for a part of the pattern."""
    dotted = f"{user}.x"
    management.put("users", dotted, password=SECRET, tags="")
    management.permit(dotted, ".*", ".*", ".*")
    management.put("topic-permissions", "/", dotted, exchange=exchange, write="^{username}$", read="")
    theirs = connections(credentials=pika.PlainCredentials(dotted, SECRET)).channel()
    theirs.basic_publish(exchange, dotted, b"x")
    answers(theirs)
    theirs.basic_publish(exchange, f"{user}-x", b"x")
    if broker.kind == "rabbitmq" and broker.version < (4, 0):
        answers(theirs)
        return
    with closes(403, "access to topic"):
        answers(theirs)


def test_loosened_at_once(
    broker: Broker, theirs: BlockingChannel, restrict: Callable[..., None], user: str, exchange: str
) -> None:
    """On an open channel, too; so are keys refused that were not used before."""
    restrict(write="^a$")
    theirs.basic_publish(exchange, "a", b"x")
    answers(theirs)
    restrict(write="^b$")
    theirs.basic_publish(exchange, "b", b"x")
    answers(theirs)
    theirs.basic_publish(exchange, "c", b"x")
    with refusal(broker, "write", "c", exchange, user):
        answers(theirs)


def test_requests(management: Management, restrict: Callable[..., None], user: str, exchange: str) -> None:
    """There may be one for each exchange; they are deleted one by one or together."""
    restrict(write="^a", read="^b")
    restrict(write="^c", read="^d", of="amq.topic")
    first = {"user": user, "vhost": "/", "exchange": exchange, "write": "^a", "read": "^b"}
    second = {"user": user, "vhost": "/", "exchange": "amq.topic", "write": "^c", "read": "^d"}
    shown = management.get("topic-permissions", "/", user)
    assert sorted(shown, key=lambda one: one["write"]) == [first, second]
    assert management.delete("topic-permissions", "/", user, exchange) == 204
    assert management.get("topic-permissions", "/", user) == [second]
    assert management.delete("topic-permissions", "/", user) == 204
    assert management.ask("GET", "topic-permissions", "/", user).status_code == 404


def test_deleted_permission_frees(
    management: Management, theirs: BlockingChannel, restrict: Callable[..., None], user: str, exchange: str
) -> None:
    """Without any, all routing keys are allowed."""
    restrict(write="^no")
    management.delete("topic-permissions", "/", user)
    theirs.basic_publish(exchange, "a", b"x")
    answers(theirs)


def test_refused_requests(broker: Broker, management: Management, user: str, name: str) -> None:
    """The reasons are RabbitMQ's."""
    good = {"exchange": "amq.topic", "write": "", "read": ""}
    parts = ("topic-permissions", "/", user)
    for key in good:
        rest = {other: value for other, value in good.items() if other != key}
        assert management.refused(*parts, **rest) == (400, f"[{{key_missing,{key}}}]")
    assert management.refused("topic-permissions", "/", name, **good) == (400, "vhost_or_user_not_found")
    assert management.refused("topic-permissions", name, user, **good) == (400, "vhost_or_user_not_found")
    status, reason = management.refused(*parts, **{**good, "write": "("})
    assert (status, "invalid_regexp" in reason) == (400, True)
