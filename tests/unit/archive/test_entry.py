"""Whatever arrives can be kept, and is found and forgotten by the same words."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.archive.support import NOON, Told, message

from fedora_messaging.archive.entry import (
    LONGEST_WORD,
    entry_of,
    sent_at,
    unreadable_entry,
    words_in,
    words_of_record,
)
from fedora_messaging.message import INFO, WARNING, Message, loads
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.archive.entry import Entry

SETTINGS = settings(derandomize=True, deadline=None, max_examples=200)

#: Last second of the year 9999, the last that Python's dates, and so the partitions, have.
LAST_SECOND = 253_402_300_799


def words_again(one: Entry) -> str:
    """The words by which the index will forget a message; its columns are all that is left of it then."""
    return words_of_record(one.topic, one.summary, one.record)


def test_all_that_a_message_tells() -> None:
    body = {
        "summary": "Kernel 6.1 was built",
        "app": "koji",
        "agent": "jdoe",
        "users": ["jdoe", "mary", "jdoe"],
        "packages": ["kernel"],
        "size": 4.5,
        "is_good": True,
        "none": None,
        "deep": [{"er": ["Über-Text"]}],
    }
    got = message(body, id="an-id", severity=WARNING, headers={"fedora_messaging_schema": "koji.build"})
    got.queue = "archive"
    kept = entry_of(got, 0.0)
    assert (kept.id, kept.topic, kept.sent, kept.severity) == ("an-id", got.topic, NOON, WARNING)
    assert (kept.app, kept.agent, kept.schema) == ("koji", "jdoe", "koji.build")
    assert kept.summary == "Kernel 6.1 was built"
    assert (kept.users, kept.packages) == (("jdoe", "mary"), ("kernel",))
    (again,) = loads(kept.record)
    assert (again.id, again.topic, again.body) == (got.id, got.topic, body)
    assert json.loads(kept.record)["headers"] == got._headers
    assert "\n" not in kept.record
    # Words of the topic, the summary and all values; neither of names of fields nor of what has no word.
    words = kept.words.split()
    assert words[:9] == ["org", "example", "app", "thing", "kernel", "6", "1", "was", "built"]
    assert {"über", "text", "mary", "4", "5"} < {*words}
    assert not {"deep", "er", "is_good", "true", "none", "size"} & {*words}


def test_message_that_tells_nothing() -> None:
    kept = entry_of(message(None, sent=None, kind=Message, severity=None), 5.0)
    assert (kept.sent, kept.severity, kept.app, kept.agent, kept.schema) == (5.0, INFO, "", "", "")
    assert (kept.users, kept.packages, kept.summary) == ((), (), kept.topic)


def test_same_message_without_id_gets_the_same_id() -> None:
    first, again = (entry_of(message({"n": 1}, id=None), now) for now in (1.0, 2.0))
    other = entry_of(message({"n": 2}, id=None), 1.0)
    assert first.id == again.id
    assert first.id != other.id
    assert first.id.startswith("sha256:")


# When it was sent


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("2025-11-30T12:00:00+00:00", NOON),
        ("2025-11-30T12:00:00Z", NOON),
        ("2025-11-30T13:00:00+01:00", NOON),
        ("2025-11-30T12:00:00.250000+00:00", NOON + 0.25),
        # Without a zone it is UTC, as everywhere in field tables.
        ("2025-11-30T12:00:00", NOON),
        ("2025-11-30", NOON - 12 * 3600),
        (datetime(2025, 11, 30, 12, tzinfo=UTC), NOON),
        (datetime(2025, 11, 30, 12), NOON),
        # Before 1970 there is nothing.
        ("1969-12-31T23:59:59+00:00", 0.0),
        ("0001-01-01T00:00:00+00:00", 0.0),
        ("0001-01-01T00:00:00+23:59", 0.0),
        (datetime.min, 0.0),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=23))), 0.0),
        # Odd ones are as good as none.
        (None, 7.0),
        ("", 7.0),
        ("yesterday", 7.0),
        ("2025-13-30T12:00:00+00:00", 7.0),
        ("\x00\ud800", 7.0),
        (1764504000, 7.0),
        (Decimal("1.5"), 7.0),
        (b"2025-11-30", 7.0),
        (["2025-11-30"], 7.0),
        (True, 7.0),
    ],
)
def test_when_it_was_sent(header: Any, expected: float) -> None:
    assert sent_at(header, 7.0) == expected


@pytest.mark.parametrize(
    "header",
    [
        "9999-12-31T23:59:59+00:00",
        "9999-12-31T23:59:59.999999-23:59",
        datetime.max,
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
    ],
)
def test_no_time_is_beyond_the_last_date(header: Any) -> None:
    """In UTC such a time can be in the year 10000, for which there are neither dates nor partitions."""
    sent = sent_at(header, 7.0)
    assert datetime.fromtimestamp(int(sent), UTC).year in (1970, 9999)
    assert int(sent) <= LAST_SECOND


@given(st.one_of(st.datetimes(timezones=st.none() | st.timezones()), st.text(max_size=30)))
@SETTINGS
def test_any_time_can_be_kept(header: Any) -> None:
    assert 0 <= sent_at(header, 7.0) <= LAST_SECOND + 1
    assert 0 <= sent_at(str(header), 7.0) <= LAST_SECOND + 1


# Text that not every database can hold

BAD = "a\x00b\ud800c"


def is_fit(text: str) -> bool:
    """Whether both databases can hold a text."""
    return "\x00" not in text and text.encode(errors="replace") == text.encode(errors="ignore")


def columns(one: Entry) -> list[str]:
    texts = (one.id, one.topic, one.app, one.agent, one.schema, one.summary, one.record, one.words)
    return [*texts, *one.users, *one.packages]


def test_nul_and_lone_surrogates_everywhere() -> None:
    told = dict.fromkeys(("summary", "app", "agent", "text"), BAD)
    body = {**told, "users": [BAD], "packages": [BAD], BAD: BAD}
    headers = {"fedora_messaging_schema": BAD, BAD: BAD}
    kept = entry_of(message(body, id=BAD, topic=f"x.{BAD}", headers=headers), 0.0)
    assert all(is_fit(text) for text in columns(kept))
    assert kept.summary == "a\ufffdb\ufffdc"
    assert kept.users == kept.packages == ("a\ufffdb\ufffdc",)
    # The body is as it was: JSON has a way to write such characters.
    assert json.loads(kept.record)["body"] == body
    assert kept.words == words_again(kept)


def test_nul_in_an_unreadable_delivery() -> None:
    properties = BasicProperties(message_id=BAD, headers={BAD: BAD})
    kept = unreadable_entry(f"x.{BAD}", BAD, properties, b"\x00\xff", "it is odd", 3.0)
    assert all(is_fit(text) for text in columns(kept))


# Numbers that not every database can hold


@pytest.mark.parametrize(
    "severity", [True, False, -(2**63), -(2**31) - 1, 2**31, 2**63 - 1, 2**63, 2**70, "20", 1.5, None, [20]]
)
def test_severity_that_no_message_has(severity: Any) -> None:
    """PostgreSQL's integers have 32 bits, and it refuses a boolean there: the message would never get in."""
    got = message({"n": 1})
    got.severity = severity
    severity = entry_of(got, 0.0).severity
    assert (severity, type(severity)) == (INFO, int)


