"""Exchanges and their bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands
from tests.behaviour.support import bodies, closes, exchange_exists, since

if TYPE_CHECKING:
    from pamqp import base
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.behaviour.peer import Peer
    from tests.support.admin import Names
    from tests.support.brokers import Broker

PREDECLARED = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
DEFAULT_REFUSED = "operation not permitted on the default exchange"


@pytest.mark.parametrize("exchange", [*PREDECLARED, "amq.rabbitmq.trace"])
def test_predeclared(channel: BlockingChannel, exchange: str) -> None:
    """The broker has the exchange from the beginning."""
    channel.exchange_declare(exchange, passive=True)


@pytest.mark.parametrize("exchange", PREDECLARED)
def test_predeclared_type(channel: BlockingChannel, exchange: str) -> None:
    """All predeclared exchanges are durable, and an equal redeclare changes nothing."""
    channel.exchange_declare(exchange, PREDECLARED[exchange], durable=True)


def test_trace_exchange_is_an_internal_topic(channel: BlockingChannel) -> None:
    """The exchange amq.rabbitmq.trace exists, and refuses publishes with 403."""
    channel.exchange_declare("amq.rabbitmq.trace", "topic", durable=True, internal=True)
    with closes(403, "cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'"):
        channel.basic_publish("amq.rabbitmq.trace", "", b"")
        channel.exchange_declare("amq.direct", passive=True)


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("auto_delete", [False, True])
@pytest.mark.parametrize("internal", [False, True])
def test_declare_and_redeclare_equal(
    channel: BlockingChannel, name: str, kind: str, durable: bool, auto_delete: bool, internal: bool
) -> None:
    """The broker accepts a declare with each type and flag, and an equal one again."""
    for _ in range(2):
        channel.exchange_declare(
            name, kind, durable=durable, auto_delete=auto_delete, internal=internal, arguments={"x-any": 1}
        )


@pytest.mark.parametrize("exchange", ["amq.behaviour", "amq.", "amq.gen-x"])
def test_reserved_prefix(channel: BlockingChannel, exchange: str) -> None:
    """Clients may not make exchanges whose names begin with amq.: the broker answers 403."""
    with closes(403, f"exchange name '{exchange}' contains reserved prefix 'amq.*'"):
        channel.exchange_declare(exchange, "direct")


@pytest.mark.parametrize("exchange", ["amq", "AMQ.x", "amqx"])
def test_similar_prefix_is_not_reserved(channel: BlockingChannel, exchange: str) -> None:
    """The dot belongs to the prefix, and capitals are other letters."""
    channel.exchange_declare(exchange, "direct", auto_delete=True)
    channel.exchange_delete(exchange)


@pytest.mark.parametrize(
    "method",
    [
        commands.Exchange.Declare(exchange="", exchange_type="direct", durable=True),
        commands.Exchange.Declare(exchange="", passive=True),
        commands.Exchange.Delete(exchange=""),
        commands.Exchange.Bind(destination="amq.fanout", source=""),
        commands.Exchange.Bind(destination="", source="amq.fanout"),
        commands.Exchange.Unbind(destination="amq.fanout", source=""),
        commands.Exchange.Unbind(destination="", source="amq.fanout"),
    ],
    ids=["declare", "passive", "delete", "bind from", "bind to", "unbind from", "unbind to"],
)
def test_default_exchange_is_untouchable(peer: Peer, method: base.Frame) -> None:
    """The broker refuses each method on the default exchange with 403."""
    with closes(403, DEFAULT_REFUSED):
        peer.call(method, commands.Exchange.DeclareOk)


@pytest.mark.parametrize("method", ["queue_bind", "queue_unbind"])
def test_queues_are_not_bound_to_the_default_exchange(
    channel: BlockingChannel, queue: str, method: str
) -> None:
    """The broker refuses to bind queues to the default exchange, or unbind them, with 403."""
    with closes(403, DEFAULT_REFUSED):
        getattr(channel, method)(queue, "", routing_key="other")


@pytest.mark.parametrize(
    ("change", "received", "current"),
    [
        ({"exchange_type": "fanout"}, "fanout", "direct"),
        ({"durable": True}, "true", "false"),
        ({"auto_delete": True}, "true", "false"),
        ({"internal": True}, "true", "false"),
    ],
    ids=["type", "durable", "auto_delete", "internal"],
)
def test_redeclare_differs(
    channel: BlockingChannel, name: str, change: dict[str, Any], received: str, current: str
) -> None:
    """A redeclare with another type or flag closes the channel with 406, which names both values."""
    channel.exchange_declare(name, "direct")
    argument = "type" if "exchange_type" in change else next(iter(change))
    text = (
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange '{name}' in vhost '/': "
        f"received '{received}' but current is '{current}'"
    )
    with closes(406, text):
        channel.exchange_declare(name, **{"exchange_type": "direct", **change})


def test_redeclare_of_a_predeclared_exchange_differs(channel: BlockingChannel) -> None:
    """The broker compares a redeclare of a predeclared exchange, too."""
    with closes(406, "inequivalent arg 'durable' for exchange 'amq.direct' in vhost '/'"):
        channel.exchange_declare("amq.direct", "direct", durable=False)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, {"alternate-exchange": "z"}, "received the value 'z' of type 'longstr' but current is none"),
        (
            {"alternate-exchange": "y"},
            {"alternate-exchange": "z"},
            "received 'z' but current is 'y'",
        ),
        (
            {"alternate-exchange": "y"},
            {},
            "received none but current is the value 'y' of type 'longstr'",
        ),
    ],
    ids=["added", "changed", "left out"],
)
def test_redeclare_differs_in_alternate_exchange(
    channel: BlockingChannel, name: str, first: dict[str, str], second: dict[str, str], text: str
) -> None:
    """Another alternate exchange closes the channel with 406, which names both values."""
    channel.exchange_declare(name, "direct", arguments=first)
    with closes(406, f"inequivalent arg 'alternate-exchange' for exchange '{name}' in vhost '/': {text}"):
        channel.exchange_declare(name, "direct", arguments=second)


@pytest.mark.parametrize("second", [{}, {"x-any": 2}, {"x-other": True}])
def test_redeclare_differs_in_unknown_arguments(
    channel: BlockingChannel, name: str, second: dict[str, Any]
) -> None:
    """The broker does not compare arguments that it does not know."""
    channel.exchange_declare(name, "direct", arguments={"x-any": 1})
    channel.exchange_declare(name, "direct", arguments=second)


@pytest.mark.parametrize("kind", ["zz", "DIRECT", "x-behaviour"])
def test_unknown_type(broker: Broker, peer: Peer, name: str, kind: str) -> None:
    """RabbitMQ 4 closes the channel with 406; RabbitMQ 3.10 closes the connection."""
    declare = commands.Exchange.Declare(exchange=name, exchange_type=kind)
    with closes(since(broker, (4, 0), 406, 503), f"unknown exchange type '{kind}'"):
        peer.call(declare, commands.Exchange.DeclareOk)


@pytest.mark.parametrize(("value", "kind"), [(5, "signedint"), (True, "bool"), ([], "array"), ({}, "table")])
def test_alternate_exchange_must_be_text(
    channel: BlockingChannel, name: str, value: object, kind: str
) -> None:
    """The broker closes the channel with 406 when the alternate exchange is not a text."""
    with closes(406, f"invalid type '{kind}' for arg 'alternate-exchange' in exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, "direct", arguments={"alternate-exchange": value})


def test_passive_missing(channel: BlockingChannel, name: str) -> None:
    """A passive declare of a missing exchange closes the channel with 404."""
    with closes(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, passive=True)


@pytest.mark.parametrize(
    "settings", [{"exchange_type": "fanout"}, {"durable": True}, {"internal": True, "auto_delete": True}]
)
def test_passive_ignores_the_rest(channel: BlockingChannel, name: str, settings: dict[str, Any]) -> None:
    """A passive declare of an existing exchange succeeds, whatever type and flags it has."""
    channel.exchange_declare(name, "topic")
    channel.exchange_declare(name, passive=True, **settings)


def test_delete(connection: BlockingConnection, channel: BlockingChannel, name: str) -> None:
    """After the delete the exchange is gone."""
    channel.exchange_declare(name, "direct")
    channel.exchange_delete(name)
    assert not exchange_exists(connection, name)


@pytest.mark.parametrize("if_unused", [False, True])
def test_delete_missing(channel: BlockingChannel, name: str, if_unused: bool) -> None:
    """The broker answers delete-ok."""
    channel.exchange_delete(name, if_unused=if_unused)


@pytest.mark.parametrize("exchange", [*PREDECLARED, "amq.rabbitmq.trace"])
def test_delete_of_a_predeclared_exchange(channel: BlockingChannel, exchange: str) -> None:
    """Clients may not delete predeclared exchanges: the broker answers 403."""
    with closes(403, f"deletion of system exchange '{exchange}' in vhost '/' not allowed"):
        channel.exchange_delete(exchange)


def test_delete_if_unused_with_a_binding_to_a_queue(channel: BlockingChannel, queue: str) -> None:
    """A binding from the exchange to a queue counts as use: the broker answers 406."""
    channel.exchange_declare(queue, "direct")
    channel.queue_bind(queue, queue, "k")
    with closes(406, f"exchange '{queue}' in vhost '/' in use"):
        channel.exchange_delete(queue, if_unused=True)


def test_delete_if_unused_with_a_binding_to_an_exchange(channel: BlockingChannel, name: str) -> None:
    """A binding from the exchange to another counts as use: the broker answers 406."""
    channel.exchange_declare(name, "direct")
    channel.exchange_bind("amq.fanout", name, "k")
    with closes(406, f"exchange '{name}' in vhost '/' in use"):
        channel.exchange_delete(name, if_unused=True)


def test_delete_if_unused_minds_only_bindings_from_it(
    connection: BlockingConnection, channel: BlockingChannel, name: str
) -> None:
    """A binding to the exchange does not count as use."""
    channel.exchange_declare(name, "direct")
    channel.exchange_bind(name, "amq.fanout")
    channel.exchange_delete(name, if_unused=True)
    assert not exchange_exists(connection, name)


def test_delete_removes_bindings_from_it(channel: BlockingChannel, queue: str) -> None:
    """A namesake made later starts without bindings."""
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    channel.exchange_delete(queue)
    channel.exchange_declare(queue, "fanout")
    channel.basic_publish(queue, "", b"lost")
    assert bodies(channel, queue) == []


def test_delete_removes_bindings_to_it(channel: BlockingChannel, queue: str, names: Names) -> None:
    """No binding leads to a namesake made later."""
    source = names("source")
    channel.exchange_declare(source, "fanout")
    for _ in range(2):
        channel.exchange_declare(queue, "fanout")
        channel.queue_bind(queue, queue)
        channel.exchange_bind(queue, source)
        channel.exchange_delete(queue)
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    channel.basic_publish(source, "", b"lost")
    assert bodies(channel, queue) == []


def test_auto_delete_by_unbinding(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """The exchange goes with the last binding from it, not before."""
    channel.exchange_declare(queue, "direct", auto_delete=True)
    channel.queue_bind(queue, queue, "one")
    channel.queue_bind(queue, queue, "two")
    channel.queue_unbind(queue, queue, "one")
    assert exchange_exists(connection, queue)
    channel.queue_unbind(queue, queue, "two")
    assert not exchange_exists(connection, queue)


def test_auto_delete_by_queue_delete(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """The exchange goes with its last binding when the bound queue is deleted."""
    channel.exchange_declare(queue, "direct", auto_delete=True)
    channel.queue_bind(queue, queue, "k")
    channel.queue_delete(queue)
    assert not exchange_exists(connection, queue)


def test_auto_delete_by_exchange_delete(
    connection: BlockingConnection, channel: BlockingChannel, names: Names
) -> None:
    """The source goes with its last destination."""
    source, destination = names("source"), names("destination")
    channel.exchange_declare(source, "direct", auto_delete=True)
    channel.exchange_declare(destination, "direct")
    channel.exchange_bind(destination, source, "k")
    channel.exchange_delete(destination)
    assert not exchange_exists(connection, source)


def test_auto_delete_by_exchange_unbind(
    connection: BlockingConnection, channel: BlockingChannel, name: str
) -> None:
    """The exchange goes with its last binding to another exchange."""
    channel.exchange_declare(name, "direct", auto_delete=True)
    channel.exchange_bind("amq.fanout", name, "k")
    channel.exchange_unbind("amq.fanout", name, "k")
    assert not exchange_exists(connection, name)


def test_auto_delete_cascades(
    connection: BlockingConnection, channel: BlockingChannel, queue: str, names: Names
) -> None:
    """A chain of auto-delete exchanges falls at once."""
    chain = [names(str(position)) for position in range(4)]
    for exchange in chain:
        channel.exchange_declare(exchange, "fanout", auto_delete=True)
    for source, destination in zip(chain, chain[1:], strict=False):
        channel.exchange_bind(destination, source)
    channel.queue_bind(queue, chain[-1])
    channel.queue_delete(queue)
    assert [exchange for exchange in chain if exchange_exists(connection, exchange)] == []


def test_auto_delete_waits_for_a_first_binding(
    connection: BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    """The exchange never goes before it had a binding, and an unbind of nothing is none."""
    channel.exchange_declare(queue, "direct", auto_delete=True)
    channel.queue_unbind(queue, queue, "never bound")
    assert exchange_exists(connection, queue)


def test_auto_delete_minds_only_bindings_from_it(
    connection: BlockingConnection, channel: BlockingChannel, name: str
) -> None:
    """A binding to the exchange comes and goes without effect."""
    channel.exchange_declare(name, "direct", auto_delete=True)
    channel.exchange_bind(name, "amq.fanout")
    channel.exchange_unbind(name, "amq.fanout")
    assert exchange_exists(connection, name)


def test_exchange_binding_routes(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The key must pass both bindings."""
    source = names("source")
    channel.exchange_declare(source, "topic")
    channel.exchange_declare(queue, "direct")
    channel.exchange_bind(queue, source, "a.*")
    channel.queue_bind(queue, queue, "a.b")
    for key in ("a.b", "a.c", "b.b"):
        channel.basic_publish(source, key, key.encode())
    assert bodies(channel, queue) == [b"a.b"]


