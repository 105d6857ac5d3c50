"""Content header properties."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import product
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as pamqp_commands
from pamqp import header as pamqp_header

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.wire.errors import SYNTAX_ERROR, WireError
from fedora_messaging.wire.properties import BasicProperties, decode_properties, with_text_property
from fedora_messaging.wire.property_codec import (
    PERSISTENT,
    TRANSIENT,
    PropertyScan,
    edit_headers,
    encode_properties,
    with_canonical_headers,
)

# Every property with a value, in the order of the specification; the first has the highest flag.
EVERY: dict[str, tuple[Any, bytes]] = {
    "content_type": ("application/json", b"\x10application/json"),
    "content_encoding": ("utf-8", b"\x05utf-8"),
    "headers": ({"n": True}, b"\x00\x00\x00\x04\x01nt\x01"),
    "delivery_mode": (2, b"\x02"),
    "priority": (9, b"\x09"),
    "correlation_id": ("c", b"\x01c"),
    "reply_to": ("amq.rabbitmq.reply-to", b"\x15amq.rabbitmq.reply-to"),
    "expiration": ("60000", b"\x0560000"),
    "message_id": ("ä", b"\x02\xc3\xa4"),
    "timestamp": (1714996800, (1714996800).to_bytes(8, "big")),
    "type": ("t", b"\x01t"),
    "user_id": ("guest", b"\x05guest"),
    "app_id": ("", b"\x00"),
    "cluster_id": ("x", b"\x01x"),
}
TEXT_NAMES = [name for name, (value, _) in EVERY.items() if isinstance(value, str)]
SCANNED = ("delivery_mode", "priority", "reply_to", "expiration", "user_id")
ALL = struct.pack(">H", 0xFFFC) + b"".join(wire for _, wire in EVERY.values())


def flag(name: str) -> int:
    return 0x8000 >> list(EVERY).index(name)


def given_properties(names: set[str]) -> tuple[BasicProperties, bytes]:
    """Properties of these names, and their encoding put together by hand."""
    flags = sum(flag(name) for name in names)
    wire = b"".join(wire for name, (_, wire) in EVERY.items() if name in names)
    properties = BasicProperties(**{name: EVERY[name][0] for name in names})
    return properties, struct.pack(">H", flags) + wire


def check_scan(data: bytes, properties: BasicProperties) -> None:
    scan = PropertyScan(data)
    assert [getattr(scan, name) for name in SCANNED] == [getattr(properties, name) for name in SCANNED]
    if properties.headers is None:
        assert scan.headers is None
    else:
        assert scan.headers is not None
        start, end = scan.headers
        assert data[start:end] == EVERY["headers"][1]


def test_constants() -> None:
    assert (TRANSIENT, PERSISTENT) == (1, 2)


@pytest.mark.parametrize("name", list(EVERY))
def test_each_alone_and_each_missing(name: str) -> None:
    for names in ({name}, set(EVERY) - {name}):
        properties, wire = given_properties(names)
        assert encode_properties(properties) == wire
        assert decode_properties(wire) == properties
        check_scan(wire, properties)


@given(st.sets(st.sampled_from(list(EVERY))))
def test_any_subset(names: set[str]) -> None:
    properties, wire = given_properties(names)
    assert encode_properties(properties) == wire
    assert decode_properties(b"header" + wire, 6) == properties
    check_scan(wire, properties)


def test_none_at_all() -> None:
    assert encode_properties(BasicProperties()) == b"\x00\x00"
    assert decode_properties(b"\x00\x00") == BasicProperties()
    check_scan(b"\x00\x00", BasicProperties())


def test_empty_text_is_present() -> None:
    assert encode_properties(BasicProperties(app_id="")) == struct.pack(">H", flag("app_id")) + b"\x00"


def test_all_names_can_be_given_by_position_in_the_order_of_the_specification() -> None:
    assert list(inspect.signature(BasicProperties).parameters) == list(EVERY)
    assert BasicProperties(*(value for value, _ in EVERY.values())) == given_properties(set(EVERY))[0]


def test_compared_by_value() -> None:
    assert BasicProperties(app_id="a") == BasicProperties(app_id="a")
    assert BasicProperties(app_id="a") != BasicProperties(app_id="b")
    assert BasicProperties() != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(BasicProperties())


def test_repr_shows_what_is_given() -> None:
    assert repr(BasicProperties()) == "BasicProperties()"
    assert repr(BasicProperties("text/plain", priority=0)) == (
        "BasicProperties(content_type='text/plain', priority=0)"
    )


def test_writes_the_properties_of_other_libraries() -> None:
    foreign = pika.BasicProperties(**{name: value for name, (value, _) in EVERY.items()})
    assert encode_properties(foreign) == ALL


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 5, 6, 12, tzinfo=UTC),
        datetime(2024, 5, 6, 17, tzinfo=timezone(timedelta(hours=5))),
        1714996800.9,
    ],
)
def test_times_are_written_as_seconds(moment: Any) -> None:
    assert encode_properties(BasicProperties(timestamp=moment))[2:] == EVERY["timestamp"][1]


def test_a_time_without_zone_is_utc_as_it_is_in_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    moment: Any = datetime(2024, 5, 6, 12)
    monkeypatch.setenv("TZ", "Asia/Tashkent")
    time.tzset()
    try:
        assert encode_properties(BasicProperties(timestamp=moment))[2:] == EVERY["timestamp"][1]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(TEXT_NAMES, ["a" * 256, 5, b"bytes", "\ud800"]),
        *product(["delivery_mode", "priority"], [-1, 256, "2", 2.0]),
        *product(["headers"], [[1], "text", 5, {"n": object()}, {5: 1}, {"n": Decimal("1E-5000000")}]),
        *product(["timestamp"], [-1, 2**64, "soon", [], float("nan"), float("inf")]),
    ],
)
def test_values_that_do_not_fit(name: str, value: Any) -> None:
    with pytest.raises(EncodingError):
        encode_properties(BasicProperties(**{name: value}))


# Reading what is broken


def refused(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        decode_properties(data)
    assert caught.value.reply_code == SYNTAX_ERROR


def scan_refused(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        PropertyScan(data)
    assert caught.value.reply_code == SYNTAX_ERROR


@pytest.mark.parametrize("kept", range(len(ALL)))
def test_cut_short(kept: int) -> None:
    refused(ALL[:kept])
    scan_refused(ALL[:kept])


@pytest.mark.parametrize("name", list(EVERY))
def test_each_cut_short(name: str) -> None:
    _, wire = given_properties({name})
    for kept in range(len(wire)):
        refused(wire[:kept])
        scan_refused(wire[:kept])


def test_flags_beyond_the_data() -> None:
    for flags in range(4, 0x10000, 4):
        refused(struct.pack(">H", flags))
        scan_refused(struct.pack(">H", flags))


@pytest.mark.parametrize("names", [set(), {"priority"}, {"headers", "user_id"}, set(EVERY)])
def test_bytes_left_over(names: set[str]) -> None:
    _, wire = given_properties(names)
    refused(wire + b"\x00")
    scan_refused(wire + b"\x00")


@pytest.mark.parametrize("unknown", [1, 2, 3])
def test_flags_without_a_property(unknown: int) -> None:
    flags = struct.unpack(">H", ALL[:2])[0] | unknown
    refused(struct.pack(">H", flags) + ALL[2:])
    scan_refused(struct.pack(">H", flags) + ALL[2:])


def test_the_scan_does_not_look_into_the_headers() -> None:
    broken = struct.pack(">H", flag("headers") | flag("priority")) + b"\x00\x00\x00\x03\x01n?" + b"\x07"
    refused(broken)
    scan = PropertyScan(broken)
    assert (scan.headers, scan.priority) == ((2, 9), 7)


def test_the_scan_finds_headers_that_reach_beyond_the_end() -> None:
    scan_refused(struct.pack(">H", flag("headers")) + b"\xff\xff\xff\xff\x01n?")


def test_text_that_is_not_utf_8_survives() -> None:
    wire = struct.pack(">H", flag("reply_to")) + b"\x02\xff\xfe"
    properties = decode_properties(wire)
    assert encode_properties(properties) == wire
    assert PropertyScan(wire).reply_to == properties.reply_to


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused_and_the_scan_refuses_no_more(data: bytes) -> None:
    try:
        properties = decode_properties(data)
    except WireError as error:
        assert error.reply_code == SYNTAX_ERROR
        return
    scan = PropertyScan(data)
    assert [getattr(scan, name) for name in SCANNED] == [getattr(properties, name) for name in SCANNED]


# Changing what is encoded

#: Values of which there are shorter encodings: they must not be encoded anew.
ODD_TABLE = b"\x00\x00\x00\x14\x01al\x00\x00\x00\x00\x00\x00\x00\x07\x01bb\x01\x01cs\x00\x01"


@given(st.sets(st.sampled_from(sorted(EVERY))))
def test_headers_are_set_beside_any_properties(names: set[str]) -> None:
    properties, wire = given_properties(names)
    changed = decode_properties(edit_headers(wire, {"added": 1}))
    properties.headers = {**(properties.headers or {}), "added": 1}
    assert changed == properties


def test_headers_that_do_not_change_keep_their_bytes() -> None:
    wire = struct.pack(">H", flag("headers") | flag("priority")) + ODD_TABLE + b"\x05"
    changed = edit_headers(wire, {"n": 1, "b": "x"}, ("c", "missing"))
    kept = b"\x01al\x00\x00\x00\x00\x00\x00\x00\x07"
    assert kept in changed
    assert decode_properties(changed) == BasicProperties(headers={"a": 7, "n": 1, "b": "x"}, priority=5)


def test_headers_that_do_not_decode_are_not_changed() -> None:
    wire = struct.pack(">H", flag("headers")) + b"\x00\x00\x00\x03\x01a?"
    with pytest.raises(WireError, match="unknown type"):
        edit_headers(wire, {"n": 1})


def test_header_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(EncodingError, match="'n'"):
        edit_headers(ALL, {"n": object()})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (b"\x00\x00\x00\x06\x01bV\x01aV", b"\x00\x00\x00\x06\x01aV\x01bV"),
        (b"\x00\x00\x00\x06\x01aV\x01bV", None),
        (b"\x00\x00\x00\x06\x01bV\x01a?", None),
    ],
    ids=["unordered", "ordered", "unreadable"],
)
def test_headers_are_put_in_order(table: bytes, expected: bytes | None) -> None:
    before, after = (
        struct.pack(">H", flag("content_type") | flag("headers") | flag("priority")) + b"\x01c",
        b"\x05",
    )
    wire = before + table + after
    place = (len(before), len(before) + len(table))
    changed = with_canonical_headers(wire, place)
    if expected is None:
        assert changed is wire
    else:
        assert changed == before + expected + after


@pytest.mark.parametrize("value", [None, "another"])
@pytest.mark.parametrize("others", [set(), {"content_type"}, set(EVERY) - {"expiration"}])
@pytest.mark.parametrize("present", [True, False])
def test_text_property_is_set_or_removed(others: set[str], present: bool, value: str | None) -> None:
    properties, wire = given_properties(others | ({"expiration"} if present else set()))
    properties.expiration = value
    assert with_text_property(wire, "expiration", value) == encode_properties(properties)


def test_text_property_leaves_the_headers_as_they_are() -> None:
    wire = struct.pack(">H", flag("headers") | flag("reply_to")) + ODD_TABLE + b"\x01r"
    assert with_text_property(wire, "reply_to", "to")[2:] == ODD_TABLE + b"\x02to"


def test_text_property_is_set_beside_headers_that_do_not_decode() -> None:
    table = b"\0\0\0\x03\x01aZ"
    wire = struct.pack(">H", flag("headers") | flag("reply_to")) + table + b"\x01r"
    assert with_text_property(wire, "reply_to", "to")[2:] == table + b"\x02to"
    assert with_text_property(wire, "reply_to", None)[2:] == table


# The independent codec

SHORT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        **{name: SHORT for name in TEXT_NAMES if name != "cluster_id"},  # pamqp refuses to write it
        "headers": st.dictionaries(
            SHORT, st.none() | st.booleans() | SHORT | st.integers(-(2**31), 2**31 - 1), min_size=1
        ),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "timestamp": st.integers(0, 0xFFFFFFFF),
    },
)


def as_pamqp(values: dict[str, Any]) -> dict[str, Any]:
    """Pamqp has a datetime where we have seconds, and other names."""
    converted = {"message_type" if name == "type" else name: value for name, value in values.items()}
    if "timestamp" in values:
        converted["timestamp"] = datetime.fromtimestamp(values["timestamp"], UTC)
    return converted


@given(PROPERTIES)
def test_pamqp_reads_what_we_write(values: dict[str, Any]) -> None:
    theirs = pamqp_header.ContentHeader()
    theirs.unmarshal(struct.pack(">HHQ", 60, 0, 0) + encode_properties(BasicProperties(**values)))
    read = {name: value for name, value in theirs.properties if value not in (None, "")}
    assert read == as_pamqp(values)


@given(PROPERTIES)
def test_we_read_what_pamqp_writes(values: dict[str, Any]) -> None:
    data = pamqp_commands.Basic.Properties(**as_pamqp(values)).marshal()
    assert decode_properties(data) == BasicProperties(**values)


def test_properties_can_be_looked_into() -> None:
    """`vars`, a serialiser that knows no better, and attributes of the program's own."""
    properties = BasicProperties(headers={"a": 1}, message_id="m")
    theirs = pika.BasicProperties(headers={"a": 1}, message_id="m")
    assert list(vars(properties).items()) == list(vars(theirs).items())
    own: Any = properties
    own.canary = 1
    assert properties == BasicProperties(headers={"a": 1}, message_id="m")
    assert json.loads(json.dumps(properties, default=lambda one: one.__dict__))["canary"] == 1
    assert copy.deepcopy(own).canary == pickle.loads(pickle.dumps(own)).canary == 1


