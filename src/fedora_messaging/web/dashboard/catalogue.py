"""The installed schemas: fields, examples, and an AsyncAPI document."""

import inspect
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ...message import Message, get_class, schema_names

#: How deep the copy of a schema goes.
_DEEPEST_JSON: Final = 50
#: How deep an example goes, and a table of fields.
_DEEPEST: Final = 12
#: Most fields of a table, and most parts of an example: schemas may contain themselves several times.
_MOST: Final = 1000
_PLAIN: Final[dict[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "null": None,
}
_CLASSES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}
_VERSION: Final = re.compile(r"(.*?)[._]?v(\d+)")


class Field(NamedTuple):
    """A field of a message's body.

    Attributes:
        path: Its name, with those around it: ``build.nvr``; ``[]`` is each element of a list.
        type: What its value may be.
        is_required: Whether it must be there.
        description: What it is.
    """

    path: str
    type: str
    is_required: bool
    description: str


class SchemaEntry(NamedTuple):
    """A schema in the catalogue.

    Attributes:
        name: Its name on the bus.
        cls: Its class.
        package: The distribution that has it, or the module.
        family: Its name without the version, for those that have one.
        version: The version; 0 if its name has none.
    """

    name: str
    cls: type[Message]
    package: str
    family: str
    version: int

    @property
    def topic(self) -> str:
        """The topic of the class, or an empty text."""
        topic = _as_json(self._told("topic"))
        return topic if isinstance(topic, str) else ""

    @property
    def body_schema(self) -> dict[str, Any]:
        """The schema of the body, as JSON can hold it."""
        found = _as_json(self._told("body_schema"))
        return found if isinstance(found, dict) else {}

    @property
    def deprecated(self) -> bool:
        """Whether the class says that it should not be used any more."""
        return self._told("deprecated") is True

    @property
    def summary(self) -> str:
        """What the class says of itself."""
        schema = self._told("body_schema")
        text = schema.get("description") if isinstance(schema, dict) else None
        if not isinstance(text, str):
            text = (inspect.getdoc(self.cls) or "").partition("\n")[0]
        return str(_as_json(text))

    def _told(self, name: str) -> Any:
        try:
            return getattr(self.cls, name)
        except Exception:  # the code of a schema package may raise anything
            return None


def entries() -> list[SchemaEntry]:
    """Return the catalogue, in the order of names; without what packages register by mistake."""
    return [entry for name in schema_names() if (entry := _entry(name)) is not None]


def find(name: str) -> SchemaEntry | None:
    """Return the entry with a name, if there is one."""
    return _entry(name) if name in schema_names() else None


def _entry(name: str) -> SchemaEntry | None:
    cls: object = get_class(name)
    if not (isinstance(cls, type) and issubclass(cls, Message)):
        return None
    matched = _VERSION.fullmatch(name)
    family, version = (matched[1], int(matched[2])) if matched else (name, 0)
    return SchemaEntry(name, cls, cls.__module__.partition(".")[0], family, version)


def _as_json(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Return a copy that is JSON in UTF-8, whatever a package has put into its schema.

    Args:
        value: What to copy.
        inside: The objects around it, by `id`: what contains itself is cut where it begins again.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if not isinstance(value, dict | list | tuple) or id(value) in inside or len(inside) > _DEEPEST_JSON:
        return type(value).__name__
    around = (*inside, id(value))
    if isinstance(value, dict):
        return {_as_json(str(name)): _as_json(part, around) for name, part in value.items()}
    return [_as_json(part, around) for part in value]


def fields(schema: Any, definitions: Any = None) -> list[Field]:
    """Return the fields that a schema describes, as a flat list."""
    found: list[Field] = []
    root = definitions if definitions is not None else schema
    _collect(schema, root, "", found, 0)
    return found


def _collect(schema: Any, root: Any, path: str, found: list[Field], depth: int) -> None:
    schema = _resolved(schema, root)
    if depth > _DEEPEST or not isinstance(schema, dict):
        return
    named = schema.get("required")
    required = named if isinstance(named, list) else []
    properties = schema.get("properties")
    for name, part in (properties if isinstance(properties, dict) else {}).items():
        if len(found) >= _MOST:
            return
        here = f"{path}.{name}" if path else str(name)
        resolved = _resolved(part, root)
        shown = resolved if isinstance(resolved, dict) else {}
        found.append(Field(here, type_of(shown), name in required, str(shown.get("description", ""))))
        _collect(resolved, root, here, found, depth + 1)
    if isinstance(schema.get("items"), dict):
        _collect(schema["items"], root, f"{path}[]", found, depth + 1)


def type_of(schema: dict[str, Any]) -> str:
    """Return what a value may be, for people."""
    if isinstance(schema.get("enum"), list):
        return "one of " + ", ".join(
            value if isinstance(value, str) else json.dumps(value) for value in schema["enum"][:8]
        )
    kinds = schema.get("type", "")
    text = " or ".join(str(kind) for kind in kinds) if isinstance(kinds, list) else str(kinds)
    if not text:
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list):
                parts = [type_of(part) for part in schema[word] if isinstance(part, dict)]
                return " or ".join(dict.fromkeys(part for part in parts if part))
    return f"{text}, {schema['format']}" if "format" in schema else text