def test_exchange_unbinding(channel: BlockingChannel, queue: str, names: Names) -> None:
    """An unbind removes the binding with its key, and leaves the other."""
    source = names("source")
    channel.exchange_declare(source, "direct")
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    for key in ("kept", "removed"):
        channel.exchange_bind(queue, source, key)
    channel.exchange_unbind(queue, source, "removed")
    for key in ("kept", "removed"):
        channel.basic_publish(source, key, key.encode())
    assert bodies(channel, queue) == [b"kept"]


@pytest.mark.parametrize("missing", ["source", "destination"])
def test_exchange_bind_missing(channel: BlockingChannel, name: str, missing: str) -> None:
    """A bind from or to a missing exchange closes the channel with 404."""
    ends = {"source": "amq.fanout", "destination": "amq.fanout", missing: name}
    with closes(404, f"no exchange '{name}' in vhost '/'"):
        channel.exchange_bind(ends["destination"], ends["source"])


@pytest.mark.parametrize(
    ("destination", "source"),
    [("amq.fanout", "amq.direct"), ("amq.fanout", ""), ("", "amq.fanout")],
    ids=["binding", "source", "destination"],
)
def test_exchange_unbind_missing(channel: BlockingChannel, name: str, destination: str, source: str) -> None:
    """The broker answers unbind-ok when the binding or either exchange is missing."""
    channel.exchange_unbind(destination or name, source or name, "never bound")