# Code of schema classes


def _fails(_message: Message) -> NoReturn:
    raise LookupError("a schema class is wrong")


class _Unprintable:
    def __str__(self) -> str:
        raise LookupError("and this object, too")


def _begins_well(_message: Message) -> Iterator[str]:
    yield "first"
    raise LookupError("an iteration fails")


@pytest.mark.parametrize(
    "attributes",
    [
        {name: property(_fails) for name in ("summary", "app_name", "agent_name", "usernames", "packages")},
        {"usernames": property(_begins_well), "packages": property(_begins_well)},
        {"usernames": [_Unprintable()], "packages": [_Unprintable()]},
        {name: _Unprintable() for name in ("summary", "app_name", "agent_name")},
        dict.fromkeys(("summary", "app_name", "agent_name", "usernames", "packages")),
        dict.fromkeys(("summary", "app_name", "agent_name", "usernames", "packages"), 5),
        {"usernames": "jdoe", "packages": {"kernel": 1}},
        {"usernames": [None, 5, ["x"]], "packages": iter(())},
    ],
    ids=["raise", "raise late", "elements", "objects", "None", "numbers", "other kinds", "mixed"],
)
def test_class_whose_attributes_are_wrong_loses_nothing(attributes: dict[str, Any]) -> None:
    kind = type("Wrong", (Message,), attributes)
    kept = entry_of(message({"text": "kernel"}, kind=kind), 0.0)
    assert json.loads(kept.record)["body"] == {"text": "kernel"}
    assert kept.sent == NOON
    assert "kernel" in kept.words.split()
    assert kept.words == words_again(kept)


def test_names_are_few_and_short() -> None:
    """PostgreSQL's indexes take some 2700 bytes; a longer name would keep its message out for good."""
    long = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=10_000))
    kept = entry_of(message({"users": [f"u{n}" for n in range(5000)], "packages": [long, "é" * 3000]}), 0.0)
    assert kept.users == tuple(f"u{n}" for n in range(200))
    assert all(len(name.encode()) <= 2600 for name in kept.packages)


# Words


