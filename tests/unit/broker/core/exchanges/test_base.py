"""Bindings of an exchange, and the routes it remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import DirectExchange, HeadersExchange, TopicExchange
from fedora_messaging.protocol.errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedora_messaging.broker.core.vhost import VirtualHost


def test_remembered_routes_are_bounded(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    queue = declare(vhost, "q")
    exchange.bind(queue, "#", {})
    for number in range(10_000):
        assert list(exchange.destinations(f"key.{number}", message())) == [queue]
    assert len(exchange._cache) <= 8192


def test_remembered_destinations_are_bounded(vhost: VirtualHost) -> None:
    """A few keys that lead to thousands of queues take as much memory as many keys."""
    exchange = TopicExchange("t")
    for number in range(1000):
        exchange.bind(declare(vhost, f"q{number}"), "#", {})
    for number in range(100):
        exchange.destinations(f"key.{number}", message())
    assert sum(map(len, exchange._cache.values())) <= 16384


def test_remembered_routes_follow_the_bindings(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    first, second = declare(vhost, "first"), declare(vhost, "second")
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: exchange.bind(first, "a", {}),
        lambda: exchange.bind(second, "#", {}),
        lambda: exchange.bind(second, "*", {}),
        lambda: exchange.unbind(first, "a", {}),
        lambda: exchange.unbind(second, "#", {}),
        lambda: exchange.unbind(second, "*", {}),
    ]
    seen = []
    for change in changes:
        change()
        # Twice: found, and remembered.
        found = [list(exchange.destinations("a", message())) for _ in range(2)]
        assert found[0] == found[1]
        seen.append(sorted(queue.name for queue in found[0]))
    assert seen == [[], ["first"], ["first", "second"], ["first", "second"], ["second"], ["second"], []]


def test_bindings_are_the_same_whatever_the_order_of_their_arguments(vhost: VirtualHost) -> None:
    exchange = DirectExchange("d")
    queue = declare(vhost, "q")
    assert exchange.bind(queue, "k", {"a": 1, "b": 2}) is not None
    assert exchange.bind(queue, "k", {"b": 2, "a": 1}) is None
    assert exchange.is_bound(queue, "k", {"b": 2, "a": 1})
    assert not exchange.is_bound(queue, "k", {"b": 2, "a": 2})
    assert not exchange.is_bound(queue, "k", {})
    exchange.unbind(queue, "k", {"b": 2, "a": 1})
    assert exchange.bindings == {}


def test_queue_and_exchange_of_the_same_name_are_different(vhost: VirtualHost) -> None:
    exchange, other = DirectExchange("d"), DirectExchange("same")
    queue = declare(vhost, "same")
    exchange.bind(queue, "k", {})
    assert exchange.bind(other, "k", {}) is not None
    assert list(exchange.destinations("k", message())) == [queue, other]


def test_binding_has_arguments_of_its_own(vhost: VirtualHost) -> None:
    given = {"a": 1}
    binding = DirectExchange("d").bind(declare(vhost, "q"), "k", given)
    given["a"] = 2
    assert binding is not None
    assert binding.arguments == {"a": 1}


def test_binding_that_is_refused_leaves_nothing_behind(vhost: VirtualHost) -> None:
    exchange = HeadersExchange("h")
    queue = declare(vhost, "q")
    with pytest.raises(ChannelError, match='Invalid x-match field value <<"some">>; expected all, any'):
        exchange.bind(queue, "", {"x-match": "some"})
    assert exchange.bindings == {}
    assert list(exchange.destinations("", message())) == []


def test_alternate_exchange() -> None:
    assert DirectExchange("d").alternate is None
    assert DirectExchange("d", arguments={"alternate-exchange": "other"}).alternate == "other"