def test_duplicate_exchange_binding(channel: BlockingChannel, queue: str, names: Names) -> None:
    """A second equal bind succeeds without effect, and one unbind removes the binding."""
    source = names("source")
    channel.exchange_declare(source, "direct")
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    for _ in range(2):
        channel.exchange_bind(queue, source, "k")
    channel.basic_publish(source, "k", b"once")
    channel.exchange_unbind(queue, source, "k")
    channel.basic_publish(source, "k", b"never")
    assert bodies(channel, queue) == [b"once"]


def test_exchange_cycle(channel: BlockingChannel, queue: str, names: Names) -> None:
    """Bindings may form a cycle: a message visits an exchange at most once."""
    ring = [names(str(position)) for position in range(3)]
    for exchange in ring:
        channel.exchange_declare(exchange, "fanout")
        channel.queue_bind(queue, exchange)
    for source, destination in zip(ring, ring[1:] + ring[:1], strict=True):
        channel.exchange_bind(destination, source)
    for exchange in ring:
        channel.basic_publish(exchange, "", exchange.encode())
    assert bodies(channel, queue) == [exchange.encode() for exchange in ring]


def test_exchange_bound_to_itself(channel: BlockingChannel, queue: str) -> None:
    """An exchange may be bound to itself: a message visits it once."""
    channel.exchange_declare(queue, "fanout")
    channel.exchange_bind(queue, queue)
    channel.queue_bind(queue, queue)
    channel.basic_publish(queue, "", b"once")
    assert bodies(channel, queue) == [b"once"]


