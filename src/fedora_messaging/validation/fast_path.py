"""Finds JSON Schemas for which jsonschema-rs and jsonschema certainly agree.

The two validators differ at the edges of the language: in regular expressions (Rust's and Python's), in
arithmetic (``multipleOf``), and in the mistakes of a schema that they notice. A schema that uses only the
keywords below, each with a proper value, avoids these edges. Nearly all message schemas are of this kind.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_DRAFTS: Final = frozenset(
    {
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/draft-04/schema",
        "http://json-schema.org/draft-06/schema#",
        "http://json-schema.org/draft-07/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)
_DEFINITIONS: Final = ("definitions", "$defs")
_ROOT_KEYWORDS: Final = frozenset({"id", "$id", *_DEFINITIONS})
_BESIDE_REFERENCE: Final = frozenset({"$ref", "description", "title"})
#: Schemas that nest deeper than this are left to jsonschema.
_MAX_DEPTH: Final = 32


def is_supported(schema: Any) -> bool:
    """Return whether both validators give the same verdict on every JSON value."""
    if type(schema) is not dict:
        return False
    # Only the root may have a name, and definitions that references point to.
    rest = {keyword: value for keyword, value in schema.items() if keyword not in _ROOT_KEYWORDS}
    definitions: set[str] = set()
    for keyword in _DEFINITIONS:
        table = schema.get(keyword, {})
        if not _is_schema_table(table, 1) or any("$ref" in target for target in table.values()):
            return False
        definitions |= {f"#/{keyword}/{name}" for name in table}
    if not all(type(schema.get(keyword, "")) is str for keyword in ("id", "$id")):
        return False
    return _is_schema(rest, 0) and _references(schema) <= definitions


def _references(schema: Any) -> set[str]:
    """Return the targets of all references in a schema whose keywords have passed the checks."""
    found: set[str] = set()
    pending = [schema]
    while pending:
        value = pending.pop()
        if type(value) is dict:
            if type(value.get("$ref")) is str:
                found.add(value["$ref"])
            pending.extend(value.values())
        elif type(value) is list:
            pending.extend(value)
    return found


def _is_schema(schema: Any, depth: int) -> bool:
    if type(schema) is not dict or depth > _MAX_DEPTH:
        return False
    # Only some drafts heed keywords beside a reference.
    if "$ref" in schema and not schema.keys() <= _BESIDE_REFERENCE:
        return False
    for keyword, value in schema.items():
        check = _KEYWORDS.get(keyword)
        if check is None or not check(value, depth + 1):
            return False
    return True


def _is_text(value: Any, _depth: int) -> bool:
    return type(value) is str


def _is_anything(_value: Any, _depth: int) -> bool:
    return True


def _is_boolean(value: Any, _depth: int) -> bool:
    return type(value) is bool


def _is_count(value: Any, _depth: int) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_schema_list(value: Any, depth: int) -> bool:
    return type(value) is list and bool(value) and all(_is_schema(schema, depth) for schema in value)


def _is_whole_number(value: Any, _depth: int) -> bool:
    return type(value) is int and abs(value) < 2**53


def _is_draft(value: Any, _depth: int) -> bool:
    return value in _DRAFTS if type(value) is str else False


def _is_type(value: Any, _depth: int) -> bool:
    if type(value) is str:
        return value in _TYPES
    names = type(value) is list and value and all(type(name) is str and name in _TYPES for name in value)
    return bool(names) and len(set(value)) == len(value)


def _is_enum(value: Any, _depth: int) -> bool:
    # The validators may differ on equality of numbers, booleans and nested values.
    if type(value) is not list or not value:
        return False
    plain = all(item is None or type(item) is str or _is_whole_number(item, 0) for item in value)
    return plain and len(set(value)) == len(value)


def _is_names(value: Any, _depth: int) -> bool:
    texts = type(value) is list and value and all(type(name) is str for name in value)
    return bool(texts) and len(set(value)) == len(value)


def _is_schema_table(value: Any, depth: int) -> bool:
    return type(value) is dict and all(
        type(name) is str and _is_schema(schema, depth) for name, schema in value.items()
    )


def _is_schema_or_boolean(value: Any, depth: int) -> bool:
    return type(value) is bool or _is_schema(value, depth)


_KEYWORDS: Final[Mapping[str, Callable[[Any, int], bool]]] = {
    "$schema": _is_draft,
    "$ref": _is_text,
    "additionalItems": _is_boolean,
    "additionalProperties": _is_schema_or_boolean,
    "allOf": _is_schema_list,
    "anyOf": _is_schema_list,
    "default": _is_anything,
    "description": _is_text,
    "enum": _is_enum,
    "format": _is_text,
    "items": _is_schema,
    "maxItems": _is_count,
    "maxLength": _is_count,
    "minItems": _is_count,
    "minLength": _is_count,
    "oneOf": _is_schema_list,
    "properties": _is_schema_table,
    "required": _is_names,
    "title": _is_text,
    "type": _is_type,
    "uniqueItems": _is_boolean,
}