def _resolved(schema: Any, root: Any) -> Any:
    """Follow a reference within the document; any other one is left as it is."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        target: Any = root
        for part in reference.lstrip("#/").split("/") if reference != "#" else ():
            target = (
                target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
            )
        schema = target
    return {}


def example(schema: Any) -> Any:
    """Return a value that fits the shape of a schema; patterns and formats may need another one."""
    return _example(schema, schema, 0, itertools.count())


def _example(schema: Any, root: Any, depth: int, parts: Iterator[int]) -> Any:
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or depth > _DEEPEST or next(parts) >= _MOST:
        return None
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("examples", "enum"):
        if isinstance(schema.get(word), list):
            for value in schema[word]:
                if _has_type(value, schema.get("type")):
                    return value
    for word in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(word), list) and schema[word] and "type" not in schema:
            return _example(schema[word][0], root, depth + 1, parts)
    kinds = schema.get("type", "object" if "properties" in schema else "")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind == "object":
        properties = schema.get("properties")
        required = schema.get("required")
        missing = {
            name: "text" for name in (required if isinstance(required, list) else ()) if isinstance(name, str)
        }
        return missing | {
            name: _example(part, root, depth + 1, parts)
            for name, part in (properties if isinstance(properties, dict) else {}).items()
        }
    if kind == "array":
        items = schema.get("items")
        return [_example(items, root, depth + 1, parts)] if isinstance(items, dict) else []
    if kind == "string":
        return _text(schema)
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return max(_PLAIN[kind], least) if isinstance(least, int | float) else _PLAIN[kind]
    return _PLAIN.get(kind if isinstance(kind, str) else "")


def _has_type(value: Any, kinds: Any) -> bool:
    """Whether a value is of the type that a schema names; schemas contradict themselves."""
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        classes = _CLASSES.get(kind) if isinstance(kind, str) else None
        if classes is None or (isinstance(value, classes) and (kind == "boolean" or value is not True)):
            return True
    return False


def _text(schema: dict[str, Any]) -> str:
    formats = {
        "date-time": "2026-01-31T12:00:00Z",
        "date": "2026-01-31",
        "uri": "https://example.org/",
        "email": "someone@example.org",
        "uuid": "123e4567-e89b-42d3-a456-426614174000",
    }
    return formats.get(str(schema.get("format")), "text")


def asyncapi(catalogue: list[SchemaEntry]) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document for some schemas.

    Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
    """
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for entry in catalogue:
        key = re.sub(r"[^A-Za-z0-9_.-]", "_", entry.name)
        while key in messages:
            key += "_"
        messages[key] = {
            "name": entry.name,
            "title": entry.name,
            "summary": entry.summary,
            "contentType": "application/json",
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-07",
                "schema": _moved(entry.body_schema, f"#/components/messages/{key}/payload/schema"),
            },
        }
        channels[key] = {
            "address": entry.topic or None,
            "messages": {key: {"$ref": f"#/components/messages/{key}"}},
            "bindings": {"amqp": {"is": "routingKey", "exchange": {"name": "amq.topic", "type": "topic"}}},
        }
        operations[f"receive.{key}"] = {"action": "receive", "channel": {"$ref": f"#/channels/{key}"}}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Messages of the bus", "version": "1.0.0"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _moved(part: Any, place: str) -> Any:
    """Return a schema whose references to itself lead to its place in a document."""
    if isinstance(part, dict):
        return {
            name: f"{place}{value[1:]}"
            if name == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, place)
            for name, value in part.items()
        }
    return [_moved(each, place) for each in part] if isinstance(part, list) else part
