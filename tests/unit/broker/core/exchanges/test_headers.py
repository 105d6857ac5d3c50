"""A headers exchange compares each message anew, and values as AMQP's types tell them apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.broker.core.support import declare, new_vhost

from fedora_messaging.broker.core.exchanges import TYPES, HeadersExchange
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import BrokerMessage, new_message
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


def message(headers: dict[str, Any] | None) -> BrokerMessage:
    return new_message("h", "k", encode_properties(BasicProperties(headers=headers)), b"")


def found(exchange: HeadersExchange, headers: dict[str, Any] | None) -> list[str]:
    return [destination.name for destination in exchange.destinations("k", message(headers))]


def routes(vhost: VirtualHost, wanted: object, sent: object) -> bool:
    exchange = HeadersExchange("h", profile=vhost.profile)
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
        (Decimal("-1.50"), Decimal("-1.50")),
        (2**40, 2**40),
        ([], []),
        ({}, {}),
    ],
)
def test_equal_values(vhost: VirtualHost, wanted: object, sent: object) -> None:
    assert routes(vhost, wanted, sent)
    assert routes(vhost, sent, wanted)


#: Pairs that only RabbitMQ 3 takes for equal, whichever of both is sent.
ONE_KIND = [
    (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
    (NOON, int(NOON.timestamp())),
    (1, 1.0),
    (2**40, float(2**40)),
    (-0.0, 0),
]


@pytest.mark.parametrize(("wanted", "sent"), ONE_KIND)
def test_kinds_of_numbers(wanted: object, sent: object) -> None:
    """RabbitMQ 4 tells them apart, and there no timestamp of a message equals anything."""
    old, new = new_vhost(RABBITMQ_3), new_vhost(RABBITMQ_4)
    assert routes(old, wanted, sent)
    assert routes(old, sent, wanted)
    assert not routes(new, sent, wanted)
    if not isinstance(wanted, datetime):
        assert not routes(new, wanted, sent)


def test_kinds_that_equal_themselves(vhost: VirtualHost) -> None:
    assert routes(vhost, 1.5, 1.5)
    assert routes(vhost, NOON, int(NOON.timestamp()))
    assert not routes(vhost, NOON, NOON)


def test_timestamp_is_there() -> None:
    """A binding that wants the header alone takes a timestamp, too."""
    for profile in (RABBITMQ_3, RABBITMQ_4):
        assert routes(new_vhost(profile), None, NOON)


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
    ("mode", "told"),
    [
        ("ANY", 'value <<"ANY">>; expected all, any, all-with-x, or any-with-x'),
        ("", "value <<>>; expected all, any, all-with-x, or any-with-x"),
        (None, "type void (value None); expected longstr"),
        (True, "type bool (value true); expected longstr"),
        (["all"], "type array (value ['all']); expected longstr"),
    ],
)
def test_mode_that_does_not_exist_is_shown(vhost: VirtualHost, mode: object, told: str) -> None:
    exchange = HeadersExchange("h")
    with pytest.raises(ChannelError) as caught:
        exchange.bind(declare(vhost, "q"), "", {"x-match": mode})
    assert caught.value.reply_code == 406
    assert caught.value.reply_text == f"PRECONDITION_FAILED - Invalid x-match field {told}"


def test_headers_that_do_not_decode_count_as_none(vhost: VirtualHost) -> None:
    exchange = HeadersExchange("h")
    exchange.bind(declare(vhost, "all"), "", {})
    exchange.bind(declare(vhost, "one"), "", {"a": None})
    broken = new_message("h", "k", b"\x20\x00\0\0\0\x03\x01aZ", b"")
    assert [destination.name for destination in exchange.destinations("k", broken)] == ["all"]


VALUES = st.sampled_from([None, True, False, 0, 1, "1", b"1", "x", [1], [True], {"a": 1}, Decimal(1)])
NAMES = st.sampled_from(["a", "b", "x-c"])
MODES = st.sampled_from([None, "all", "any", "all-with-x", "any-with-x"])
WANTED = st.tuples(MODES, st.dictionaries(NAMES, VALUES, max_size=3))


def is_equal(wanted: Any, sent: Any) -> bool:
    """Whether RabbitMQ takes two values for equal, as the behaviour tests show."""
    if isinstance(wanted, str | bytes) and isinstance(sent, str | bytes):
        return (wanted.encode() if isinstance(wanted, str) else wanted) == (
            sent.encode() if isinstance(sent, str) else sent
        )
    return repr(wanted) == repr(sent)


def is_match(mode: str, wanted: dict[str, Any], sent: dict[str, Any]) -> bool:
    compared = {name: wanted[name] for name in wanted if mode.endswith("x") or not name.startswith("x-")}
    hits = [
        name in sent and (value is None or is_equal(value, sent[name])) for name, value in compared.items()
    ]
    return any(hits) if mode.startswith("any") else all(hits)


@given(st.lists(WANTED, max_size=8), st.dictionaries(NAMES, VALUES, max_size=3), st.integers(0, 8))
def test_index_finds_what_a_look_at_each_binding_finds(
    bindings: list[tuple[str | None, dict[str, Any]]], sent: dict[str, Any], removed: int
) -> None:
    vhost = VirtualHost("/", lambda: 0.0, NoJournal(), lambda _queue, _when: None)
    exchange = HeadersExchange("h")
    queues = [declare(vhost, f"q{number}") for number in range(len(bindings))]
    arguments = [{**wanted, **({"x-match": mode} if mode else {})} for mode, wanted in bindings]
    for queue, given_ in zip(queues, arguments, strict=True):
        exchange.bind(queue, "", given_)
    for queue, given_ in list(zip(queues, arguments, strict=True))[:removed]:
        exchange.unbind(queue, "", given_)
    expected = [
        queue.name
        for queue, (mode, wanted) in list(zip(queues, bindings, strict=True))[removed:]
        if is_match(mode or "all", wanted, sent)
    ]
    assert sorted(found(exchange, sent)) == sorted(expected)
    for queue, given_ in list(zip(queues, arguments, strict=True))[removed:]:
        exchange.unbind(queue, "", given_)
    assert (exchange._index, exchange._unconditional) == ({}, {})
