"""Field values in JSON, as RabbitMQ's HTTP API and definitions write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from fedora_messaging.broker.administration import AdministrationError
from fedora_messaging.broker.json_values import table_from_json, to_json
from fedora_messaging.wire.fields import MAX_DEPTH, decode_table, encode_table


def refusal(value: Any) -> str:
    with pytest.raises(AdministrationError) as caught:
        table_from_json(value)
    assert caught.value.error == "bad_request"
    return caught.value.reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text żółw", "text żółw"),
        (b"bytes", "bytes"),
        (b"\x00\xff\xfe", "Not UTF-8, base64 is: AP/+"),
        ("\udcff", "Not UTF-8, base64 is: /w=="),
        (None, "undefined"),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        (1.5, 1.5),
        (Decimal("1.25"), 1.25),
        (datetime(2026, 11, 29, tzinfo=UTC), 1795910400),
        ([None, (b"a", [1])], ["undefined", ["a", [1]]]),
        ({"a": {"b": None}}, {"a": {"b": "undefined"}}),
        ({}, {}),
    ],
)
def test_to_json(value: Any, expected: Any) -> None:
    made = to_json(value)
    assert repr(made) == repr(expected)
    json.dumps(made, allow_nan=False)


def test_numbers_of_a_decoded_table_become_plain_ones() -> None:
    """Integers that remember their kind are written as any other."""
    table, _ = decode_table(encode_table({"a": 5, "b": [1, 2.5]}))
    made = to_json(table)
    assert made == {"a": 5, "b": [1, 2.5]}
    assert type(made["a"]) is int


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"text": "żółw", "number": -(2**63), "big": 2**63 - 1, "float": 1.5, "flag": False},
        {"list": [1, "a", [True], {"deep": []}], "table": {"a": {"b": {}}}},
    ],
)
def test_tables_from_json(table: dict[str, Any]) -> None:
    made = table_from_json(table)
    assert made == table
    assert to_json(decode_table(encode_table(made))[0]) == table


def test_empty_list_stands_for_an_empty_table() -> None:
    assert table_from_json([]) == {}


@pytest.mark.parametrize("value", ["x", None, 5, [1], True])
def test_tables_that_are_none(value: Any) -> None:
    assert refusal(value) == "arguments must be an object"


@pytest.mark.parametrize("value", [None, [None], {"a": [{"b": None}]}])
def test_null_is_refused_at_any_depth(value: Any) -> None:
    assert refusal({"x": value}) == "null_not_allowed"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_integers_that_are_too_large(number: int) -> None:
    assert refusal({"x": [number]}) == f"{number} is not an integer of 64 bits"


@pytest.mark.parametrize("value", [{"\ud800": 1}, {"x": "\ud800"}, {"x": ["\udcff"]}])
def test_text_that_is_not_unicode(value: Any) -> None:
    assert refusal(value) == "arguments must be Unicode text"


def test_names_that_are_too_long() -> None:
    fitting = "ż" * 127 + "x"
    assert table_from_json({"x": {fitting: 1}}) == {"x": {fitting: 1}}
    expected = "names of arguments should be less than 255 bytes, actually was 256"
    assert refusal({"x": {"ż" * 128: 1}}) == expected


@pytest.mark.parametrize("kind", ["list", "table"])
def test_depth_has_a_limit(kind: str) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value] if kind == "list" else {"a": value}
        return value

    made = table_from_json({"a": nested(MAX_DEPTH - 1)})
    assert decode_table(encode_table(made))[0] == made
    for levels in (MAX_DEPTH, 500):
        assert refusal({"a": nested(levels)}) == f"arguments nested deeper than {MAX_DEPTH} levels"
