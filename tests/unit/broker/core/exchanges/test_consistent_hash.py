"""A consistent hash exchange chooses the queue that RabbitMQ's plugin chose for the same message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, new_vhost
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.declarations import ExchangeDeclaration
from fedora_messaging.broker.core.exchanges import TYPES
from fedora_messaging.broker.core.exchanges.consistent_hash import ConsistentHashExchange
from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.protocol.errors import ChannelError, ConnectionError, PeerError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fedora_messaging.broker.core.vhost import VirtualHost

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYS = [f"k{number}" for number in range(40)]
#: Where each of these keys goes, if q1, q2, q3 are bound in this order with the weights 1, 2, 1.
BY_KEY = "2322222332222221111223323123222323221121"


class Ring:
    """An exchange, and the queues q1, q2 and so on."""

    def __init__(self, profile: Profile = RABBITMQ_4, **arguments: Any) -> None:
        self.vhost = new_vhost(profile)
        spelled = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.exchange = ConsistentHashExchange("ch", arguments=spelled, profile=profile)
        for number in range(1, 5):
            declare(self.vhost, f"q{number}")

    def bind(self, *weights: tuple[str, int]) -> Ring:
        for name, weight in weights:
            self.exchange.bind(self.vhost.queues[name], str(weight), {})
        return self

    def unbind(self, name: str, weight: int) -> None:
        self.exchange.unbind(self.vhost.queues[name], str(weight), {})

    def places(self, messages: Iterable[BrokerMessage]) -> str:
        """Return the number of the queue that gets each message."""
        return "".join(
            destination.name[1:]
            for message in messages
            for destination in self.exchange.destinations(message.routing_key, message)
        )

    def by_key(self) -> str:
        return self.places(new_message("ch", key, b"\0\0", b"") for key in KEYS)

    def by_header(self, values: Iterable[Any]) -> str:
        return self.places(with_properties(headers={"h": value}) for value in values)


def with_properties(key: str = "any", **properties: Any) -> BrokerMessage:
    return new_message("ch", key, encode_properties(BasicProperties(**properties)), b"")


USUAL = (("q1", 1), ("q2", 2), ("q3", 1))


def test_type() -> None:
    assert TYPES["x-consistent-hash"] is ConsistentHashExchange
    assert not ConsistentHashExchange.by_key


@pytest.mark.parametrize(
    ("bindings", "places"),
    [
        (USUAL, BY_KEY),
        ((("q3", 1), ("q2", 2), ("q1", 1)), "2122222112222223333221121321222121223323"),
        ((("q1", 3), ("q2", 2), ("q3", 4), ("q4", 1)), "3334121434321111331122213132213333313313"),
        ((("q1", 2), ("q2", 3)), "1211221222222211111122212122222222221211"),
    ],
)
def test_weights_and_order_of_bindings(bindings: tuple[tuple[str, int], ...], places: str) -> None:
    assert Ring().bind(*bindings).by_key() == places


def test_ring_follows_the_bindings() -> None:
    ring = Ring().bind(*USUAL)
    ring.unbind("q2", 2)
    assert ring.by_key() == "3133133133333331111333333131333331111131"
    ring.bind(("q2", 2))
    at_the_end = "3233233222332231111332232122322222221131"
    assert ring.by_key() == at_the_end
    ring.bind(("q2", 2))
    assert ring.by_key() == at_the_end


def test_second_binding_of_a_queue_changes_nothing_until_it_goes() -> None:
    """Then the queue gets nothing more, although its first binding is still there."""
    ring = Ring().bind(("q1", 1), ("q3", 1), ("q2", 2), ("q1", 3))
    assert ring.by_key() == "3233233222332231111332232122322222221131"
    ring.unbind("q1", 3)
    assert ring.by_key() == "2322222322222223333222222323222223223323"
    assert len(ring.exchange.bindings) == 3
    ring.unbind("q1", 1)
    assert ring.by_key() == "2322222322222223333222222323222223223323"


def test_queue_that_is_deleted_leaves_the_ring(vhost: VirtualHost) -> None:
    vhost.declare_exchange(ExchangeDeclaration("ch", "x-consistent-hash"))
    for name, weight in (("q1", 3), ("q2", 2), ("q3", 4), ("q4", 1)):
        vhost.bind("ch", declare(vhost, name), str(weight), {})
    for name in ("q2", "q1"):
        vhost.remove_queue(vhost.queues[name])
    exchange = vhost.exchanges["ch"]
    messages = [new_message("ch", key, b"\0\0", b"") for key in KEYS]
    assert "".join(
        found.name[1:]
        for message in messages
        for found in exchange.destinations(message.routing_key, message)
    ) == ("3333343333443333333343433333433334333433")


def test_exchange_takes_part_like_a_queue() -> None:
    ring = Ring().bind(("q2", 1), ("q3", 1))
    ring.exchange.bind(TYPES["fanout"]("f1"), "2", {})
    assert ring.by_key() == "3133133111331132222331131211311111112232"


def test_exchange_without_bindings_routes_nothing() -> None:
    assert Ring().by_key() == ""


def test_further_keys_of_a_message_make_no_copies() -> None:
    ring = Ring().bind(*USUAL)
    message = with_properties("k0", headers={"CC": ["k1", "k2"]})
    found = [list(ring.exchange.destinations(key, message)) for key in ("k0", "k1", "k2")]
    assert [[queue.name for queue in queues] for queues in found] == [["q2"], [], []]


def test_key_that_is_not_utf8_is_hashed() -> None:
    ring = Ring().bind(*USUAL)
    assert len(ring.places([new_message("ch", "\udcff", b"\0\0", b"")])) == 1


# What is hashed


@pytest.mark.parametrize("name", ["message_id", "correlation_id"])
@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_property(profile: Profile, name: str) -> None:
    ring = Ring(profile, hash_property=name).bind(*USUAL)
    assert ring.places(with_properties(**{name: key}) for key in KEYS) == BY_KEY


def test_time_of_a_message_is_hashed_as_decimal_text() -> None:
    ring = Ring(hash_property="timestamp").bind(*USUAL)
    times = (EPOCH + timedelta(seconds=number) for number in range(40))
    assert ring.places(with_properties(timestamp=time) for time in times) == (
        "3222113221232331122221223323222233222232"
    )


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
@pytest.mark.parametrize("name", ["message_id", "correlation_id", "timestamp"])
def test_messages_without_the_property_go_to_one_queue(profile: Profile, name: str) -> None:
    ring = Ring(profile, hash_property=name).bind(*USUAL)
    assert ring.places(with_properties(key) for key in KEYS) == "2" * 40


def test_properties_that_do_not_decode_count_as_missing() -> None:
    ring = Ring(hash_property="message_id").bind(*USUAL)
    broken = b"\x20\x80" + sized(b"\x01aZ") + b"\x02k1"
    assert ring.places([new_message("ch", "k", broken, b"")]) == "2"


TEXTS = KEYS
INTEGERS = range(40)
LONG_INTEGERS = [2**40 + number for number in range(40)]
TIMES = [EPOCH + timedelta(seconds=number) for number in range(20)]


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        (TEXTS, "3223131331231232322332132121323311112222", BY_KEY),
        (
            INTEGERS,
            "3122122131322322212221122322121333221222",
            "3312321322322321122122232222222131212131",
        ),
        (
            LONG_INTEGERS,
            "3221211322232123213323331223333332331213",
            "3312321322322321122122232222222131212131",
        ),
        ([number % 2 == 0 for number in range(10)], "1212121212", "1111111111"),
        (TIMES, "33212222332322112131", "31323213212122122331"),
        ([None] * 20, "1" * 20, "2" * 20),
    ],
    ids=["texts", "integers", "long integers", "booleans", "times", "void"],
)
def test_header(values: Iterable[Any], old: str, new: str) -> None:
    """RabbitMQ 3 hashes the value together with its type."""
    found = [Ring(profile, hash_header="h").bind(*USUAL) for profile in (RABBITMQ_3, RABBITMQ_4)]
    assert [ring.by_header(values) for ring in found] == [old, new]


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_messages_without_the_header_go_to_one_queue(profile: Profile) -> None:
    ring = Ring(profile, hash_header="h").bind(*USUAL)
    assert ring.places(with_properties(key) for key in KEYS) == "2" * 40
    assert ring.places(with_properties(key, headers={"i": key}) for key in KEYS) == "2" * 40


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_any_other_header_is_routed(profile: Profile) -> None:
    ring = Ring(profile, hash_header="h").bind(*USUAL)
    assert len(ring.by_header([[1], {"a": [2]}, 1.5, b"\xff"])) == 4


# What is refused


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("1 ", 'The binding key must be an integer: <<"1 ">>'),
        ("1\n", 'The binding key must be an integer: <<"1\n">>'),
        ("0x1", 'The binding key must be an integer: <<"0x1">>'),
        ("١", 'The binding key must be an integer: <<"١">>'),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
        ("10001", "The binding key must not exceed 10000"),
        ("9" * 255, "The binding key must not exceed 10000"),
    ],
)
def test_weight_that_is_refused(key: str, text: str) -> None:
    ring = Ring()
    with pytest.raises(ChannelError) as caught:
        ring.exchange.bind(ring.vhost.queues["q1"], key, {})
    assert caught.value.reply_text == f"PRECONDITION_FAILED - {text}"
    assert ring.exchange.bindings == {}
    assert ring.by_key() == ""


@pytest.mark.parametrize(("key", "buckets"), [("1", 1), ("01", 1), ("+1", 1), ("10000", 10000)])
def test_weight(key: str, buckets: int) -> None:
    ring = Ring()
    ring.exchange.bind(ring.vhost.queues["q1"], key, {})
    assert len(ring.exchange._ring) == buckets


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"hash-property": "app_id"}, ChannelError, "PRECONDITION_FAILED - Unsupported property: app_id"),
        (
            {"hash-property": "message-id"},
            ChannelError,
            "PRECONDITION_FAILED - Unsupported property: message-id",
        ),
        ({"hash-property": ""}, ChannelError, "PRECONDITION_FAILED - Unsupported property: "),
        (
            {"hash-header": "h", "hash-property": "bogus"},
            ChannelError,
            "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-header": 5}, ConnectionError, "INTERNAL_ERROR - hash-header is not a string"),
        ({"hash-header": ["h"]}, ConnectionError, "INTERNAL_ERROR - hash-header is not a string"),
        ({"hash-property": True}, ConnectionError, "INTERNAL_ERROR - hash-property is not a string"),
    ],
)
def test_arguments_that_are_refused(
    vhost: VirtualHost, arguments: dict[str, Any], error: type[PeerError], text: str
) -> None:
    with pytest.raises(error) as caught:
        vhost.declare_exchange(ExchangeDeclaration("ch", "x-consistent-hash", arguments=arguments))
    assert caught.value.reply_text == text
    assert "ch" not in vhost.exchanges


@pytest.mark.parametrize("arguments", [{"hash-header": ""}, {"hash-header": None}, {"unknown": [1]}])
def test_arguments_that_are_accepted(vhost: VirtualHost, arguments: dict[str, Any]) -> None:
    vhost.declare_exchange(ExchangeDeclaration("ch", "x-consistent-hash", arguments=arguments))
    assert vhost.exchanges["ch"].arguments == arguments


def test_repeated_declaration_may_have_other_arguments(vhost: VirtualHost) -> None:
    for arguments in ({}, {"hash-header": "h"}):
        vhost.declare_exchange(ExchangeDeclaration("ch", "x-consistent-hash", arguments=arguments))
    assert vhost.exchanges["ch"].arguments == {}