def bodies() -> st.SearchStrategy[Any]:
    text = (
        st.text(max_size=30)
        | st.text(st.characters(), max_size=8)
        | st.sampled_from([BAD, "\ud835", "\udc00"])
    )
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | text
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=12,
    )


@given(st.dictionaries(st.text(max_size=5), bodies(), max_size=5), st.text(max_size=40), st.text(max_size=20))
@SETTINGS
@example({"z": "last", "a": "first"}, "", "")
@example({"a": "\ud835\udc00"}, "", "")
@example({"a": "x"}, "word " * 300, "")
@example({"a": "x"}, "w" * 1500, "")
@example({"a": "x"}, "a\x00b" * 400, "t\x00\ud800.u")
@example({"a": ["x y " * 20_000], "A": "z"}, "", "")
@example({"z": "one " * 9000, "a": "two " * 9000}, "", "")
@example({"z": "1" * 300_000, "a": "two " * 70_000}, "", "")
def test_a_stored_message_is_forgotten_by_the_words_it_was_found_by(
    body: dict[str, Any], summary: str, topic: str
) -> None:
    """SQLite's index must be told the words of what it forgets; other words would spoil it."""
    kept = entry_of(message({**body, "summary": summary}, topic=topic), 0.0)
    assert kept.words == words_again(kept)


@given(st.text())
@SETTINGS
@example("İstanbul ǅ ẞ ﬁ")
@example("x" * 1000)
@example("\x00\ud800")
def test_words_are_letters_and_digits(text: str) -> None:
    for word in words_in(text):
        assert word.isalnum()
        assert 0 < len(word) <= LONGEST_WORD
        # The longest word can be searched for.
        assert words_in(word) == [word]


@pytest.mark.parametrize("letters", ["abcdefghij", "абвгдежзик", "一丁七万丈三上下不与", "𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱"])
@pytest.mark.parametrize("length", [5, 30, 255])
def test_words_of_a_huge_body_are_bounded(letters: str, length: int) -> None:
    """PostgreSQL takes one megabyte, with some bytes for each word, and has 16383 places."""
    chosen = random.Random(2)
    text = " ".join("".join(chosen.choices(letters, k=length)) for _ in range(1_500_000 // length))
    kept = entry_of(message({"text": text, "z": "end"}), 0.0)
    words = kept.words.split()
    assert len(words) <= 16_383
    assert sum(len(word.encode()) + 6 for word in {*words}) < 1 << 20
    assert len(words) > 500
    assert kept.words == words_again(kept)
    assert json.loads(kept.record)["body"]["text"] == text


# Deliveries that are no messages


def test_unreadable_delivery() -> None:
    properties = BasicProperties(
        headers={
            "sent-at": "2025-11-30T12:00:00+00:00",
            "at": datetime(2025, 1, 1, tzinfo=UTC),
            "raw": b"\xff",
        },
        message_id="its-id",
        priority=3,
    )
    kept = unreadable_entry("a.b", "archive", properties, b"\x00{", "the body is no JSON object", 5.0)
    assert (kept.id, kept.topic, kept.sent, kept.severity) == ("its-id", "a.b", NOON, INFO)
    assert kept.summary == "This is no message: the body is no JSON object"
    record = json.loads(kept.record)
    assert base64.b64decode(record["body_base64"]) == b"\x00{"
    assert (record["queue"], record["priority"], record["unreadable"]) == (
        "archive",
        3,
        "the body is no JSON object",
    )
    assert record["headers"]["at"] == "2025-01-01T00:00:00+00:00"
    # Nobody can take it for a message and publish it.
    assert record["body"] is None
    assert kept.words == words_again(kept)
    assert kept.words.split()[:2] == ["a", "b"]


def test_unreadable_delivery_without_anything() -> None:
    first, again, other = (
        unreadable_entry("", None, BasicProperties(), body, "x", now)
        for body, now in ((b"", 1.0), (b"", 2.0), (b"o", 1.0))
    )
    assert first.id == again.id != other.id
    assert (first.sent, first.topic) == (1.0, "")


@given(st.binary(max_size=50), st.text(max_size=20), st.text(max_size=20), st.text(max_size=30))
@SETTINGS
def test_any_delivery_can_be_kept(body: bytes, topic: str, id: str, reason: str) -> None:
    properties = BasicProperties(message_id=id, headers={id: {topic: [reason, body, 1.5, None]}})
    kept = unreadable_entry(topic, None, properties, body, reason, 0.0)
    assert all(is_fit(text) for text in columns(kept)), kept
    assert kept.words == words_again(kept)
    assert base64.b64decode(json.loads(kept.record)["body_base64"]) == body


def test_summary_is_cut() -> None:
    kept = entry_of(message({"summary": "word " * 1000}, kind=Told), 0.0)
    assert 100 < len(kept.summary) <= 1000
