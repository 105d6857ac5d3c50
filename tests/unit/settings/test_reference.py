"""What docstrings of the settings say, and the JSON Schema that is made of it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from msgspec import Struct

from fedora_messaging.settings.reference import TYPES, described, json_schema
from fedora_messaging.settings.types import Configuration, Consumer, Retry


class Described(Struct):
    """The first line.

    A second paragraph
    of two lines.

    Attributes:
        plain: One line.
        long_one: Two lines: the second
            is indented.
        last: The end.
    """

    plain: int
    long_one: int
    last: int


class Bare(Struct):
    """Only a text."""


class Silent(Struct):
    pass


def test_docstring_is_taken_apart() -> None:
    assert described(Described) == (
        "The first line.\n\nA second paragraph of two lines.",
        {"plain": "One line.", "long_one": "Two lines: the second is indented.", "last": "The end."},
    )


def test_docstring_without_attributes() -> None:
    assert described(Bare) == ("Only a text.", {})


def test_type_without_a_docstring() -> None:
    assert described(Silent) == ("", {})


def test_types_are_listed_once_and_the_outer_first() -> None:
    names = [kind.__name__ for kind in TYPES]
    assert names[0] == "Configuration"
    assert len(set(names)) == len(names) == 12
    assert names.index("Consumer") < min(names.index(one) for one in ("Retry", "DeadLetter", "Dedupe"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def test_schema_describes_everything(schema: dict[str, Any]) -> None:
    assert schema["title"] == "Configuration of fedora-messaging"
    assert set(schema["$defs"]) == {kind.__name__ for kind in TYPES} - {"Configuration"}
    for definition in (schema, *schema["$defs"].values()):
        assert definition["description"]
        assert all(one["description"] for one in definition["properties"].values())
    attempts = schema["$defs"]["Retry"]["properties"]["attempts"]
    assert attempts["description"] == described(Retry)[1]["attempts"]
    # Beside a reference, too.
    assert schema["properties"]["consumer"]["description"] == described(Configuration)[1]["consumer"]
    assert set(schema["$defs"]["Consumer"]["properties"]) == set(Consumer.__struct_fields__)


@pytest.mark.parametrize(
    ("table", "valid"),
    [
        ({}, True),
        ({"amqp_url": ["amqp://a", "amqp://b"]}, True),
        ({"amqp_url": []}, False),
        (
            {"queues": {"q": {"durable": True, "auto_delete": False, "exclusive": False, "arguments": {}}}},
            True,
        ),
        ({"queues": {"q": {"durable": True}}}, False),
        ({"consumer": {"retry": {"attempts": 0}}}, False),
        ({"consumer": {"retry": {"attempt": 1}}}, False),
        ({"qos": {"prefetch_count": 65536}}, False),
        ({"qos": {"own": 1}}, True),
        ({"publish_priority": 255}, True),
        ({"publish_priority": 256}, False),
    ],
)
def test_schema_has_the_types_and_ranges(schema: dict[str, Any], table: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(schema).is_valid(table) is valid
