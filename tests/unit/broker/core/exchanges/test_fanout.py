"""A fanout exchange has every message for everyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import TYPES, FanoutExchange

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def found(exchange: FanoutExchange, key: str = "any") -> list[str]:
    return [destination.name for destination in exchange.destinations(key, message(key))]


def test_type() -> None:
    assert TYPES["fanout"] is FanoutExchange
    assert FanoutExchange.by_key


@pytest.mark.parametrize("key", ["", "b", "*", "#"])
def test_neither_key_matters(vhost: VirtualHost, key: str) -> None:
    exchange = FanoutExchange("f")
    for name, bound in (("b", ""), ("a", "key"), ("c", "*")):
        exchange.bind(declare(vhost, name), bound, {})
    assert found(exchange, key) == ["b", "a", "c"]


def test_destination_with_several_bindings_comes_once(vhost: VirtualHost) -> None:
    exchange, other = FanoutExchange("f"), FanoutExchange("other")
    queue = declare(vhost, "q")
    for key in ("x", "y"):
        exchange.bind(queue, key, {})
        exchange.bind(other, key, {})
    assert found(exchange) == ["q", "other"]
    exchange.unbind(queue, "x", {})
    assert found(exchange) == ["other", "q"]
    exchange.unbind(queue, "y", {})
    assert found(exchange) == ["other"]
    exchange.unbind(other, "x", {})
    exchange.unbind(other, "y", {})
    assert found(exchange) == []
