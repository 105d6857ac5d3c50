"""What goes when a binding does, and what the journal is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.unit.broker.core.support import declare

from fedora_messaging.broker.core.declarations import ExchangeDeclaration

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def test_chain_of_auto_delete_exchanges_of_any_length(vhost: VirtualHost) -> None:
    before = set(vhost.exchanges)
    queue = declare(vhost, "q")
    target: Any = queue
    for number in range(1500):
        vhost.declare_exchange(ExchangeDeclaration(f"e{number}", "fanout", auto_delete=True))
        vhost.bind(f"e{number}", target, "", {})
        target = vhost.exchanges[f"e{number}"]
    vhost.remove_queue(queue)
    assert set(vhost.exchanges) == before
