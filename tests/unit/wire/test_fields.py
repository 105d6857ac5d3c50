"""Field values, tables and arrays."""

from __future__ import annotations

import decimal
import math
import struct
import tracemalloc
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode as pamqp_decode
from pamqp import encode as pamqp_encode

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.wire.errors import SYNTAX_ERROR, WireError
from fedora_messaging.wire.fields import (
    MAX_DEPTH,
    canonical_table,
    decode_longstr,
    decode_shortstr,
    decode_table,
    encode_field,
    encode_longstr,
    encode_shortstr,
    encode_table,
    join_table,
    split_table,
)
from fedora_messaging.wire.int64 import Int64

NOON = datetime(2024, 5, 6, 12, 0, 0, tzinfo=UTC)
NOON_SECONDS = 1714996800

# What is written and read back as the same value.
BOTH_WAYS: list[tuple[Any, bytes]] = [
    (True, b"t\x01"),
    (False, b"t\x00"),
    (0, b"I\x00\x00\x00\x00"),
    (-1, b"I\xff\xff\xff\xff"),
    (0x7FFFFFFF, b"I\x7f\xff\xff\xff"),
    (-0x80000000, b"I\x80\x00\x00\x00"),
    (0x80000000, b"l\x00\x00\x00\x00\x80\x00\x00\x00"),
    (-0x80000001, b"l\xff\xff\xff\xff\x7f\xff\xff\xff"),
    (0x7FFFFFFFFFFFFFFF, b"l\x7f\xff\xff\xff\xff\xff\xff\xff"),
    (-0x8000000000000000, b"l\x80\x00\x00\x00\x00\x00\x00\x00"),
    (1.5, b"d\x3f\xf8\x00\x00\x00\x00\x00\x00"),
    (-math.inf, b"d\xff\xf0\x00\x00\x00\x00\x00\x00"),
    (Decimal("3.14"), b"D\x02\x00\x00\x01\x3a"),
    (Decimal("-0.5"), b"D\x01\xff\xff\xff\xfb"),
    (Decimal(7), b"D\x00\x00\x00\x00\x07"),
    (Decimal("1E-255"), b"D\xff\x00\x00\x00\x01"),
    (Decimal(-2147483648), b"D\x00\x80\x00\x00\x00"),
    ("", b"S\x00\x00\x00\x00"),
    ("grüße", b"S\x00\x00\x00\x07gr\xc3\xbc\xc3\x9fe"),
    (b"", b"x\x00\x00\x00\x00"),
    (b"\x00\xff", b"x\x00\x00\x00\x02\x00\xff"),
    (NOON, b"T" + NOON_SECONDS.to_bytes(8, "big")),
    (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), b"T\xff\xff\xff\xff\xff\xff\xff\xff"),
    (None, b"V"),
    ([], b"A\x00\x00\x00\x00"),
    ([1, "a", None], b"A\x00\x00\x00\x0cI\x00\x00\x00\x01S\x00\x00\x00\x01aV"),
    ([True, [False]], b"A\x00\x00\x00\x09t\x01A\x00\x00\x00\x02t\x00"),
    ({}, b"F\x00\x00\x00\x00"),
    ({"k": {"l": True}}, b"F\x00\x00\x00\x0b\x01kF\x00\x00\x00\x04\x01lt\x01"),
]

# What other clients write, too.
READ_ONLY: list[tuple[Any, bytes]] = [
    (True, b"t\x02"),
    (-128, b"b\x80"),
    (255, b"B\xff"),
    (-2, b"s\xff\xfe"),
    (65534, b"u\xff\xfe"),
    (0xFFFFFFFE, b"i\xff\xff\xff\xfe"),
    (-2, b"L\xff\xff\xff\xff\xff\xff\xff\xfe"),
    (0.5, b"f\x3f\x00\x00\x00"),
    (b"\xff\xfe", b"S\x00\x00\x00\x02\xff\xfe"),
    (253402300800, b"T" + (253402300800).to_bytes(8, "big")),
    (0x7FFFFFFFFFFFFFFF, b"T\x7f\xff\xff\xff\xff\xff\xff\xff"),
]

