"""Bindings of an exchange, and the routes it remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.exchanges import TopicExchange

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def test_remembered_routes_are_bounded(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    queue = declare(vhost, "q")
    exchange.bind(queue, "#", {})
    for number in range(5000):
        assert list(exchange.destinations(f"key.{number}", message())) == [queue]
    assert len(exchange._cache) <= 4096
