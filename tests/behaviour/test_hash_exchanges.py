"""Exchanges that pass each message to one destination, by hash or by chance."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
import pytest
from tests.behaviour.support import bodies, closes, since
from tests.conftest import EXCHANGE_PLUGINS
from tests.support.rabbitmq import available_plugins
from tests.support.servers import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.admin import Names
    from tests.support.brokers import Broker

CONSISTENT = "x-consistent-hash"
#: What 24 messages are told apart by.
KEYS = [f"key.{number}" for number in range(24)]
#: To which of three queues, bound in this order with the weight 1, their keys lead.
BY_KEY = "121112101100110100102120"


@pytest.fixture(autouse=True)
def plugins(broker: Broker) -> None:
    """RabbitMQ has the plugins."""
    if broker.kind == "rabbitmq":
        require(
            available_plugins() >= EXCHANGE_PLUGINS,
            "RabbitMQ's plugins for exchanges",
            f"install a RabbitMQ that has {', '.join(sorted(EXCHANGE_PLUGINS))}",
        )


@pytest.fixture
def queues(channel: BlockingChannel, names: Names) -> list[str]:
    """Three queues; their names are in order."""
    base = names()
    made = [names.keep(f"{base}.{number}") for number in range(3)]
    for queue in made:
        channel.queue_declare(queue)
    return made


def make(channel: BlockingChannel, name: str, kind: str = CONSISTENT, **arguments: Any) -> None:
    """Declare an exchange; arguments are written with _ for -."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.exchange_declare(name, kind, arguments=named)


def bind(channel: BlockingChannel, queues: Sequence[str], exchange: str, weights: str = "111") -> None:
    """Bind the queues, in this order, with these weights."""
    for queue, weight in zip(queues, weights, strict=True):
        channel.queue_bind(queue, exchange, weight)


def where(
    channel: BlockingChannel,
    queues: Sequence[str],
    exchange: str,
    keys: Sequence[str] = KEYS,
    properties: Sequence[pika.BasicProperties | None] = (None,) * 24,
) -> str:
    """Publish 24 messages; returns the numbers of the queues that they are in, each in one."""
    for number, (key, given) in enumerate(zip(keys, properties, strict=True)):
        channel.basic_publish(exchange, key, str(number), given)
    found = {int(body): index for index, queue in enumerate(queues) for body in bodies(channel, queue)}
    return "".join(str(found.get(number, "-")) for number in range(24))


# --- x-consistent-hash


