"""Headers as JSON: every message that a consumer accepts can be written to a file and read back."""

from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from fedora_messaging import table_json
from fedora_messaging.exceptions import ValidationError
from fedora_messaging.message import dumps, get_message, loads
from fedora_messaging.wire.fields import MAX_DEPTH, decode_table, encode_table
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties


def _sized(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def _nested(depth: int) -> bytes:
    raw = b"\x01kV"
    for _ in range(depth):
        raw = b"\x01kF" + _sized(raw)
    return b"F" + _sized(raw)


#: Values as they come, by what they show: the type's letter, and its limits.
FIELDS = {
    "t": b"t\x01",
    "b": b"b\x80",
    "B": b"B\xff",
    "s": b"s\x80\x00",
    "u": b"u\xff\xff",
    "I": b"I\x80\x00\x00\x00",
    "i": b"i\xff\xff\xff\xff",
    "l": b"l" + struct.pack(">q", -(2**63)),
    "L": b"L" + struct.pack(">q", 2**63 - 1),
    "f": b"f" + struct.pack(">f", 0.1),
    "d": b"d" + struct.pack(">d", 1e308),
    "d NaN": b"d" + struct.pack(">d", math.nan),
    "f infinite": b"f" + struct.pack(">f", math.inf),
    "d -infinite": b"d" + struct.pack(">d", -math.inf),
    "D": b"D\x02" + struct.pack(">i", -1250),
    "D zero": b"D\x05\x00\x00\x00\x00",
    "D small": b"D\xff" + struct.pack(">i", 2**31 - 1),
    "S": b"S" + _sized("é\u2028/~".encode()),
    "S not UTF-8": b"S" + _sized(b"\xff\x00"),
    "S empty": b"S" + _sized(b""),
    "x": b"x" + _sized(bytes(range(256))),
    "x empty": b"x" + _sized(b""),
    "A": b"A" + _sized(b"V" + b"D\x00\x00\x00\x00\x01" + b"A" + _sized(b"x" + _sized(b"\xff"))),
    "F": b"F" + _sized(b"\x03a/b" + b"x" + _sized(b"\x00") + b"\x02~1" + b"T" + struct.pack(">Q", 5)),
    "F deep": _nested(MAX_DEPTH - 2),
    "F with a name that is not UTF-8": b"F" + _sized(b"\x01\xffx" + _sized(b"\x00")),
    "T": b"T" + struct.pack(">Q", 1_700_000_000),
    "T 1970": b"T" + struct.pack(">Q", 0),
    "T last year": b"T" + struct.pack(">Q", int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())),
    "T beyond": b"T" + struct.pack(">Q", 2**62),
    "V": b"V",
}
_OURS = {"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20}


@pytest.mark.parametrize("raw", FIELDS.values(), ids=FIELDS.keys())
def test_p35_every_field_type_comes_back(raw: bytes) -> None:
    """What came can be written to a file, read back and published; the same headers arrive again."""
    table = encode_table(_OURS)[4:] + b"\x03odd" + raw + b"\x07\xff\x7e/\xe2\x80\xa8x" + raw
    headers, _end = decode_table(_sized(table))
    properties = BasicProperties(content_encoding="utf-8", headers=headers, message_id="id-\udcff")
    came = get_message("a.b", properties, b'{"text": "\\ud800 \\udfff"}')

    line = dumps(came).encode("utf-8")
    json.loads(line, parse_constant=pytest.fail)  # any reader of JSON reads it
    (back,) = loads(line.decode("utf-8"))

    assert (back.id, back.topic, back.body) == (came.id, came.topic, came.body)
    again = decode_properties(encode_properties(back._properties)).headers
    assert again is not None
    for name, value in headers.items():
        assert repr(again[name]) == repr(value)  # NaN is equal to itself there


def test_p35_a_dead_letter_of_a_broker_in_a_file() -> None:
    when = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
    headers = {"x-death": [{"count": 1, "time": when, "price": Decimal("1.50")}], "blob": b"\xff"}
    came = get_message("a.b", BasicProperties(content_encoding="utf-8", headers={**_OURS, **headers}), b"{}")
    came.id = "an-id"
    line = json.loads(dumps(came))
    assert line["headers"]["x-death"] == [{"count": 1, "time": "2026-11-29T03:00:00+00:00", "price": "1.50"}]
    assert line["header_types"] == {
        "/x-death/0/time": "timestamp",
        "/x-death/0/price": "decimal",
        "/blob": "bytes",
    }


def test_what_programs_put_into_headers() -> None:
    """Whatever our encoder takes, in the form that it gives it on the wire."""
    given = {
        "naive": datetime(2026, 1, 1),  # noqa: DTZ001 - taken as UTC
        "tuple": (1, bytearray(b"x")),
        "mapping": MappingProxyType({"view": memoryview(b"y")}),
    }
    plain, types = table_json.to_json(given)
    assert table_json.from_json(json.loads(json.dumps(plain)), types) == {
        "naive": datetime(2026, 1, 1, tzinfo=UTC),
        "tuple": [1, b"x"],
        "mapping": {"view": b"y"},
    }


@pytest.mark.parametrize("value", [object(), {1, 2}])
def test_what_neither_json_nor_amqp_holds_is_left(value: object) -> None:
    assert table_json.to_json({"odd": value}) == ({"odd": value}, {})


@pytest.mark.parametrize(
    ("headers", "types", "problem"),
    [
        ({}, [], "must be an object"),
        ({}, None, "must be an object"),
        ({"a": "x"}, {"a": "bytes"}, "no JSON pointer"),
        ({"a": "x"}, {"": "bytes"}, "no JSON pointer"),
        ({"a": "x"}, {"/b": "bytes"}, "no header 'b'"),
        ({"a": {}}, {"/a": "bytes"}, "no header 'a'"),
        ({"a": [1]}, {"/a/1": "bytes"}, "no header 'a/1'"),
        ({"a": "x"}, {"/a": "sbyte"}, "'sbyte' is no type"),
        ({"a": "x"}, {"/a": []}, "is no type"),
        ({"a": 1}, {"/a": "bytes"}, "must be text"),
        ({"a": "?"}, {"/a": "bytes"}, "cannot be read"),
        ({"a": "\u00e9"}, {"/a": "bytes"}, "cannot be read"),
        ({"a": "soon"}, {"/a": "timestamp"}, "cannot be read"),
        ({"a": "much"}, {"/a": "decimal"}, "cannot be read"),
        ({"a": "much"}, {"/a": "float"}, "cannot be read"),
    ],
)
def test_types_that_do_not_fit(headers: dict[str, Any], types: Any, problem: str) -> None:
    line = json.dumps({"topic": "t", "body": {}, "headers": headers, "header_types": types})
    with pytest.raises(ValidationError, match=problem):
        loads(line)


def test_times_without_a_zone_in_a_file() -> None:
    line = {"topic": "t", "body": {}, "headers": {"at": "2026-01-01T00:00:00"}}
    (back,) = loads(json.dumps({**line, "header_types": {"/at": "timestamp"}}))
    assert back._headers["at"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_body_in_a_file_nests_no_deeper_than_one_on_the_wire() -> None:
    def line(depth: int) -> str:
        return f'{{"topic": "t", "body": {{"deep": {"[" * depth}{"]" * depth}}}}}'

    assert len(loads(line(63))) == 1
    with pytest.raises(ValidationError, match="nested deeper than 64"):
        loads(line(64))
