"""Documentation made from the types of the configuration: descriptions, and the JSON Schema for editors."""

import inspect
import re
from typing import Any

import msgspec

from .types import Configuration

_ATTRIBUTE = re.compile(r"(\w+): (.*)")


def described(kind: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """Return the description of a type and those of its attributes, from its docstring."""
    text, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        match = _ATTRIBUTE.fullmatch(line.strip())
        if match and line.startswith("    ") and not line.startswith("     "):
            name = match[1]
            found[name] = match[2]
        else:
            found[name] += f" {line.strip()}"
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text), found


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of ``config.toml``."""
    schema = msgspec.json.schema(Configuration)
    definitions: dict[str, Any] = schema.pop("$defs")
    for kind in TYPES:
        definition = definitions[kind.__name__]
        definition["description"], attributes = described(kind)
        for name, text in attributes.items():
            # Since draft 2019-09, keywords beside a reference are no longer ignored.
            definition["properties"][name]["description"] = text
    top = definitions.pop(Configuration.__name__)
    top["title"] = "Configuration of fedora-messaging"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": definitions}


def _types() -> list[type[msgspec.Struct]]:
    """Return all types of tables, each before those that it contains."""
    found: list[type[msgspec.Struct]] = []

    def walk(kind: msgspec.inspect.Type) -> None:
        if isinstance(kind, msgspec.inspect.Metadata):
            walk(kind.type)
        elif isinstance(kind, msgspec.inspect.UnionType):
            for one in kind.types:
                walk(one)
        elif isinstance(kind, msgspec.inspect.DictType):
            walk(kind.value_type)
        elif isinstance(kind, msgspec.inspect.ListType):
            walk(kind.item_type)
        elif isinstance(kind, msgspec.inspect.StructType) and kind.cls not in found:
            found.append(kind.cls)
            for field in kind.fields:
                walk(field.type)

    walk(msgspec.inspect.type_info(Configuration))
    return found


#: All types of tables, each before those that it contains.
TYPES = _types()
