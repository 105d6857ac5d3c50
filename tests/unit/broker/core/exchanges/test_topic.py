"""A topic exchange leads from patterns to destinations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import TYPES, FanoutExchange, TopicExchange
from fedora_messaging.broker.core.profile import RABBITMQ_3
from fedora_messaging.protocol.errors import ChannelError

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


@pytest.mark.parametrize("pattern", ["#.#", "a.#.b.#", "#.*.#", "a#.#b.##.#.#"])
def test_two_wildcards_for_many_words(vhost: VirtualHost, pattern: str) -> None:
    """Only a whole word is a wildcard."""
    exchange = TopicExchange("t")
    assert exchange.bind(declare(vhost, "q"), pattern, {}) is not None


@pytest.mark.parametrize(("pattern", "count"), [("#.#.#", 3), ("a.#.#.b.#.#", 4)])
def test_more_wildcards_for_many_words(vhost: VirtualHost, pattern: str, count: int) -> None:
    """RabbitMQ 4 refuses them, and nothing of the binding is left; RabbitMQ 3 has no limit."""
    queue = declare(vhost, "q")
    exchange = TopicExchange("t")
    with pytest.raises(ChannelError) as caught:
        exchange.bind(queue, pattern, {})
    assert caught.value.reply_text == (
        f"PRECONDITION_FAILED - Topic binding key '{pattern}' uses {count} '#' wildcards, "
        "at most 2 are allowed"
    )
    assert not exchange.is_bound(queue, pattern, {})
    assert found(exchange, "a.b") == []
    old = TopicExchange("t", profile=RABBITMQ_3)
    old.bind(queue, pattern, {})
    assert found(old, "a.b") == ["q"]