def test_delivery_names_the_exchange_published_to(channel: BlockingChannel, queue: str, names: Names) -> None:
    """A delivery names exchange and key of the publish, not those on the way."""
    source = names("source")
    channel.exchange_declare(source, "fanout")
    channel.exchange_declare(queue, "fanout")
    channel.exchange_bind(queue, source, "binding key")
    channel.queue_bind(queue, queue, "other key")
    channel.basic_publish(source, "key", b"")
    method, _, _ = channel.basic_get(queue, auto_ack=True)
    assert (method.exchange, method.routing_key) == (source, "key")


def test_publish_to_internal_exchange(channel: BlockingChannel, name: str) -> None:
    """A publish to an internal exchange closes the channel with 403."""
    channel.exchange_declare(name, "fanout", internal=True)
    channel.basic_publish(name, "", b"")
    with closes(403, f"cannot publish to internal exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, passive=True)


def test_internal_exchange_routes_what_exchanges_bring(
    channel: BlockingChannel, queue: str, names: Names
) -> None:
    """Messages reach an internal exchange through bindings."""
    source = names("source")
    channel.exchange_declare(source, "fanout")
    channel.exchange_declare(queue, "fanout", internal=True)
    channel.exchange_bind(queue, source)
    channel.queue_bind(queue, queue)
    channel.basic_publish(source, "", b"through")
    assert bodies(channel, queue) == [b"through"]


@pytest.mark.parametrize(
    ("key", "routed"), [("a.b", True), ("a", False), ("a.b.c", False), ("A.B", False), ("", False)]
)
def test_direct(channel: BlockingChannel, queue: str, key: str, routed: bool) -> None:
    """A direct exchange routes where the routing key equals the binding key."""
    channel.exchange_declare(queue, "direct")
    channel.queue_bind(queue, queue, "a.b")
    channel.basic_publish(queue, key, b"x")
    assert bodies(channel, queue) == [b"x"] * routed


@pytest.mark.parametrize("key", ["*", "#", "a.*", ""])
def test_direct_has_no_wildcards(channel: BlockingChannel, queue: str, key: str) -> None:
    """On a direct exchange * and # stand for themselves."""
    channel.exchange_declare(queue, "direct")
    channel.queue_bind(queue, queue, key)
    channel.basic_publish(queue, key, b"literal")
    channel.basic_publish(queue, "a.b", b"pattern")
    assert bodies(channel, queue) == [b"literal"]


def test_direct_to_several_queues(channel: BlockingChannel, names: Names) -> None:
    """Every queue that is bound with the key gets the message."""
    exchange, first, second, other = names(), names("first"), names("second"), names("other")
    channel.exchange_declare(exchange, "direct")
    for queue, key in ((first, "k"), (second, "k"), (other, "l")):
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange, key)
    channel.basic_publish(exchange, "k", b"x")
    assert [bodies(channel, queue) for queue in (first, second, other)] == [[b"x"], [b"x"], []]


