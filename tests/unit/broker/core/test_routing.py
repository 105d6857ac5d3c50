"""The way of a message from an exchange to queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, message
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.declarations import ExchangeDeclaration
from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.core.routing import find_queues, routing_keys, without_bcc
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost


def with_headers(**headers: Any) -> BrokerMessage:
    return new_message("e", "k", encode_properties(BasicProperties(headers=headers)), b"body")


def routed(vhost: VirtualHost, exchange: str, *keys: str) -> list[str]:
    """Return the names of the queues that a message reaches."""
    found = find_queues(vhost.exchanges, vhost.exchanges[exchange], message(), list(keys) or ["k"])
    return [queue.name for queue in found]


def test_queue_is_found_once_however_many_ways_lead_there(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    vhost.declare_exchange(ExchangeDeclaration("a", "topic"))
    vhost.declare_exchange(ExchangeDeclaration("b", "fanout"))
    for pattern in ("k", "*", "#"):
        vhost.bind("a", queue, pattern, {})
    vhost.bind("b", queue, "", {})
    vhost.bind("a", vhost.exchanges["b"], "k", {})
    assert routed(vhost, "a", "k", "other") == ["q"]


def test_exchange_is_asked_once_however_many_ways_lead_there(vhost: VirtualHost) -> None:
    """Thirty layers of exchanges, two in each: a billion ways."""
    queue = declare(vhost, "q")
    below: list[Any] = [queue]
    for layer in range(30):
        for side in "ab":
            vhost.declare_exchange(ExchangeDeclaration(f"{layer}{side}", "fanout"))
            for target in below:
                vhost.bind(f"{layer}{side}", target, "", {})
        below = [vhost.exchanges[f"{layer}{side}"] for side in "ab"]
    assert routed(vhost, "29a") == ["q"]


def test_chain_of_exchanges_of_any_length(vhost: VirtualHost) -> None:
    target: Any = declare(vhost, "q")
    for number in range(1500):
        vhost.declare_exchange(ExchangeDeclaration(f"e{number}", "fanout"))
        vhost.bind(f"e{number}", target, "", {})
        target = vhost.exchanges[f"e{number}"]
    assert routed(vhost, "e1499") == ["q"]


def test_chain_of_alternate_exchanges_of_any_length(vhost: VirtualHost) -> None:
    for number in range(1500):
        arguments = {"alternate-exchange": f"e{number + 1}"}
        vhost.declare_exchange(ExchangeDeclaration(f"e{number}", "direct", arguments=arguments))
    assert routed(vhost, "e0") == []
    vhost.declare_exchange(ExchangeDeclaration("e1500", "fanout"))
    vhost.bind("e1500", declare(vhost, "q"), "", {})
    assert routed(vhost, "e0") == ["q"]


# Routing keys in headers


@pytest.mark.parametrize(
    ("headers", "keys"),
    [
        ({}, ["k"]),
        ({"CC": ["a", "b"], "BCC": ["c"]}, ["k", "a", "b", "c"]),
        ({"BCC": ["c"], "CC": ["a"]}, ["k", "a", "c"]),
        ({"CC": ["a", 5, None, ["b"], True, ""]}, ["k", "a", ""]),
        ({"CC": None, "BCC": None}, ["k"]),
        ({"text": "CC"}, ["k"]),
        ({"cc": ["a"], "CCC": ["b"]}, ["k"]),
        ({"inside": {"CC": "no array"}}, ["k"]),
    ],
)
def test_keys_of_a_message(headers: dict[str, Any], keys: list[str]) -> None:
    assert routing_keys(with_headers(**headers)) == keys


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize(("value", "kind"), [(True, "bool"), (1.5, "double"), (2**40, "long")])
def test_header_that_is_no_array(header: str, value: object, kind: str) -> None:
    with pytest.raises(ChannelError) as caught:
        routing_keys(with_headers(**{header: value}))
    assert caught.value.reply_text == (
        f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}'
    )


def test_headers_that_do_not_decode_have_no_keys() -> None:
    assert routing_keys(new_message("", "k", b"\x20\x00" + sized(b"\x02CCZ"), b"")) == ["k"]


def test_receivers_do_not_see_bcc() -> None:
    published = with_headers(CC=["a"], BCC=["b"], own=1)
    seen = without_bcc(published)
    assert decode_properties(seen.properties).headers == {"CC": ["a"], "own": 1}
    assert (seen.exchange, seen.routing_key, seen.body) == ("e", "k", b"body")
    assert "BCC" in published.headers
