"""A direct exchange finds its bindings by their keys, and forgets them with the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import TYPES, DirectExchange

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def found(exchange: DirectExchange, key: str) -> list[str]:
    return [destination.name for destination in exchange.destinations(key, message())]


def test_type() -> None:
    assert TYPES["direct"] is DirectExchange
    assert DirectExchange.by_key


def test_destinations_come_in_the_order_of_their_bindings(vhost: VirtualHost) -> None:
    exchange = DirectExchange("d")
    for name in ("c", "a", "b"):
        exchange.bind(declare(vhost, name), "k", {})
    exchange.bind(declare(vhost, "other"), "l", {})
    assert found(exchange, "k") == ["c", "a", "b"]
    assert found(exchange, "l") == ["other"]
    assert found(exchange, "") == []
    assert found(exchange, "K") == []


def test_one_of_two_bindings_with_the_same_key_stays(vhost: VirtualHost) -> None:
    exchange = DirectExchange("d")
    first, second = declare(vhost, "first"), declare(vhost, "second")
    exchange.bind(first, "k", {})
    exchange.bind(second, "k", {})
    exchange.unbind(first, "k", {})
    assert found(exchange, "k") == ["second"]
    exchange.unbind(second, "k", {})
    assert found(exchange, "k") == []
    exchange.bind(first, "k", {})
    assert found(exchange, "k") == ["first"]


def test_queue_stays_until_the_last_of_its_bindings_with_a_key(vhost: VirtualHost) -> None:
    exchange = DirectExchange("d")
    queue = declare(vhost, "q")
    exchange.bind(queue, "k", {})
    exchange.bind(queue, "k", {"number": 2})
    assert found(exchange, "k") == ["q"]
    exchange.unbind(queue, "k", {})
    assert found(exchange, "k") == ["q"]
    exchange.unbind(queue, "k", {"number": 2})
    assert found(exchange, "k") == []


def test_keys_without_bindings_take_no_memory(vhost: VirtualHost) -> None:
    exchange = DirectExchange("d")
    queue = declare(vhost, "q")
    for number in range(100):
        exchange.bind(queue, str(number), {})
        exchange.unbind(queue, str(number), {})
    assert exchange._by_key == {}
