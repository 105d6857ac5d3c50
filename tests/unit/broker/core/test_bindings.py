"""What goes when a binding does, and what the journal is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, ignore

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.vhost import VirtualHost

if TYPE_CHECKING:
    from fedora_messaging.broker.core.exchanges import Binding, Exchange


class Told(NoJournal):
    """Remembers what it was told of bindings and of exchanges that went."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def binding_added(self, binding: Binding) -> None:
        self.lines.append(f"+ {_shown(binding)}")

    def binding_removed(self, binding: Binding) -> None:
        self.lines.append(f"- {_shown(binding)}")

    def exchange_removed(self, exchange: Exchange) -> None:
        self.lines.append(f"- {exchange.name}")


def _shown(binding: Binding) -> str:
    return f"{binding.source.name} {binding.routing_key} {binding.destination.name}"


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def stored(told: Told) -> VirtualHost:
    """With exchanges and queues whose names tell whether they are stored."""
    vhost = VirtualHost("/", lambda: 1000.0, told, ignore)
    vhost.declare_exchange(ExchangeDeclaration("durable", "topic", durable=True))
    vhost.declare_exchange(ExchangeDeclaration("transient", "topic"))
    vhost.declare_queue(QueueDeclaration("kept", durable=True), owner=None)
    vhost.declare_queue(QueueDeclaration("exclusive", durable=True, exclusive=True), owner=object())
    declare(vhost, "lost")
    return vhost


@pytest.mark.parametrize(
    ("source", "destination", "is_stored"),
    [
        ("durable", "kept", True),
        ("durable", "lost", False),
        ("durable", "exclusive", False),
        ("transient", "kept", False),
        ("amq.topic", "kept", True),
    ],
)
def test_bindings_between_what_is_stored_are_stored(
    stored: VirtualHost, told: Told, source: str, destination: str, is_stored: bool
) -> None:
    queue = stored.queues[destination]
    stored.bind(source, queue, "k", {})
    stored.unbind(source, queue, "k", {}, owner=queue.owner)
    line = f"{source} k {destination}"
    assert told.lines == ([f"+ {line}", f"- {line}"] if is_stored else [])


@pytest.mark.parametrize(
    ("source", "destination", "is_stored"),
    [("durable", "amq.fanout", True), ("durable", "transient", False), ("transient", "durable", False)],
)
def test_bindings_between_exchanges_that_are_stored(
    stored: VirtualHost, told: Told, source: str, destination: str, is_stored: bool
) -> None:
    stored.bind(source, stored.exchanges[destination], "k", {})
    assert told.lines == ([f"+ {source} k {destination}"] if is_stored else [])


def test_binding_that_exists_is_stored_once(stored: VirtualHost, told: Told) -> None:
    for arguments in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}):
        stored.bind("durable", stored.queues["kept"], "k", arguments)
    assert told.lines == ["+ durable k kept"] * 2
    assert len(stored.exchanges["durable"].bindings) == 2


def test_binding_that_does_not_exist_is_not_undone(stored: VirtualHost, told: Told) -> None:
    stored.bind("durable", stored.queues["kept"], "k", {})
    stored.unbind("durable", stored.queues["kept"], "other", {})
    stored.unbind("durable", stored.queues["kept"], "k", {"a": 1})
    stored.unbind("missing", stored.queues["kept"], "k", {})
    assert told.lines == ["+ durable k kept"]


def test_exchange_that_goes_takes_its_bindings_along(stored: VirtualHost, told: Told) -> None:
    """The journal forgets those from it by itself, and is told of those to it."""
    stored.bind("durable", stored.queues["kept"], "k", {})
    stored.bind("amq.direct", stored.exchanges["durable"], "in", {})
    told.lines.clear()
    stored.delete_exchange("durable", if_unused=False)
    assert told.lines == ["- durable", "- amq.direct in durable"]
    assert stored.exchanges["amq.direct"].bindings == {}
    assert "durable" not in stored.exchanges


def test_auto_delete_exchange_goes_with_its_last_binding(stored: VirtualHost, told: Told) -> None:
    stored.declare_exchange(ExchangeDeclaration("auto", "direct", durable=True, auto_delete=True))
    stored.bind("auto", stored.queues["kept"], "a", {})
    stored.bind("auto", stored.queues["lost"], "b", {})
    stored.unbind("auto", stored.queues["kept"], "a", {})
    assert "auto" in stored.exchanges
    stored.unbind("auto", stored.queues["lost"], "b", {})
    assert "auto" not in stored.exchanges
    assert told.lines == ["+ auto a kept", "- auto a kept", "- auto"]


def test_auto_delete_exchange_that_is_bound_to_itself(stored: VirtualHost) -> None:
    stored.declare_exchange(ExchangeDeclaration("auto", "direct", auto_delete=True))
    stored.bind("auto", stored.exchanges["auto"], "loop", {})
    stored.bind("auto", stored.queues["lost"], "k", {})
    stored.unbind("auto", stored.queues["lost"], "k", {})
    assert "auto" in stored.exchanges
    stored.unbind("auto", stored.exchanges["auto"], "loop", {})
    assert "auto" not in stored.exchanges


def test_default_exchange_forgets_a_queue_that_goes(stored: VirtualHost, told: Told) -> None:
    stored.remove_queue(stored.queues["kept"])
    names = [binding.destination.name for binding in stored.exchanges[""].bindings.values()]
    assert names == ["exclusive", "lost"]
    assert told.lines == []


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