# What is written and read back as something that is equal, but of another type.
WRITE_ONLY: list[tuple[Any, bytes]] = [
    (bytearray(b"ab"), b"x\x00\x00\x00\x02ab"),
    (memoryview(b"ab"), b"x\x00\x00\x00\x02ab"),
    ((1,), b"A\x00\x00\x00\x05I\x00\x00\x00\x01"),
    (OrderedDict(b=1, a=None), b"F\x00\x00\x00\x0a\x01bI\x00\x00\x00\x01\x01aV"),
    (NOON.replace(tzinfo=None), b"T" + NOON_SECONDS.to_bytes(8, "big")),
    (NOON.astimezone(timezone(timedelta(hours=5))), b"T" + NOON_SECONDS.to_bytes(8, "big")),
    (Decimal("1.2E+3"), b"D\x00\x00\x00\x04\xb0"),
    ("\ud800", b"S\x00\x00\x00\x03\xed\xa0\x80"),
    (Int64(1), b"l\x00\x00\x00\x00\x00\x00\x00\x01"),
    ("a\udcff", b"S\x00\x00\x00\x02a\xff"),
    (datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC), b"T" + b"\xff" * 7 + b"\xfe"),
]


class Text(str):
    __slots__ = ()


class Number(int):
    pass


def sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def table_of(value: bytes, name: bytes = b"n") -> bytes:
    return sized(bytes((len(name),)) + name + value)


def nested(kind: bytes, levels: int) -> bytes:
    """An encoded table of ``levels`` levels, the outermost included; the inner ones of type ``kind``."""
    content = b""
    for _ in range(levels - 1):
        content = (b"\x01n" if kind == b"F" else b"") + kind + sized(content)
    return sized(b"\x01n" + content if kind == b"A" else content)


