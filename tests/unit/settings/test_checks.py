"""A table of settings becomes an object of its type, or an error that says how it is written right."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.settings.checks import typed


class Part(Struct, kw_only=True):
    """A table inside of another."""

    name: str


class Table(Struct, kw_only=True, forbid_unknown_fields=True):
    """A table."""

    size: Annotated[int, Meta(ge=1, le=9, examples=[3])]
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    parts: list[Part] = []


def test_table_as_an_object() -> None:
    table = typed({"size": 3, "parts": [{"name": "a", "more": 1}]}, Table, "table")
    assert table == Table(size=3, parts=[Part(name="a")])
    assert (table.ratio, type(table.parts[0])) == (0.5, Part)


def test_whole_number_where_a_fraction_may_be() -> None:
    ratio = typed({"size": 1, "ratio": 1}, Table).ratio
    assert (ratio, type(ratio)) == (1.0, float)


def test_table_that_a_program_passes_is_left_as_it_is() -> None:
    given = {"size": 3, "parts": [{"name": "a"}]}
    typed(given, Table).parts.append(Part(name="b"))
    assert given == {"size": 3, "parts": [{"name": "a"}]}


@pytest.mark.parametrize(
    ("table", "where", "message"),
    [
        (
            {"size": 10},
            "table",
            '"size" in [table] must be a whole number from 1 to 9, but is 10; write, for example, size = 3',
        ),
        # Without a name it is the whole file.
        (
            {"size": 0},
            "",
            '"size" must be a whole number from 1 to 9, but is 0; write, for example, size = 3',
        ),
        ({}, "a.b", "[a.b] lacks size; write, for example, size = 3"),
        (
            {"size": 1, "sise": 2},
            "table",
            "[table] does not know sise; it knows parts, ratio, size; did you mean size?",
        ),
        ({"size": 1, "parts": [{"name": "a"}, {}]}, "t", "[t.parts, number 2] lacks name"),
        ("canary", "table", '"table" must be a table, but is text; write it as [table]'),
        (None, "table", '"table" must be a table, but is a NoneType; write it as [table]'),
    ],
)
def test_what_is_wrong_is_told(table: object, where: str, message: str) -> None:
    with pytest.raises(ConfigurationException) as caught:
        typed(table, Table, where)
    assert caught.value.message.startswith(message)
    # The reader gets one error, not that of the library that found it, too.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_first_of_several_mistakes_is_told() -> None:
    with pytest.raises(ConfigurationException, match=r"does not know zize") as caught:
        typed({"zize": 1, "ratio": 5}, Table, "table")
    assert "ratio" not in caught.value.message.partition(";")[0]


def test_mistake_that_nobody_describes_is_told_as_msgspec_tells_it() -> None:
    """Such as that of a check that a type makes itself."""

    class Checked(Struct):
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(ConfigurationException) as caught:
        typed({"low": 2, "high": 1}, Checked, "range")
    assert caught.value.message == "low is above high"


def test_mapping_that_is_no_dictionary() -> None:
    """The library's own callers pass dictionaries; msgspec takes any mapping."""
    assert typed(MappingProxyType({"size": 3}), Table).size == 3
