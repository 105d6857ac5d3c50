"""Exchanges that pass each message to one of their destinations."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.declarations import ExchangeDeclaration
from fedora_messaging.broker.core.exchanges import TYPES, Exchange, FanoutExchange
from fedora_messaging.broker.core.exchanges.spreading import (
    LocalRandomExchange,
    ModulusHashExchange,
    RandomExchange,
)
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost

RANDOM = [RandomExchange, LocalRandomExchange]
ALL: list[type[Exchange]] = [*RANDOM, ModulusHashExchange]


@pytest.fixture
def reproducible_chance() -> None:
    random.seed(5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x-random", RandomExchange),
        ("x-local-random", LocalRandomExchange),
        ("x-modulus-hash", ModulusHashExchange),
    ],
)
def test_types(name: str, kind: type) -> None:
    assert TYPES[name] is kind
    assert not TYPES[name].by_key


@pytest.mark.parametrize("kind", RANDOM)
def test_each_message_has_one_destination_by_chance(
    vhost: VirtualHost, kind: type[RandomExchange], reproducible_chance: None
) -> None:
    exchange = kind("r")
    for name in "abc":
        exchange.bind(declare(vhost, name), "", {})
    found: Counter[str] = Counter()
    for _ in range(3000):
        (destination,) = exchange.destinations("k", message())
        found[destination.name] += 1
    assert set(found) == set("abc")
    assert all(850 < count < 1150 for count in found.values())


def test_keys_of_bindings_mean_nothing(vhost: VirtualHost, reproducible_chance: None) -> None:
    """A queue that is bound twice is no likelier than others."""
    exchange = RandomExchange("r")
    once, often = declare(vhost, "once"), declare(vhost, "often")
    exchange.bind(once, "x", {})
    for number in range(9):
        exchange.bind(often, f"y{number}", {})
    found = Counter(next(iter(exchange.destinations("k", message()))).name for _ in range(2000))
    assert all(850 < found[name] < 1150 for name in ("once", "often"))
    for number in range(9):
        exchange.unbind(often, f"y{number}", {})
    assert {next(iter(exchange.destinations("k", message()))) for _ in range(50)} == {once}


def test_key_of_a_local_binding_is_refused(vhost: VirtualHost) -> None:
    exchange = LocalRandomExchange("r")
    with pytest.raises(ChannelError) as caught:
        exchange.bind(declare(vhost, "q"), "zz", {})
    assert caught.value.reply_text == "PRECONDITION_FAILED - Non empty binding 'zz' key not permitted"
    assert exchange.bindings == {}


def test_modulus_of_the_hash_chooses_by_name(vhost: VirtualHost) -> None:
    """Both releases of RabbitMQ chose these, when the queues were bound in this order."""
    exchange = ModulusHashExchange("m")
    for name in ("mc", "ma", "mb"):
        exchange.bind(declare(vhost, name), "", {})
    places = ""
    for number in range(40):
        (destination,) = exchange.destinations(f"k{number}", message(f"k{number}"))
        places += destination.name[1]
    assert places == "caaabacccaabcbbccbcccabbccabacababbacaba"


@pytest.mark.parametrize("kind", ALL)
def test_exchange_without_bindings_routes_nothing(vhost: VirtualHost, kind: type[Exchange]) -> None:
    exchange = kind("e")
    assert list(exchange.destinations("k", message())) == []
    queue = declare(vhost, "q")
    exchange.bind(queue, "", {})
    assert list(exchange.destinations("k", message())) == [queue]
    exchange.unbind(queue, "", {})
    assert list(exchange.destinations("k", message())) == []


@pytest.mark.parametrize("kind", ALL)
def test_exchange_may_be_the_destination(kind: type[Exchange]) -> None:
    exchange, other = kind("e"), FanoutExchange("other")
    exchange.bind(other, "", {})
    assert list(exchange.destinations("k", message())) == [other]


@pytest.mark.parametrize("kind", ALL)
def test_further_keys_of_a_message_make_no_copies(vhost: VirtualHost, kind: type[Exchange]) -> None:
    vhost.declare_exchange(ExchangeDeclaration("e", kind.type))
    queues = [declare(vhost, name) for name in "abc"]
    for queue in queues:
        vhost.bind("e", queue, "", {})
    properties = encode_properties(BasicProperties(headers={"CC": ["1", "2", "3"], "BCC": ["4"]}))
    for number in range(20):
        vhost.enqueue(vhost.exchanges["e"], new_message("e", f"k{number}", properties, b""))
    assert sum(map(len, queues)) == 20


def test_key_that_is_not_utf8_is_hashed(vhost: VirtualHost) -> None:
    exchange = ModulusHashExchange("m")
    queue = declare(vhost, "q")
    exchange.bind(queue, "", {})
    assert list(exchange.destinations("\udcff", message("\udcff"))) == [queue]