def refused(data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        decode_table(data)
    assert caught.value.reply_code == SYNTAX_ERROR
    return caught.value.text


@pytest.mark.parametrize(("value", "wire"), BOTH_WAYS + WRITE_ONLY)
def test_writes(value: Any, wire: bytes) -> None:
    assert encode_table({"n": value}) == table_of(wire)
    # Inside of an array, too, where another branch writes the common types.
    assert encode_table({"n": [value]}) == table_of(b"A" + sized(wire))


@pytest.mark.parametrize(("value", "wire"), BOTH_WAYS + READ_ONLY)
def test_reads(value: Any, wire: bytes) -> None:
    table, end = decode_table(table_of(wire))
    assert table == {"n": value}
    assert type(table["n"]) is type(value)
    assert end == len(table_of(wire))
    assert decode_table(table_of(b"A" + sized(wire)))[0] == {"n": [value]}


def test_subclasses_are_written_as_what_they_extend() -> None:
    assert encode_table({"n": Text("a")}) == table_of(b"S\x00\x00\x00\x01a")
    assert encode_table({"n": Number(1)}) == table_of(b"I\x00\x00\x00\x01")


def test_reads_from_an_offset_and_stops_at_the_end() -> None:
    data = b"\xee\xee" + table_of(b"V") + b"\xee"
    assert decode_table(data, 2) == ({"n": None}, len(data) - 1)
    assert decode_shortstr(b"\xee\x02ab\xee", 1) == ("ab", 4)
    assert decode_longstr(b"\xee\x00\x00\x00\x02a\x00\xee", 1) == (b"a\x00", 7)


def test_keeps_the_order_of_fields_and_the_last_of_equal_names() -> None:
    table, _ = decode_table(sized(b"\x01bV\x01at\x01\x01bt\x00"))
    assert list(table.items()) == [("b", False), ("a", True)]


@pytest.mark.parametrize(
    "name", ["", "a", "ä" * 127, "a" * 255, b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_names(name: str) -> None:
    assert decode_table(encode_table({name: None}))[0] == {name: None}
    assert decode_shortstr(encode_shortstr(name), 0)[0] == name


def test_longstr() -> None:
    assert encode_longstr(b"ab\x00") == b"\x00\x00\x00\x03ab\x00"


# What cannot be read


@pytest.mark.parametrize("wire", [wire for _, wire in BOTH_WAYS + READ_ONLY if len(wire) > 1])
def test_a_value_cut_short_is_refused_wherever_it_is_cut(wire: bytes) -> None:
    for kept in range(len(wire)):
        cut = wire[:kept]
        assert "end of its frame" in refused(table_of(cut))
        # The bytes that are missing in the table are there behind it: they are not its own.
        whole = table_of(wire)
        claimed = len(whole) - 4 - (len(wire) - kept)
        assert "end of its frame" in refused(struct.pack(">I", claimed) + whole[4:])


def test_a_table_cut_short_is_refused_wherever_it_is_cut() -> None:
    whole = encode_table({f"name{i}": value for i, (value, _) in enumerate(BOTH_WAYS)})
    for kept in range(len(whole)):
        assert "end of its frame" in refused(whole[:kept])


def test_a_nested_table_may_not_reach_beyond_its_parent() -> None:
    inner = b"\x01nF" + struct.pack(">I", 3) + b"\x01mV"
    assert decode_table(sized(inner))[0] == {"n": {"m": None}}
    outer = sized(b"\x01oF" + sized(inner[:-1])) + b"V"
    assert "nested table" in refused(outer)


def test_a_name_may_not_reach_beyond_its_table() -> None:
    assert "field of a table" in refused(sized(b"\x05ab") + b"cdeV")
    assert "field of a table" in refused(sized(b"\x02ab") + b"V")


@pytest.mark.parametrize("tag", sorted(set(range(256)) - set(b"tbBsuIilLfdDSAFTVx")))
def test_unknown_types_are_refused(tag: int) -> None:
    wire = bytes((tag,)) + b"\x00" * 16
    assert refused(table_of(wire)) == f"unknown type 0x{tag:02x} of a field in a table"


@pytest.mark.parametrize("data", [b"", b"\x03ab", b"\x01"])
def test_short_strings_cut_short(data: bytes) -> None:
    with pytest.raises(WireError, match="a short string"):
        decode_shortstr(data, 0)
    with pytest.raises(WireError, match="a short string"):
        decode_shortstr(data, 5)


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff\xff\xff\xffabc"])
def test_long_strings_cut_short(data: bytes) -> None:
    with pytest.raises(WireError, match="a long string"):
        decode_longstr(data, 0)


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_p19_depth_has_a_limit_when_reading(kind: bytes) -> None:
    assert MAX_DEPTH == 100
    table, _ = decode_table(nested(kind, MAX_DEPTH))
    levels = 0
    value: Any = table
    while value:
        levels += 1
        value = value["n"] if isinstance(value, dict) else value[0]
    assert levels == MAX_DEPTH - 1
    assert "nested deeper than 100" in refused(nested(kind, MAX_DEPTH + 1))
    assert "nested deeper than 100" in refused(nested(kind, 20_000))


@pytest.mark.parametrize("wrap", [lambda inner: {"n": inner}, lambda inner: [inner]])
def test_p19_depth_has_a_limit_when_writing(wrap: Any) -> None:
    deep: Any = wrap(None)
    for _ in range(MAX_DEPTH - 2):
        deep = wrap(deep)
    assert decode_table(encode_table({"n": deep}))[0] == {"n": deep}
    with pytest.raises(EncodingError, match="deeper than 100"):
        encode_table({"n": wrap(deep)})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodingError, match="deeper than 100"):
        encode_table({"n": endless})


# What cannot be written


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (0x8000000000000000, "64 bits"),
        (-0x8000000000000001, "64 bits"),
        (Decimal("NaN"), "type Decimal"),
        (Decimal("-Infinity"), "type Decimal"),
        (Decimal(2147483648), "type Decimal"),
        (Decimal("1E-256"), "type Decimal"),
        (Decimal("1.00000000000000000000000000000000001"), "type Decimal"),
        (object(), "type object"),
        ({1, 2}, "type set"),
    ],
)
def test_values_that_amqp_lacks(value: Any, why: str) -> None:
    with pytest.raises(EncodingError, match=f"field 'n'.*{why}|the integer in field 'n'.*{why}"):
        encode_table({"n": value})
    with pytest.raises(EncodingError, match=why):
        encode_table({"n": [value]})


@pytest.mark.parametrize("value", [Decimal("1E-5000000"), Decimal("-1E-99999999")])
def test_decimals_beyond_the_context_are_refused_as_all_others(value: Decimal) -> None:
    with pytest.raises(EncodingError, match="type Decimal"):
        encode_table({"n": value})