def test_bindings_that_differ_in_arguments_deliver_once(channel: BlockingChannel, queue: str) -> None:
    """Two bindings that differ in their arguments deliver one copy to the queue."""
    channel.exchange_declare(queue, "direct")
    for number in (1, 2):
        channel.queue_bind(queue, queue, "k", arguments={"number": number})
    channel.basic_publish(queue, "k", b"once")
    assert bodies(channel, queue) == [b"once"]


def test_bindings_that_differ_in_arguments_are_separate(channel: BlockingChannel, queue: str) -> None:
    """The removal of one binding leaves the other."""
    channel.exchange_declare(queue, "direct")
    for number in (1, 2):
        channel.queue_bind(queue, queue, "k", arguments={"number": number})
    channel.queue_unbind(queue, queue, "k", arguments={"number": 1})
    channel.basic_publish(queue, "k", b"kept")
    channel.queue_unbind(queue, queue, "k", arguments={"number": 2})
    channel.basic_publish(queue, "k", b"lost")
    assert bodies(channel, queue) == [b"kept"]


@pytest.mark.parametrize("key", ["", "bound", "other", "a.b.c"])
def test_fanout_ignores_the_key(channel: BlockingChannel, queue: str, key: str) -> None:
    """A fanout exchange routes every message to every bound queue."""
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue, "bound")
    channel.basic_publish(queue, key, b"x")
    assert bodies(channel, queue) == [b"x"]


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_queue_matched_by_several_bindings(channel: BlockingChannel, queue: str, kind: str) -> None:
    """The queue gets one copy of the message."""
    channel.exchange_declare(queue, kind)
    for number, key in enumerate(["k", "#", "*", "k"]):
        channel.queue_bind(queue, queue, key, arguments={"x-number": number})
    channel.basic_publish(queue, "k", b"once")
    assert bodies(channel, queue) == [b"once"]


