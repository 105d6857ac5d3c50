"""A headers exchange compares each message anew, and values as AMQP's types tell them apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare

from fedora_messaging.broker.core.exchanges import TYPES, HeadersExchange
from fedora_messaging.broker.core.message import BrokerMessage
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties, encode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.vhost import VirtualHost

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


def message(headers: dict[str, Any] | None) -> BrokerMessage:
    return BrokerMessage("h", "k", encode_properties(BasicProperties(headers=headers)), b"")


def found(exchange: HeadersExchange, headers: dict[str, Any] | None) -> list[str]:
    return [destination.name for destination in exchange.destinations("k", message(headers))]


def routes(vhost: VirtualHost, wanted: object, sent: object) -> bool:
    exchange = HeadersExchange("h")
    exchange.bind(declare(vhost, "q"), "", {"a": wanted})
    return found(exchange, {"a": sent}) == ["q"]


def test_type() -> None:
    assert TYPES["headers"] is HeadersExchange


def test_nothing_is_remembered_by_key(vhost: VirtualHost) -> None:
    """Messages of one key and other headers go other ways."""
    exchange = HeadersExchange("h")
    for name in ("a", "b"):
        exchange.bind(declare(vhost, name), "k", {"for": name})
    assert [found(exchange, {"for": name}) for name in "abc"] == [["a"], ["b"], []]
    assert found(exchange, None) == []


def test_each_matching_binding_counts(vhost: VirtualHost) -> None:
    exchange = HeadersExchange("h")
    queue = declare(vhost, "q")
    exchange.bind(queue, "", {"x-match": "any", "a": 1})
    exchange.bind(queue, "", {"x-match": "any", "b": 1})
    assert found(exchange, {"a": 1}) == ["q"]
    assert found(exchange, {"a": 1, "b": 1}) == ["q", "q"]
    exchange.unbind(queue, "", {"b": 1, "x-match": "any"})
    assert found(exchange, {"a": 1, "b": 1}) == ["q"]
    assert found(exchange, {"b": 1}) == []


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("\udcff", b"\xff"),
        (b"\xc3\xa4", "ä"),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
        (NOON, int(NOON.timestamp())),
        (Decimal("-1.50"), Decimal("-1.50")),
        (2**40, 2**40),
        ([], []),
        ({}, {}),
    ],
)
def test_equal_values(vhost: VirtualHost, wanted: object, sent: object) -> None:
    assert routes(vhost, wanted, sent)
    assert routes(vhost, sent, wanted)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (True, 1),
        (False, 0),
        (True, "true"),
        (Decimal(1), 1),
        (Decimal("1.5"), Decimal("1.50")),
        (NOON, NOON + timedelta(seconds=1)),
        ("\udcff", "ÿ"),
        ([], {}),
        ("", b"\0"),
        (1, "1"),
    ],
)
def test_unequal_values(vhost: VirtualHost, wanted: object, sent: object) -> None:
    assert not routes(vhost, wanted, sent)
    assert not routes(vhost, sent, wanted)


@pytest.mark.parametrize(
    ("mode", "shown"), [("ANY", "'ANY'"), ("", "''"), (None, "None"), (True, "True"), (["all"], r"\['all'\]")]
)
def test_mode_that_does_not_exist_is_shown(vhost: VirtualHost, mode: object, shown: str) -> None:
    exchange = HeadersExchange("h")
    with pytest.raises(
        ChannelError, match=f"^.*Invalid x-match field value {shown}; expected all or any"
    ) as caught:
        exchange.bind(declare(vhost, "q"), "", {"x-match": mode})
    assert caught.value.reply_code == 406


def test_headers_that_do_not_decode_count_as_none(vhost: VirtualHost) -> None:
    exchange = HeadersExchange("h")
    exchange.bind(declare(vhost, "all"), "", {})
    exchange.bind(declare(vhost, "one"), "", {"a": None})
    broken = BrokerMessage("h", "k", b"\x20\x00\0\0\0\x03\x01aZ", b"")
    assert [destination.name for destination in exchange.destinations("k", broken)] == ["all"]