def test_a_decimal_with_a_huge_exponent_is_not_written_out_to_see_that_it_is_too_large() -> None:
    huge = Decimal("1E+100000")
    tracemalloc.start()
    try:
        with pytest.raises(EncodingError, match="type Decimal"):
            encode_table({"n": huge})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_the_programs_decimal_context_does_not_round_what_is_on_the_wire() -> None:
    wire = table_of(b"D\x02" + struct.pack(">i", 123456))
    with decimal.localcontext() as context:
        context.prec = 3
        assert decode_table(wire)[0] == {"n": Decimal("1234.56")}
        assert encode_table({"n": Decimal("1234.56")}) == wire


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a" * 256, "256 bytes, but AMQP allows at most 255"),
        ("ä" * 128, "256 bytes"),
        ("\ud800", "cannot be encoded as UTF-8"),
        (5, "must be text, but is a int"),
        (b"n", "must be text, but is a bytes"),
        (None, "must be text"),
    ],
)
def test_names_that_cannot_be_written(name: Any, why: str) -> None:
    with pytest.raises(EncodingError, match=why):
        encode_shortstr(name)
    with pytest.raises(EncodingError, match=why):
        encode_table({name: None})


@pytest.mark.parametrize("table", [[1], "text", 5, None])
def test_a_table_must_be_a_mapping(table: Any) -> None:
    with pytest.raises(EncodingError):
        encode_table(table)


def test_encoding_errors_are_value_errors() -> None:
    assert issubclass(EncodingError, ValueError)


def test_wire_errors_carry_code_and_text() -> None:
    error = WireError(SYNTAX_ERROR, "text")
    assert (error.reply_code, error.text, error.args) == (502, "text", (502, "text"))


# Round trips, and the independent codec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIME = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
DECIMAL = st.builds(
    lambda unscaled, scale: Decimal(unscaled).scaleb(-scale),
    st.integers(-0x80000000, 0x7FFFFFFF),
    st.integers(0, 255),
)


def tables(*, float_width: Literal[32, 64] = 64) -> st.SearchStrategy[dict[str, Any]]:
    leaf = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
        st.floats(allow_nan=False, width=float_width),
        TEXT,
        TIME,
        DECIMAL,
    )
    value = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(NAME, value, max_size=6)


@given(tables() | st.dictionaries(NAME, st.binary(max_size=30)))
def test_round_trip(table: dict[str, Any]) -> None:
    data = encode_table(table)
    assert decode_table(data) == (table, len(data))


def _number(tag: str, layout: str, low: int, high: int) -> st.SearchStrategy[bytes]:
    ends = st.sampled_from((low, low + 1, -1 if low else 1, 0, high - 1, high))
    return (ends | st.integers(low, high)).map(lambda value: tag.encode() + struct.pack(layout, value))


def wires() -> st.SearchStrategy[bytes]:
    """Encoded values of every type, at their limits and between."""
    leaf = st.one_of(
        st.sampled_from((b"V", b"t\x00", b"t\xff")),
        _number("b", ">b", -0x80, 0x7F),
        _number("B", ">B", 0, 0xFF),
        _number("s", ">h", -0x8000, 0x7FFF),
        _number("u", ">H", 0, 0xFFFF),
        _number("I", ">i", -0x80000000, 0x7FFFFFFF),
        _number("i", ">I", 0, 0xFFFFFFFF),
        *(_number(tag, ">q", -(1 << 63), (1 << 63) - 1) for tag in "lL"),
        _number("T", ">q", -(1 << 63), (1 << 63) - 1),
        # The first and the last second that Python knows, and those beyond.
        st.integers(-62135596802, -62135596798).map(lambda value: b"T" + struct.pack(">q", value)),
        st.integers(253402300797, 253402300801).map(lambda value: b"T" + struct.pack(">q", value)),
        st.binary(min_size=4, max_size=4).map(lambda raw: b"f" + raw),
        st.binary(min_size=8, max_size=8).map(lambda raw: b"d" + raw),
        st.tuples(st.sampled_from((0, 1, 10, 254, 255)), _number("", ">i", -0x80000000, 0x7FFFFFFF)).map(
            lambda parts: b"D" + bytes((parts[0],)) + parts[1]
        ),
        st.binary(max_size=12).map(lambda raw: b"S" + sized(raw)),
        st.binary(max_size=12).map(lambda raw: b"x" + sized(raw)),
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda items: b"A" + sized(b"".join(items)))
            | st.dictionaries(st.binary(max_size=8), inner, max_size=4).map(
                lambda fields: (
                    b"F" + sized(b"".join(bytes((len(k),)) + k + value for k, value in fields.items()))
                )
            )
        ),
        max_leaves=8,
    )