def test_properties_encode_and_decode_themselves() -> None:
    values = {name: value for name, (value, _) in EVERY.items()}
    assert b"".join(BasicProperties(**values).encode()) == ALL
    properties = BasicProperties(priority=1)
    assert properties.decode(b"xx" + ALL, 2) is properties
    assert properties == BasicProperties(**values)
    assert properties.decode(b"\0\0") == BasicProperties()
    with pytest.raises(WireError):
        properties.decode(b"\x80")
    assert properties == BasicProperties()


def test_headers_as_they_are_on_the_wire() -> None:
    properties = BasicProperties(headers={"n": 1}, message_id="i")
    table = encode_properties(BasicProperties(headers={"other": "x"}))[2:]
    assert decode_properties(encode_properties(properties, table)).headers == {"other": "x"}
    properties.headers = None
    found = decode_properties(encode_properties(properties, table))
    assert found == BasicProperties(headers={"other": "x"}, message_id="i")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"delivery_mode": 300},
            "the message property delivery_mode must be a number from 0 to 255, but is 300",
        ),
        ({"priority": "canary"}, "property priority must be a number from 0 to 255, but is of type str"),
        ({"priority": -1}, "property priority must be a number from 0 to 255, but is -1"),
        ({"timestamp": "canary"}, "property timestamp must be a time since 1970, but is of type str"),
        ({"timestamp": -5}, "property timestamp must be a time since 1970, but is -5"),
    ],
)
def test_property_that_does_not_fit_is_named(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(EncodingError, match=why) as told:
        encode_properties(BasicProperties(**changes))
    assert "canary" not in str(told.value)


def test_object_that_lacks_a_property_is_told() -> None:
    properties: Any = BasicProperties()
    del properties.cluster_id
    with pytest.raises(EncodingError, match="cluster_id"):
        encode_properties(properties)
