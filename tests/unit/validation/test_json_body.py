"""Reading JSON bodies: limits, and the standard library's verdict everywhere (P20).

That the verdict does not depend on orjson is tested in test_validator.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedora_messaging.validation.json_body import MAX_DEPTH, TooDeep, decode

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)
ENCODINGS = ["utf-8", "UTF-8", "utf8", "utf_8", "ascii", "utf-16", "utf-32-le", "cp037"]


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_p20_depth_has_one_limit_whatever_the_encoding(encoding: str) -> None:
    value = decode(nested(MAX_DEPTH).encode(encoding), encoding)
    for _ in range(MAX_DEPTH - 1):
        [value] = value
    assert value == []
    with pytest.raises(TooDeep, match=str(MAX_DEPTH)):
        decode(nested(MAX_DEPTH + 1).encode(encoding), encoding)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 1024, 1025, 5000, 100_000, 200_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_p20_too_deep(depth: int, opening: str, closing: str) -> None:
    for text in (opening * depth, opening * depth + "1" + closing * depth):
        with pytest.raises(ValueError, match="."):
            decode(text.encode(), "utf-8")


@pytest.mark.parametrize(
    "leaf", ["1", '"x"', "[]", "{}", "null", "[1,2]", '{"b":2}', "123456789012345678901"]
)
def test_p20_the_limit_counts_containers_only(leaf: str) -> None:
    containers = 1 if leaf[0] in "[{" else 0
    depth = MAX_DEPTH - containers
    decode(f"{'[' * depth}{leaf}{']' * depth}".encode(), "utf-8")
    depth += 1
    with pytest.raises(TooDeep):
        decode(f"{'[' * depth}{leaf}{']' * depth}".encode(), "utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_p20_a_wide_body_is_not_a_deep_one(encoding: str) -> None:
    text = "[" + ",".join(["[]"] * 5000) + "]"
    assert decode(text.encode(encoding), encoding) == [[]] * 5000


def test_p20_brackets_in_strings_do_not_count() -> None:
    assert decode(json.dumps(["[{" * 1000]).encode(), "utf-8") == ["[{" * 1000]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', {"a": 3, "b": 2}),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"[1180591620717411303424]", [2**70]),
        (b"9" * 4300, 10**4300 - 1),
        (b'"\\ud800"', "\ud800"),
        (b'"\\udc00\\ud800"', "\udc00\ud800"),
        (b'{"\\ud800": 1}', {"\ud800": 1}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"Infinity", float("inf")),
        (b"[-Infinity]", [float("-inf")]),
        (b"1e999", float("inf")),
        (b"-0", 0),
        (b"1E2", 100.0),
        (b"0.1e-999", 0.0),
        (b"1.00000000000000000000000000000001", 1.0),
        (b' \t\r\n{"a":\n1}\n', {"a": 1}),
        (b'"\xe2\x80\xa8\xc2\x85"', "\u2028\x85"),
        (b'"\\u0000"', "\0"),
    ],
)
def test_p20_readable(body: bytes, expected: Any) -> None:
    value = decode(body, "utf-8")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("body", [b"NaN", b"[NaN]", b'{"a": NaN}', b"[1, NaN, {}]"])
def test_p20_nan_is_read_as_version_3_9_does(body: bytes) -> None:
    assert repr(decode(body, "utf-8")) == repr(json.loads(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"[1,]",
        b"{'a': 1}",
        b'{"a": 1,}',
        b"{1: 2}",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"0x10",
        b"nan",
        b"True",
        b"1 2",
        b"\x00",
        b"{}\x00",
        b'"\x01"',
        b'"\n"',
        b'"\\x41"',
        b'"\\ud8"',
        b"// c\n1",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"9" * 4301,
        b"[" + b"9" * 100_000 + b"]",
    ],
)
def test_p20_unreadable(body: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        decode(body, "utf-8")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"nan", b"1 2", b"\xef\xbb\xbf{}"])
def test_error_texts_are_the_standard_librarys(body: bytes) -> None:
    with pytest.raises(ValueError, match=".") as expected:
        json.loads(body.decode("utf-8"))
    with pytest.raises(ValueError, match=".") as caught:
        decode(body, "utf-8")
    assert (type(caught.value), str(caught.value)) == (type(expected.value), str(expected.value))


@pytest.mark.parametrize(
    "encoding",
    [
        "",
        " ",
        "nonsense",
        "gzip",
        "deflate",
        "br",
        "identity",
        "utf-8\0",
        "\0",
        "a\0b",
        "x" * 255,
        "\udc80",
        "é",
        "utf-8;q=1",
        "../utf-8",
        "os",
        "aliases",
        "encodings.utf_8",
        "undefined",
        # Codecs from bytes to bytes or from text to text are no character encodings.
        "zlib",
        "zip",
        "bz2",
        "base64",
        "hex",
        "uu",
        "quopri",
        "rot13",
        "mbcs",
        "oem",
    ],
)
def test_p01_unknown_encodings(encoding: str) -> None:
    """What is no text encoding raises ValueError."""
    with pytest.raises(ValueError, match="."):
        decode(b'{"a": 1}', encoding)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ValueError, match="gzip"):
        decode(b"{}", "gzip")


@pytest.mark.parametrize(
    "encoding",
    ["ascii", "latin-1", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp1252", "koi8-r"],
)
def test_other_character_encodings(encoding: str) -> None:
    assert decode('{"a": "b"}'.encode(encoding), encoding) == {"a": "b"}


@pytest.mark.parametrize("encoding", ["punycode", "idna"])
def test_p01_no_encoding_takes_quadratic_time(encoding: str) -> None:
    """A body of one frame would keep the loop busy for a good part of a second, a larger one for minutes."""
    with pytest.raises(ValueError, match=f"unknown content encoding '{encoding}'"):
        decode(b"-" + b"a" * 1000, encoding)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@SETTINGS
@given(VALUES, st.booleans(), st.sampled_from(["utf-8", "utf_8", "utf-16"]))
def test_what_the_standard_library_writes_is_read(value: Any, escape: bool, encoding: str) -> None:
    text = json.dumps(value, ensure_ascii=escape)
    try:
        body = text.encode(encoding)
    except UnicodeEncodeError:
        body = json.dumps(value).encode(encoding)
    assert repr(decode(body, encoding)) == repr(value)


@SETTINGS
@given(st.binary(max_size=40), st.sampled_from(ENCODINGS) | st.text(max_size=12))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_any_body_is_read_or_refused(body: bytes, encoding: str) -> None:
    try:
        decode(body, encoding)
    except ValueError as error:
        assert str(error)


def test_both_ways_are_tested_here() -> None:
    assert importlib.util.find_spec("orjson"), "install orjson, so that the tests see both ways"


@pytest.mark.parametrize(
    ("version", "is_used"), [("3.8.3", False), ("3.9.14", False), ("3.9.15", True), ("3.10.0rc1", True)]
)
def test_p34_orjson_that_a_message_can_crash_is_not_used(tmp_path: Path, version: str, is_used: bool) -> None:
    (tmp_path / "orjson.py").write_text(f'__version__ = "{version}"')
    code = "from fedora_messaging.validation import json_body; print(json_body.orjson_library() is not None)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{is_used}\n"
