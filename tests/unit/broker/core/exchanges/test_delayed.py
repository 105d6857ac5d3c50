"""Delayed message exchanges keep messages until their time has come, then route like another type."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.broker.core.support import Times, declare

from fedora_messaging.broker.core.declarations import ExchangeDeclaration
from fedora_messaging.broker.core.exchanges.delayed import delay_of
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.core.vhost import Enqueued, VirtualHost
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def vhost(times: Times) -> VirtualHost:
    """A virtual host with an exchange `later`, which routes like a topic exchange, and a queue `q`."""
    made = VirtualHost("/", times.now, NoJournal(), times.schedule)
    make_exchange(made, "topic")
    made.bind("later", declare(made, "q"), "a.*", {})
    return made


def make_exchange(vhost: VirtualHost, kind: Any) -> None:
    arguments = {"x-delayed-type": kind}
    vhost.declare_exchange(ExchangeDeclaration("later", "x-delayed-message", arguments=arguments))


def message(key: str = "a.b", /, **headers: Any) -> BrokerMessage:
    return new_message("later", key, encode_properties(BasicProperties(headers=headers or None)), b"x")


def publish(vhost: VirtualHost, published: BrokerMessage) -> Enqueued:
    return vhost.enqueue(vhost.exchanges["later"], published)


@pytest.mark.parametrize("kind", ["nope", "", None, 5, "x-delayed-message"])
def test_type_must_exist(times: Times, kind: Any) -> None:
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    with pytest.raises(ChannelError, match="'x-delayed-type' must be an existing exchange type"):
        make_exchange(vhost, kind)


@pytest.mark.parametrize(
    ("value", "delay"),
    [(1, 1), (2**32 - 1, 2**32 - 1), (2**32, 0), (0, 0), (-5, 0), ("500", 0), (True, 0), (1.5, 0)],
)
def test_delays(value: Any, delay: int) -> None:
    assert delay_of(message(**{"x-delay": value})) == delay
    assert delay_of(message()) == 0
    assert delay_of(message(other="x-delay")) == 0


def test_message_without_delay_is_routed_at_once(vhost: VirtualHost) -> None:
    assert publish(vhost, message()) == Enqueued(True, False, False)
    assert publish(vhost, message("b")) == Enqueued(False, False, False)
    assert len(vhost.queues["q"]) == 1


def test_messages_come_when_they_are_due(vhost: VirtualHost, times: Times) -> None:
    """A message that waits counts as not routed: whether a queue will get it is not known yet."""
    for delay in (300, 100, 200):
        assert publish(vhost, message(**{"x-delay": delay})) == Enqueued(False, False, False)
    assert (len(vhost.queues["q"]), len(vhost.delayed["later"])) == (0, 3)
    got = []
    for _ in range(3):
        times.advance(0.1)
        (entry,) = [vhost.queues["q"].get(no_ack=True)]
        assert entry is not None
        got.append(decode_properties(entry.message.properties).headers)
    assert got == [{"x-delay": -100}, {"x-delay": -200}, {"x-delay": -300}]
    assert vhost.memory.bytes == 0


def test_bindings_of_the_time_of_delivery_count(vhost: VirtualHost, times: Times) -> None:
    publish(vhost, message(**{"x-delay": 100}))
    vhost.unbind("later", vhost.queues["q"], "a.*", {})
    vhost.bind("later", declare(vhost, "other"), "#", {})
    times.advance(0.1)
    assert (len(vhost.queues["q"]), len(vhost.queues["other"])) == (0, 1)


def test_blind_copies_are_made_in_the_end(vhost: VirtualHost, times: Times) -> None:
    vhost.bind("later", declare(vhost, "copy"), "c.*", {})
    publish(vhost, message(BCC=["c.d"], **{"x-delay": 100}))
    times.advance(0.1)
    entry = vhost.queues["copy"].get(no_ack=True)
    assert entry is not None
    assert decode_properties(entry.message.properties).headers == {"x-delay": -100}


def test_mistake_is_told_at_once(vhost: VirtualHost) -> None:
    with pytest.raises(ChannelError, match="unacceptable_type_in_header"):
        publish(vhost, message(CC="c.d", **{"x-delay": 100}))


def test_messages_of_a_deleted_exchange_are_gone(vhost: VirtualHost, times: Times) -> None:
    publish(vhost, message(**{"x-delay": 100}))
    vhost.delete_exchange("later", if_unused=False)
    assert (vhost.delayed, vhost.memory.bytes) == ({}, 0)
    times.advance(1)
    assert len(vhost.queues["q"]) == 0


def test_messages_of_a_deleted_virtual_host_are_gone(vhost: VirtualHost, times: Times) -> None:
    """Otherwise the next virtual host of its name would get them."""
    publish(vhost, message(**{"x-delay": 100}))
    vhost.clear()
    assert (vhost.delayed, vhost.memory.bytes) == ({}, 0)
    times.advance(1)


def test_messages_of_an_exchange_that_went_by_itself_are_dropped(times: Times) -> None:
    """An auto-delete exchange goes with its last binding; what waits for it finds no exchange."""
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    arguments = {"x-delayed-type": "fanout"}
    vhost.declare_exchange(
        ExchangeDeclaration("later", "x-delayed-message", auto_delete=True, arguments=arguments)
    )
    queue = declare(vhost, "q")
    vhost.bind("later", queue, "", {})
    publish(vhost, message(**{"x-delay": 100}))
    vhost.unbind("later", queue, "", {})
    times.advance(1)
    assert vhost.memory.bytes == 0


def test_many_messages_of_one_time(vhost: VirtualHost, times: Times) -> None:
    """They are routed in portions, so that others have their turn."""
    for _ in range(500):
        publish(vhost, message(**{"x-delay": 100}))
    times.advance(0.1)
    assert len(vhost.queues["q"]) == 500


def test_messages_go_with_an_exchange_that_loses_its_last_binding(times: Times) -> None:
    """Otherwise an exchange that later has the name would route them, of whatever type it is."""
    vhost = VirtualHost("/", times.now, NoJournal(), times.schedule)
    queue = declare(vhost, "q")
    arguments = {"x-delayed-type": "direct"}
    vhost.declare_exchange(
        ExchangeDeclaration("later", "x-delayed-message", auto_delete=True, arguments=arguments)
    )
    vhost.bind("later", queue, "a", {})
    publish(vhost, message("a", **{"x-delay": 100}))
    vhost.unbind("later", queue, "a", {})
    assert "later" not in vhost.exchanges
    assert (vhost.delayed, vhost.memory.bytes) == ({}, 0)
    vhost.declare_exchange(ExchangeDeclaration("later", "fanout"))
    vhost.bind("later", queue, "", {})
    times.advance(1.0)
    assert len(queue) == 0


def test_message_that_cannot_be_routed_keeps_no_other_waiting(times: Times, vhost: VirtualHost) -> None:
    """A message with many long keys, and patterns that each of them walks along, takes too many steps."""
    queue = vhost.queues["q"]
    for words in range(1, 101):
        vhost.bind("later", queue, "*." * words + "#", {})
    publish(vhost, message(**{"x-delay": 100, "CC": [f"{n}" + ".x" * 120 for n in range(80)]}))
    publish(vhost, message(**{"x-delay": 200}))
    times.advance(1.0)
    assert (len(queue), len(vhost.delayed["later"])) == (1, 0)
