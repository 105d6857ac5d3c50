"""What is wrong with a table of settings, and how it is written right."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from fedora_messaging.settings.complaints import (
    complaints,
    did_you_mean,
    example,
    expected,
    in_toml,
    table_type,
)
from fedora_messaging.settings.types import Binding, Configuration, DeadLetter, Monitoring, Queue, Retry

if TYPE_CHECKING:
    from msgspec.structs import FieldInfo


class Inner(Struct, kw_only=True, forbid_unknown_fields=True):
    """A table in another one."""

    needed: Annotated[str, Meta(examples=["x"])]
    number: Annotated[int, Meta(ge=0, le=9)] = 5


class Outer(Struct, kw_only=True):
    """A table of tables, that takes any other key."""

    ratio: Annotated[float, Meta(ge=0.5, le=2)] = 1.0
    names: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["a"])
    several: list[Inner] = []
    named: dict[str, Inner] = {}
    one: Inner | None = None
    any_number: float = 0
    any_whole: int | None = None
    password_hash: str = ""
    either: Annotated[bool | str | None, Meta(examples=["yes"])] = None
    free: dict[str, Any] = {}


def field(kind: type[Struct], name: str) -> FieldInfo:
    [found] = [one for one in msgspec.structs.fields(kind) if one.encode_name == name]
    return found


def told(table: object, kind: type[Struct] = Outer, where: str = "") -> list[str]:
    return list(complaints(table, kind, where))


# Hints


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("delai", "; did you mean delay?"),
        ("DELAY", "; did you mean delay?"),
        ("max-delay", "; did you mean max_delay?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_hint_for_a_key(key: str, hint: str) -> None:
    assert did_you_mean(key, ["attempts", "delay", "max_delay"]) == hint


def test_no_hint_without_known_keys() -> None:
    assert did_you_mean("delay", []) == ""


# TOML


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (5, "5"),
        (-1.5, "-1.5"),
        ("żółw", '"żółw"'),
        ('a"b\\c\n', '"a\\"b\\\\c\\n"'),
        ([], "[]"),
        (("a", 1), '["a", 1]'),
        ({}, "{}"),
        ({"a": {"b c": [True]}}, '{a = {"b c" = [true]}}'),
        (date(2020, 1, 31), "2020-01-31"),
        (float("inf"), "inf"),
    ],
)
def test_value_in_toml(value: object, text: str) -> None:
    assert in_toml(value) == text


PRINTABLE = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t\r\x1b"), max_size=8
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_toml_says_the_same(value: Any) -> None:
    assert tomllib.loads(f"x = {in_toml(value)}")["x"] == value


# What a setting is


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (Retry, "attempts", "a whole number from 1 to 1000000"),
        (Retry, "delay", "a number from 0.001 to 4000000"),
        (Retry, "on", "a list of texts"),
        (DeadLetter, "queue", "text that is not empty"),
        (Queue, "durable", "true or false"),
        (Queue, "arguments", "a table"),
        (Configuration, "callback", "text"),
        (Configuration, "amqp_url", "text or a list of texts that is not empty"),
        (Configuration, "bindings", "a list of tables"),
        (Configuration, "consumer", "a table"),
        (Outer, "ratio", "a number from 0.5 to 2"),
        (Outer, "any_number", "a number"),
        (Outer, "any_whole", "a whole number"),
        (Outer, "either", "true or false or text"),
    ],
)
def test_what_a_setting_must_be(kind: type[Struct], name: str, text: str) -> None:
    assert expected(field(kind, name)) == text


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (Retry, "attempts", "attempts = 5"),
        (Monitoring, "port", "port = 9100"),
        (Queue, "durable", None),
        (Queue, "arguments", 'arguments = {x-queue-type = "quorum"}'),
        (Binding, "routing_keys", 'routing_keys = ["org.fedoraproject.#"]'),
        (Configuration, "consumer", None),
        (Outer, "either", 'either = "yes"'),
    ],
)
def test_example_of_a_setting(kind: type[Struct], name: str, text: str | None) -> None:
    assert example(field(kind, name)) == text


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        (Configuration, "queues", (Queue, True)),
        (Configuration, "bindings", (Binding, True)),
        (Configuration, "monitoring", (Monitoring, False)),
        (Configuration, "client_properties", None),
        (Configuration, "amqp_url", None),
        (Configuration, "topic_prefix", None),
        (Outer, "one", (Inner, False)),
    ],
)
def test_type_of_a_table(kind: type[Struct], name: str, found: tuple[type[Struct], bool] | None) -> None:
    assert table_type(field(kind, name)) == found


# Complaints


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"anything": object()},
        {"ratio": 1, "several": [{"needed": ""}], "named": {"a": {"needed": "", "number": 9}}},
        {"one": {"needed": ""}, "either": False, "free": {"a": [1]}},
    ],
)
def test_nothing_is_wrong(table: dict[str, Any]) -> None:
    assert told(table) == []


def test_table_that_is_none() -> None:
    assert told("secret", where="outer") == ['"outer" must be a table, but is text; write it as [outer]']
    assert told([], where='a."b\x1b"') == [
        '"a."b\\x1b"" must be a table, but is an empty list; write it as [a."b\\x1b"]'
    ]


def test_everything_that_is_wrong_is_told() -> None:
    """In the order of the settings, and the inner table before the setting that holds it."""
    assert told({"names": [], "ratio": 3, "one": {"nedeed": "x", "number": 10}}) == [
        '"ratio" must be a number from 0.5 to 2, but is 3; write, for example, ratio = 1.0',
        '"names" must be a list of texts that is not empty, but is an empty list',
        "[one] does not know nedeed; it knows needed, number; did you mean needed?",
        '[one] lacks needed; write, for example, needed = "x"',
        '"number" in [one] must be a whole number from 0 to 9, but is 10; write, for example, number = 5',
        '"one" must be a table, but is a table; write it as [one]',
    ]


def test_tables_in_tables_are_told_by_number_and_name() -> None:
    several = told({"several": [{"needed": "x"}, {}]})
    assert several[0] == '[several, number 2] lacks needed; write, for example, needed = "x"'
    named = told({"named": {"a": {"needed": "x"}, "b.c": 5}}, where="outer")
    assert named[0] == ('"outer.named."b.c"" must be a table, but is 5; write it as [outer.named."b.c"]')


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (2.5, "2.5"),
        ("", "empty text"),
        ("canary", "text"),
        ({"canary": 1}, "a table"),
        (["canary"], "another list"),
        (None, "a NoneType"),
        (b"canary", "a bytes"),
    ],
)
def test_texts_are_not_shown(value: object, shown: str) -> None:
    [line] = told({"needed": "x", "number": value}, Inner, "one")
    assert line == (
        f'"number" in [one] must be a whole number from 0 to 9, but is {shown}; '
        "write, for example, number = 5"
    )


def test_number_in_place_of_a_password_is_not_shown() -> None:
    """It may be the password without its quotes."""
    assert told({"password_hash": 20261129, "any_whole": 1.5}) == [
        '"any_whole" must be a whole number, but is 1.5',
        '"password_hash" must be text, but is a number; write, for example, password_hash = ""',
    ]