@given(st.binary(max_size=255), wires())
def test_whatever_can_be_read_can_be_written_again(name: bytes, wire: bytes) -> None:
    table, _ = decode_table(table_of(wire, name))
    again = encode_table(table)
    # A NaN equals nothing, itself included; the bytes of the second writing say that nothing has changed.
    assert repr(decode_table(again)[0]) == repr(table)
    assert encode_table(decode_table(again)[0]) == again


@given(tables())
def test_pamqp_reads_what_we_write(table: dict[str, Any]) -> None:
    data = encode_table(table)
    assert pamqp_decode.field_table(data) == (len(data), table)


@given(tables(float_width=32))  # pamqp writes every float with 32 bits
def test_we_read_what_pamqp_writes(table: dict[str, Any]) -> None:
    data = pamqp_encode.field_table(table)
    assert decode_table(data) == (table, len(data))


@given(st.binary(max_size=60))
def test_pamqp_reads_our_bytes(raw: bytes) -> None:
    data = encode_table({"n": raw})
    assert pamqp_decode.field_table(data) == (len(data), {"n": bytearray(raw)})
    assert decode_table(pamqp_encode.field_table({"n": bytearray(raw)})) == ({"n": raw}, len(data))


@pytest.mark.parametrize(
    "wire",
    # pamqp takes a time before 1970 for one in a far future, and refuses it.
    [wire for _, wire in BOTH_WAYS + READ_ONLY[:-2] if not wire.startswith(b"T\xff")],
)
def test_pamqp_understands_every_type_as_we_do(wire: bytes) -> None:
    theirs = pamqp_decode.field_table(table_of(wire))[1]["n"]
    ours = decode_table(table_of(wire))[0]["n"]
    assert theirs == ours


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_split_as_they_are_read(content: bytes) -> None:
    try:
        table, _ = decode_table(sized(content))
    except WireError:
        with pytest.raises(WireError):
            split_table(sized(content))
        return
    fields = split_table(sized(content))
    assert list(fields) == list(table)
    assert list(decode_table(join_table(fields))[0]) == list(table)


@pytest.mark.parametrize(("value", "wire"), BOTH_WAYS)
def test_fields_are_split_and_joined_as_they_are(value: Any, wire: bytes) -> None:
    assert split_table(table_of(wire)) == {"n": wire}
    assert join_table({"n": wire}) == table_of(wire)
    assert encode_field("n", value) == wire


@pytest.mark.parametrize("content", [b"\x01n", b"\x05n", b"\x01nl\x00"])
def test_fields_cut_short_are_not_split(content: bytes) -> None:
    with pytest.raises(WireError):
        split_table(sized(content))


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        decode_table(sized(content))
    except WireError as error:
        assert error.reply_code == SYNTAX_ERROR


# As RabbitMQ 4 writes tables

SEVEN = b"\x00\x00\x00\x00\x00\x00\x00\x07"


def canonical(data: bytes) -> bytes:
    """Return how RabbitMQ 4 writes a table."""
    written = canonical_table(data, 0, len(data))
    return data if written is None else written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01aV",
        b"\x00V\x01aV\x02aaV\x01bV\x02\xc3\xa4V",
        b"\x01al" + SEVEN,
        # What is inside of other tables keeps its order, and its fields of one name.
        b"\x01nF" + sized(b"\x01bV\x01aV\x01aV"),
        # What does not decode there is not looked at.
        b"\x01nF" + sized(b"\x01a?"),
    ],
)
def test_canonical_table_stays(content: bytes) -> None:
    assert canonical_table(sized(content), 0, len(sized(content))) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x01bV\x01at\x01", b"\x01at\x01\x01bV"),
        (b"\x01aV\x00V", b"\x00V\x01aV"),
        (b"\x02aaV\x01bV\x01aV", b"\x01aV\x02aaV\x01bV"),
        (b"\x01\xffV\x02\xc3\xa4V", b"\x02\xc3\xa4V\x01\xffV"),
        # The first of equal names wins.
        (b"\x01at\x01\x01at\x00", b"\x01at\x01"),
        (b"\x00t\x01\x00t\x00", b"\x00t\x01"),
        (b"\x01bt\x01\x01aV\x01bt\x00", b"\x01aV\x01bt\x01"),
        # 64-bit integers have one tag.
        (b"\x01aL" + SEVEN, b"\x01al" + SEVEN),
        (
            b"\x01aA" + sized(b"L" + SEVEN + b"V" + b"L" + SEVEN),
            b"\x01aA" + sized(b"l" + SEVEN + b"V" + b"l" + SEVEN),
        ),
        (
            b"\x01nF" + sized(b"\x01LV\x01aA" + sized(b"L" + SEVEN) + b"\x01LS" + sized(b"L")),
            b"\x01nF" + sized(b"\x01LV\x01aA" + sized(b"l" + SEVEN) + b"\x01LS" + sized(b"L")),
        ),
    ],
)
def test_canonical_table(content: bytes, expected: bytes) -> None:
    assert canonical(sized(content)) == sized(expected)


