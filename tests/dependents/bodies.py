"""Bodies that satisfy a JSON Schema, made from the schema alone."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from jsonschema.validators import validator_for
from referencing import Registry
from referencing.jsonschema import specification_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from referencing._core import Resolver

_DRAFT_4 = "http://json-schema.org/draft-04/schema#"


class Style(Enum):
    """Which of the bodies that a schema allows."""

    #: Every property, one item in each array, null nowhere.
    FULL = "full"
    #: Required properties only, arrays empty, null where it is allowed.
    SPARSE = "sparse"


def body_for(schema: Mapping[str, Any], style: Style) -> Any:
    """Make a value that satisfies the schema; scalars in it differ from each other."""
    return _Builder(schema, style).body()


class _Builder:
    def __init__(self, schema: Mapping[str, Any], style: Style) -> None:
        self._schema = schema
        self._style = style
        self._numbers = count(1)
        # References that are being followed: a recursive schema ends at its second turn.
        self._open: list[str] = []
        self._validator = validator_for(schema)(schema)
        specification = specification_with(schema.get("$schema", _DRAFT_4))
        resource = specification.create_resource(schema)
        self._resolver: Resolver[Any] = Registry().resolver_with_root(resource)

    def body(self) -> Any:
        return self._build(self._schema, "body")

    def _build(self, schema: Mapping[str, Any], name: str) -> Any:
        if "$ref" in schema:
            return self._follow(schema["$ref"], name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            # Some enumerate values that their own type excludes.
            judge = self._validator.evolve(schema=schema)
            return self._prefer([value for value in schema["enum"] if judge.is_valid(value)])
        for combinator in ("oneOf", "anyOf"):
            if combinator in schema:
                return self._choose(schema, combinator, name)
        return self._of_type(schema, name)

    def _follow(self, reference: str, name: str) -> Any:
        self._open.append(reference)
        try:
            return self._build(self._resolver.lookup(reference).contents, name)
        finally:
            self._open.pop()

    @property
    def _is_full(self) -> bool:
        return self._style is Style.FULL and len(self._open) == len({*self._open})

    def _prefer(self, values: Sequence[Any]) -> Any:
        """The first one that is null, or is not, as the style wants it."""
        return min(values, key=lambda value: (value in (None, "null")) is self._is_full)

    def _choose(self, schema: Mapping[str, Any], combinator: str, name: str) -> Any:
        """What the first possible branch allows, along with what stands beside the branches."""
        rest = {key: value for key, value in schema.items() if key != combinator}
        branches = sorted(schema[combinator], key=lambda one: (one.get("type") == "null") is self._is_full)
        for branch in branches:
            properties = {**rest.get("properties", {}), **branch.get("properties", {})}
            required = [*rest.get("required", []), *branch.get("required", [])]
            merged = {**rest, **branch}
            if properties:
                merged |= {"properties": properties, "required": required}
            value = self._build(merged, name)
            if self._validator.evolve(schema=schema).is_valid(value):
                return value
        raise AssertionError(f"no branch of {combinator} can be satisfied: {schema}")

    def _of_type(self, schema: Mapping[str, Any], name: str) -> Any:
        match self._type(schema):
            case "object":
                return {key: self._build(value, key) for key, value in self._members(schema)}
            case "array":
                return self._items(schema, name)
            case "string":
                return self._text(schema, name)
            case "integer":
                return next(self._numbers)
            case "number":
                return next(self._numbers) + 0.5
            case "boolean":
                return self._is_full
            case _:
                return None

    def _type(self, schema: Mapping[str, Any]) -> str:
        implied = "object" if "properties" in schema else "array" if "items" in schema else "string"
        found = schema.get("type", implied)
        chosen: str = found if isinstance(found, str) else self._prefer(found)
        return chosen

    def _members(self, schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        wanted = {*properties, *required} if self._is_full else {*required}
        for key in sorted(wanted):
            yield key, properties.get(key, {})

    def _items(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        items = schema.get("items", {})
        if isinstance(items, list):
            return [self._build(item, name) for item in items]
        contained = [self._build(schema["contains"], name)] if "contains" in schema else []
        wanted = max(schema.get("minItems", 0), self._is_full)
        return contained + [self._build(items, name) for _ in range(wanted - len(contained))]

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        number = next(self._numbers)
        match schema.get("format"):
            case "uri":
                return f"https://example.org/{name}/{number}"
            case "date-time":
                return f"2026-01-01T00:00:00.{number:06}Z"
            case _:
                # As names of people are: not all of it ASCII.
                return f"{name}-é{number}"
