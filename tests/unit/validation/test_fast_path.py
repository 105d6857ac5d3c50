"""Which schemas are plain enough for a second validator.

That both validators give the same verdict on those is tested in ``test_validator.py``.
"""

from __future__ import annotations

import enum
from typing import Any

import pytest

from fedora_messaging.validation.fast_path import is_supported

DRAFT_4 = "http://json-schema.org/draft-04/schema#"


class Text(str):
    """Equal to a text, and none."""


class Number(enum.IntEnum):
    """Equal to an integer, and none."""

    ONE = 1


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": DRAFT_4, "id": "urn:x", "title": "t", "description": "d", "default": object()},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:x"},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a", "b"]},
        {"additionalProperties": False, "additionalItems": True, "uniqueItems": True},
        {"additionalProperties": {"type": "integer"}},
        {"allOf": [{}], "anyOf": [{"type": "null"}], "oneOf": [{}, {}]},
        {"minLength": 0, "maxLength": 2**31 - 1, "minItems": 1, "maxItems": 5, "format": "date"},
        {"enum": ["a", None, 5, 2**53 - 1]},
        {"definitions": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a"}}},
        {"$defs": {"a": {}}, "items": {"$ref": "#/$defs/a", "title": "t", "description": "d"}},
        nested(32),
    ],
)
def test_plain_schemas(schema: Any) -> None:
    assert is_supported(schema)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        None,
        [],
        {"pattern": "^a$"},
        {"patternProperties": {}},
        {"multipleOf": 0.1},
        {"minimum": 1},
        {"not": {}},
        {"const": 1},
        {"unknown": 1},
        # Values that are not as they should be, some of which Python takes for such.
        {"type": "text"},
        {"type": []},
        {"type": ["string", "string"]},
        {"type": ["string", 5]},
        {"type": Text("string")},
        {"title": None},
        {"uniqueItems": 1},
        {"minLength": True},
        {"minLength": 1.0},
        {"minLength": -1},
        {"maxItems": 2**31},
        {"maxItems": Number.ONE},
        {"required": []},
        {"required": "a"},
        {"required": ["a", "a"]},
        {"required": [5]},
        {"allOf": []},
        {"anyOf": [True]},
        {"oneOf": {}},
        {"items": [{}]},
        {"items": True},
        {"properties": [("a", {})]},
        {"properties": {5: {}}},
        {"properties": {"a": True}},
        {"additionalProperties": None},
        {"additionalItems": {}},
        {"enum": []},
        {"enum": [1, 1]},
        {"enum": [True]},
        {"enum": [1.0]},
        {"enum": [2**53]},
        {"enum": [{}]},
        {"$schema": "http://json-schema.org/draft-03/schema#"},
        {"$schema": 5},
        {"id": 5},
        {"properties": {"a": {"id": "urn:x"}}},
        {"properties": {"a": {"definitions": {}}}},
        # References that lead elsewhere, or that something stands beside.
        {"$ref": "#"},
        {"$ref": 5},
        {"items": {"$ref": "#/definitions/missing"}},
        {"items": {"$ref": "http://example.org/"}},
        {"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {}}},
        {"definitions": {"a": {}}, "items": {"$ref": "#/definitions/a", "type": "string"}},
        {"definitions": {"a": {"pattern": "a"}}},
        {"definitions": []},
        {"$defs": {"a": True}},
        nested(33),
    ],
)
def test_schemas_with_edges(schema: Any) -> None:
    assert not is_supported(schema)


@pytest.mark.parametrize("schema", [nested(100_000), {"default": nested(100_000)}])
def test_depth_is_no_crash(schema: Any) -> None:
    assert is_supported(schema) is ("default" in schema)