@pytest.mark.parametrize("content", [b"\x01LV", b"\x01aS" + sized(b"L"), b"\x01ax" + sized(b"L" + SEVEN)])
def test_letter_that_is_no_tag_is_kept(content: bytes) -> None:
    assert canonical_table(sized(content), 0, len(sized(content))) == sized(content)


def test_canonical_table_amid_other_data() -> None:
    table = sized(b"\x01bV\x01aV")
    assert canonical_table(b"L" + table + b"L", 1, 1 + len(table)) == sized(b"\x01aV\x01bV")
    sorted_table = sized(b"\x01aV\x01bV")
    assert canonical_table(b"L" + sorted_table + b"L", 1, 1 + len(sorted_table)) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x01", "a field of a table"),
        (b"\x01n", "a field of a table"),
        (b"\x05n", "a field of a table"),
        (b"\x01n?", "unknown type 0x3f"),
        (b"\x01nl\x00", "a number in a table"),
        (b"\x01nS\x00\x00", "a value in a table"),
        (b"\x01nF\x00\x00\x00\x02L", "a value in a table"),
        (b"\x01nF" + sized(b"\x01LV\x01"), "a field of a table"),
        (b"\x01nA" + sized(b"L\x00"), "a number in a table"),
    ],
)
def test_tables_that_cannot_be_put_in_order(content: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        canonical_table(sized(content), 0, len(sized(content)))


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_p19_depth_has_a_limit_when_putting_in_order(kind: bytes) -> None:
    """The limit is that of reading: what nests deeper counts as unreadable."""

    def deep(levels: int) -> bytes:
        content = b"\x01nL" + SEVEN if kind == b"F" else b"L" + SEVEN
        for _ in range(levels - 1):
            content = (b"\x01n" if kind == b"F" else b"") + kind + sized(content)
        return sized(b"\x01n" + content if kind == b"A" else content)

    assert canonical(deep(MAX_DEPTH)) == deep(MAX_DEPTH).replace(b"L", b"l")
    for levels in (MAX_DEPTH + 1, 20_000):
        with pytest.raises(WireError, match="nested deeper than 100"):
            canonical_table(deep(levels), 0, len(deep(levels)))


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"", b"a", b"b", b"ab", b"L", b"\xff"]) | st.binary(max_size=9), wires())
)


@given(FIELDS)
def test_canonical_tables_say_the_same(fields: list[tuple[bytes, bytes]]) -> None:
    data = sized(b"".join(bytes((len(name),)) + name + wire for name, wire in fields))
    written = canonical(data)
    first: dict[bytes, bytes] = {}
    for name, wire in fields:
        first.setdefault(name, wire)
    expected = {
        name.decode("utf-8", "surrogateescape"): decode_table(table_of(wire))[0]["n"]
        for name, wire in sorted(first.items())
    }
    # A NaN equals nothing, itself included.
    assert repr(decode_table(written)[0]) == repr(expected)
    assert decode_table(written)[1] == len(written)
    assert canonical(written) == written


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_put_in_order_or_refused(content: bytes) -> None:
    try:
        before, _ = decode_table(sized(content))
    except WireError:
        before = None
    try:
        written = canonical(sized(content))
    except WireError as error:
        assert error.reply_code == SYNTAX_ERROR
        assert before is None
        return
    if before is not None:
        assert decode_table(written)[0].keys() == before.keys()
