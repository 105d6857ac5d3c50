"""A topic exchange leads from patterns to destinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import TYPES, FanoutExchange, TopicExchange

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def found(exchange: TopicExchange, key: str) -> list[str]:
    return sorted(destination.name for destination in exchange.destinations(key, message(key)))


def test_type() -> None:
    assert TYPES["topic"] is TopicExchange
    assert TopicExchange.by_key


def test_each_destination_whose_pattern_matches(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    for name, pattern in (
        ("stars", "*.*"),
        ("all", "#"),
        ("plain", "a.b"),
        ("under", "a.#"),
        ("other", "b.#"),
    ):
        exchange.bind(declare(vhost, name), pattern, {})
    exchange.bind(FanoutExchange("exchange"), "#.b", {})
    assert found(exchange, "a.b") == ["all", "exchange", "plain", "stars", "under"]
    assert found(exchange, "a") == ["all", "under"]
    assert found(exchange, "") == ["all"]


def test_queues_of_one_pattern_go_one_by_one(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    first, second = declare(vhost, "first"), declare(vhost, "second")
    exchange.bind(first, "a.*", {})
    exchange.bind(second, "a.*", {})
    exchange.unbind(first, "a.*", {})
    assert found(exchange, "a.b") == ["second"]
    exchange.unbind(second, "a.*", {})
    assert found(exchange, "a.b") == []


def test_bindings_of_one_pattern_that_differ_in_arguments(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    queue = declare(vhost, "q")
    exchange.bind(queue, "a.#", {})
    exchange.bind(queue, "a.#", {"number": 2})
    assert found(exchange, "a") == ["q"]
    exchange.unbind(queue, "a.#", {})
    assert found(exchange, "a") == ["q"]
    exchange.unbind(queue, "a.#", {"number": 2})
    assert found(exchange, "a") == []