def test_routing_key(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """A message goes to the queue that its routing key hashes to, in each RabbitMQ the same."""
    make(confirming, name)
    bind(confirming, queues, name)
    assert where(confirming, queues, name) == BY_KEY
    assert where(confirming, queues, name, keys=["key.0"] * 24) == "1" * 24


def test_weights(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """Binding keys are weights; a queue that is bound again comes behind the others."""
    make(confirming, name)
    bind(confirming, queues, name, "121")
    assert where(confirming, queues, name) == "211221101120110200102122"
    confirming.queue_unbind(queues[1], name, "2")
    assert where(confirming, queues, name) == "202222202200220200200200"
    confirming.queue_bind(queues[1], name, "2")
    assert where(confirming, queues, name) == "112111202210220100201211"


def test_queue_that_is_deleted(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """The others share its messages."""
    make(confirming, name)
    bind(confirming, queues, name, "121")
    confirming.queue_delete(queues[1])
    left = [queues[0], queues[2]]
    assert where(confirming, left, name) == "202222202200220200200200".replace("2", "1")


def test_second_binding_changes_nothing(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """A queue has the weight of its first binding."""
    make(confirming, name)
    bind(confirming, queues, name)
    confirming.queue_bind(queues[0], name, "9")
    assert where(confirming, queues, name) == BY_KEY


def test_exchange_as_destination(confirming: BlockingChannel, queues: list[str], names: Names) -> None:
    """It counts like a queue."""
    name, inner = names(), names("inner")
    make(confirming, name)
    make(confirming, inner, "fanout")
    confirming.queue_bind(queues[0], inner)
    confirming.exchange_bind(inner, name, "1")
    for queue in queues[1:]:
        confirming.queue_bind(queue, name, "1")
    assert where(confirming, queues, name) == BY_KEY


def test_message_without_a_destination(confirming: BlockingChannel, name: str) -> None:
    """It is returned."""
    make(confirming, name)
    with pytest.raises(pika.exceptions.UnroutableError):
        confirming.basic_publish(name, "a", b"x", mandatory=True)


def test_no_copies_for_cc(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """Only the routing key counts."""
    make(confirming, name)
    bind(confirming, queues, name)
    given = [pika.BasicProperties(headers={"CC": KEYS})] * 24
    assert where(confirming, queues, name, properties=given) == BY_KEY


@pytest.mark.parametrize("kind", ["message_id", "correlation_id"])
def test_hash_property(confirming: BlockingChannel, queues: list[str], name: str, kind: str) -> None:
    """A property may count instead; all messages without it go to one queue."""
    make(confirming, name, hash_property=kind)
    bind(confirming, queues, name)
    given = [pika.BasicProperties(**{kind: key}) for key in KEYS]
    assert where(confirming, queues, name, ["same"] * 24, given) == BY_KEY
    assert where(confirming, queues, name) == "1" * 24


def test_hash_property_timestamp(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """Its digits count."""
    make(confirming, name, hash_property="timestamp")
    bind(confirming, queues, name)
    given = [pika.BasicProperties(timestamp=1_600_000_000 + number) for number in range(24)]
    assert where(confirming, queues, name, properties=given) == "010102200100102201002201"


@pytest.mark.parametrize(
    ("values", "new", "old"),
    [
        (KEYS, BY_KEY, "220200201021011000121022"),
        (list(range(24)), "020102021212222002201220", "101101200012111210221002"),
        ([True, False] * 12, "00" * 12, "02" * 12),
        (
            [datetime.fromtimestamp(1_577_836_800 + second, UTC) for second in range(24)],
            "110012212112022000012001",
            "100101212011121011021111",
        ),
        ([None] * 24, "1" * 24, "1" * 24),
    ],
    ids=["text", "integers", "booleans", "timestamps", "nothing"],
)
def test_hash_header(
    broker: Broker,
    confirming: BlockingChannel,
    queues: list[str],
    name: str,
    values: Sequence[object],
    new: str,
    old: str,
) -> None:
    """A header may count instead; in RabbitMQ 3.10 with its type."""
    make(confirming, name, hash_header="h")
    bind(confirming, queues, name)
    given = [pika.BasicProperties(headers={} if value is None else {"h": value}) for value in values]
    assert where(confirming, queues, name, properties=given) == since(broker, (4, 0), new, old)


@pytest.mark.parametrize("value", [2**40, -5, "", None, {"a": 1}, [1]])
def test_same_header_same_queue(
    confirming: BlockingChannel, queues: list[str], name: str, value: object
) -> None:
    """Every type of header does."""
    make(confirming, name, hash_header="h")
    bind(confirming, queues, name)
    given = [pika.BasicProperties(headers={"h": value})] * 24
    assert len(set(where(confirming, queues, name, properties=given))) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash_property": "app_id"}, "Unsupported property: app_id"),
        ({"hash_property": ""}, "Unsupported property: "),
        (
            {"hash_property": "message_id", "hash_header": "h"},
            "hash-header and hash-property are mutually exclusive",
        ),
    ],
)
def test_refused_arguments(channel: BlockingChannel, name: str, arguments: dict[str, str], text: str) -> None:
    """The broker closes the channel with 406."""
    with closes(406, f"PRECONDITION_FAILED - {text}"):
        make(channel, name, **arguments)


def test_arguments_are_not_compared(channel: BlockingChannel, name: str) -> None:
    """The first ones hold."""
    make(channel, name)
    make(channel, name, hash_header="h")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
        ("01", None),
        ("+1", None),
    ],
)
def test_binding_key(
    channel: BlockingChannel, queues: list[str], name: str, key: str, text: str | None
) -> None:
    """It is a number of at least 1."""
    make(channel, name)
    with closes(406, f"PRECONDITION_FAILED - {text}") if text else nullcontext():
        channel.queue_bind(queues[0], name, key)


def test_largest_weight(broker: Broker, channel: BlockingChannel, queues: list[str], name: str) -> None:
    """RabbitMQ 3.10 has none, and would use up all memory."""
    if broker.kind == "rabbitmq" and broker.version < (4, 0):
        pytest.skip("there is none")
    make(channel, name)
    channel.queue_bind(queues[0], name, "10000")
    with closes(406, "PRECONDITION_FAILED - The binding key must not exceed 10000"):
        channel.queue_bind(queues[1], name, "10001")


# --- x-modulus-hash, x-random, x-local-random


def test_modulus_hash(confirming: BlockingChannel, queues: list[str], name: str) -> None:
    """The hash of the routing key chooses among the queues by their names, whatever the order of bindings."""
    make(confirming, name, "x-modulus-hash")
    for queue in (queues[2], queues[0], queues[1]):
        confirming.queue_bind(queue, name, "any")
    assert where(confirming, queues, name) == "112121101120121102202202"


@pytest.mark.parametrize("kind", ["x-random", "x-local-random"])
def test_random(broker: Broker, confirming: BlockingChannel, queues: list[str], name: str, kind: str) -> None:
    """Chance chooses one queue for each message."""
    if kind == "x-local-random" and broker.kind == "rabbitmq" and broker.version < (4, 0):
        pytest.skip("RabbitMQ 3.10 does not have the type")
    make(confirming, name, kind)
    for queue in queues:
        confirming.queue_bind(queue, name, "")
    found = where(confirming, queues, name) + where(confirming, queues, name)
    # That one of them gets none of 48 happens once in a hundred million times.
    assert set(found) == {"0", "1", "2"}


def test_local_random_has_no_binding_keys(
    broker: Broker, channel: BlockingChannel, queues: list[str], name: str
) -> None:
    """A binding key is refused."""
    if broker.kind == "rabbitmq" and broker.version < (4, 0):
        pytest.skip("RabbitMQ 3.10 does not have the type")
    make(channel, name, "x-local-random")
    with closes(406, "PRECONDITION_FAILED - Non empty binding 'zz' key not permitted"):
        channel.queue_bind(queues[0], name, "zz")