def test_queue_reached_over_several_exchanges(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The queue gets one copy of the message."""
    source = names("source")
    channel.exchange_declare(source, "fanout")
    channel.queue_bind(queue, source)
    for position in range(2):
        middle = names(str(position))
        channel.exchange_declare(middle, "fanout")
        channel.exchange_bind(middle, source)
        channel.queue_bind(queue, middle)
    channel.basic_publish(source, "", b"once")
    assert bodies(channel, queue) == [b"once"]


def test_default_exchange_routes_by_queue_name(channel: BlockingChannel, names: Names) -> None:
    """The default exchange routes to the queue that the routing key names."""
    first, second = names("first"), names("second")
    for queue in (first, second):
        channel.queue_declare(queue)
    channel.basic_publish("", second, b"x")
    assert (bodies(channel, first), bodies(channel, second)) == ([], [b"x"])


def declare_with_alternate(channel: BlockingChannel, exchange: str, alternate: str) -> None:
    channel.exchange_declare(exchange, "direct", arguments={"alternate-exchange": alternate})


def test_alternate_exchange_takes_what_is_unroutable(
    channel: BlockingChannel, queue: str, names: Names
) -> None:
    """The alternate exchange takes what is unroutable; receivers see the original exchange and key."""
    exchange, main = names(), names("main")
    channel.queue_declare(main)
    channel.exchange_declare(queue, "fanout")
    channel.queue_bind(queue, queue)
    declare_with_alternate(channel, exchange, queue)
    channel.queue_bind(main, exchange, "routed")
    channel.basic_publish(exchange, "routed", b"main")
    channel.basic_publish(exchange, "else", b"alternate")
    assert bodies(channel, main) == [b"main"]
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (method.exchange, method.routing_key, body) == (exchange, "else", b"alternate")
    assert bodies(channel, queue) == []


def test_alternate_exchanges_chain(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The message goes from one alternate exchange to the next until one routes it."""
    chain = [names(str(position)) for position in range(3)]
    for exchange, alternate in zip(chain, chain[1:], strict=False):
        declare_with_alternate(channel, exchange, alternate)
    channel.exchange_declare(chain[-1], "direct")
    channel.queue_bind(queue, chain[-1], "k")
    channel.basic_publish(chain[0], "k", b"through")
    assert bodies(channel, queue) == [b"through"]


def test_alternate_exchanges_in_a_cycle(channel: BlockingChannel, queue: str, names: Names) -> None:
    """A message visits an exchange at most once."""
    first, second = names("first"), names("second")
    declare_with_alternate(channel, first, second)
    declare_with_alternate(channel, second, first)
    channel.basic_publish(first, "k", b"lost")
    channel.queue_bind(queue, first, "k")
    channel.basic_publish(second, "k", b"found")
    assert bodies(channel, queue) == [b"found"]


def test_missing_alternate_exchange(channel: BlockingChannel, queue: str, names: Names) -> None:
    """The broker skips a missing alternate exchange silently; declared later, it works."""
    alternate = names("alternate")
    declare_with_alternate(channel, queue, alternate)
    channel.basic_publish(queue, "k", b"lost")
    channel.exchange_declare(alternate, "fanout")
    channel.queue_bind(queue, alternate)
    channel.basic_publish(queue, "k", b"found")
    assert bodies(channel, queue) == [b"found"]


def test_alternate_exchange_counts_as_routed(peer: Peer, names: Names) -> None:
    """The broker returns no mandatory message that the alternate exchange routed."""
    exchange, alternate, queue = names(), names("alternate"), names("queue")
    peer.call(commands.Queue.Declare(queue=queue), commands.Queue.DeclareOk)
    declare = commands.Exchange.Declare(exchange=alternate, exchange_type="fanout")
    peer.call(declare, commands.Exchange.DeclareOk)
    peer.call(commands.Queue.Bind(queue=queue, exchange=alternate), commands.Queue.BindOk)
    declare = commands.Exchange.Declare(exchange=exchange, arguments={"alternate-exchange": alternate})
    peer.call(declare, commands.Exchange.DeclareOk)
    peer.publish(b"x", exchange=exchange, mandatory=True)
    peer.roundtrip()
    assert peer.get(queue).body == b"x"


def test_unroutable_by_the_alternate_exchange_is_returned(peer: Peer, names: Names) -> None:
    """An alternate exchange without bindings routes nothing."""
    exchange, alternate = names(), names("alternate")
    declare = commands.Exchange.Declare(exchange=alternate, exchange_type="fanout")
    peer.call(declare, commands.Exchange.DeclareOk)
    declare = commands.Exchange.Declare(exchange=exchange, arguments={"alternate-exchange": alternate})
    peer.call(declare, commands.Exchange.DeclareOk)
    peer.publish(b"x", exchange=exchange, mandatory=True)
    assert peer.expect(commands.Basic.Return).exchange == exchange
