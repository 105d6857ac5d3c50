"""The catalogue of schemas: those of all installed packages, and whatever an author may write."""

from __future__ import annotations

import inspect
import json
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for
from tests.client import broken_schemas
from tests.unit.web.dashboard.sites import on_site

from fedora_messaging import message as registry
from fedora_messaging.message import Message
from fedora_messaging.web.dashboard.catalogue import (
    Field,
    SchemaEntry,
    asyncapi,
    entries,
    example,
    fields,
    type_of,
)

if TYPE_CHECKING:
    from tests.unit.web.dashboard.sites import Site

#: Mistakes in installed schemas, for which no example is right: an enumeration of texts that begins with
#: `null`, and a field that is required but not described.
MISTAKES: Final = ("None is not of type 'string'", "'branch' is a required property")


def _all() -> list[str]:
    return [entry.name for entry in entries()]


# The installed packages


def test_all_schemas_are_there() -> None:
    assert set(_all()) >= {one.name for one in entry_points(group="fedora.messages")}
    assert _all() == sorted(_all())
    assert all(entry.package for entry in entries())
    assert all(isinstance(entry.summary, str) and isinstance(entry.topic, str) for entry in entries())


@pytest.mark.parametrize("name", _all())
def test_installed_schemas(name: str) -> None:
    """Their fields are listed, and the example is what they describe."""
    (entry,) = [entry for entry in entries() if entry.name == name]
    listed = fields(entry.body_schema)
    properties = entry.body_schema.get("properties", {})
    assert {field.path for field in listed} >= {*properties}
    paths = [field.path for field in listed]
    assert len(paths) == len(set(paths))
    required = entry.body_schema.get("required", [])
    assert {field.path for field in listed if field.is_required} >= {*required} & {*properties}
    value = example(entry.body_schema)
    json.dumps(value)
    errors = validator_for(entry.body_schema)(entry.body_schema).iter_errors(value)
    assert [error.message for error in errors if error.message not in MISTAKES] == []


class SchemaThatContainsItself(Message):
    body_schema: dict[str, Any] = {"type": "object", "properties": {}}


for place in ("again", "and again"):
    SchemaThatContainsItself.body_schema["properties"][place] = SchemaThatContainsItself.body_schema


class TextThatIsNoUnicode(Message):
    topic = "\ud800"
    body_schema = {"type": "object", "description": "\udfff", "properties": {"\ud800": {"default": "\ud800"}}}


class SchemaThatIsNoJson(Message):
    body_schema: Any = {1: {2, 3}, "enum": [float("nan"), b"x"], "description": 5, "default": object()}


LISTS: Final = ("/schemas", "/schemas?name=canary", "/publish", "/api/v1/schemas", "/api/v1/asyncapi.json")
SINGLE: Final = ("/schema?name=", "/publish?schema=", "/api/v1/schema?name=", "/api/v1/asyncapi.json?name=")


def test_no_careless_package_breaks_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its classes that is a message has a page; all the others have theirs, too."""
    names = []
    for name, value in (*vars(broken_schemas).items(), *globals().items()):
        if getattr(value, "__module__", "") in (broken_schemas.__name__, __name__) and callable(value):
            names.append(f"canary.{name}")
            monkeypatch.setitem(registry._schema_name_to_class, names[-1], value)
    assert {"canary.NotAMessage", "canary.not_a_class", "canary.Deprecated"} < {*names}

    async def test(site: Site) -> None:
        for path in (
            "/schemas",
            "/schemas?name=canary",
            "/publish",
            "/api/v1/schemas",
            "/api/v1/asyncapi.json",
        ):
            answer = await site.visitor.get(path)
            assert answer.status_code == 200, path
            assert "canary.NotAMessage" not in answer.text
            assert "canary.WrongBodySchema" in answer.text
        for name in names:
            value = registry._schema_name_to_class[name]
            is_message = inspect.isclass(value) and issubclass(value, Message)
            for path in (
                "/schema?name=",
                "/publish?schema=",
                "/api/v1/schema?name=",
                "/api/v1/asyncapi.json?name=",
            ):
                answer = await site.visitor.get(f"{path}{name}")
                expected = 200 if is_message or "asyncapi" in path else 404
                assert answer.status_code == expected, f"{path}{name}"

    on_site(test)


def test_versions_of_a_family() -> None:
    assert SchemaEntry("a.v2", Message, "p", "a", 2).body_schema is not None
    found = {entry.name: (entry.family, entry.version) for entry in entries()}
    for name, (family, version) in found.items():
        if version:
            assert name.startswith(family)
            assert name.endswith(f"v{version}") or name.endswith(f"v0{version}")
        else:
            assert family == name


# Hostile and odd schemas

CYCLES: Final[tuple[Any, ...]] = (
    {"$ref": "#"},
    {"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/a"}}},
    {
        "$ref": "#/definitions/a",
        "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}},
    },
    {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]},
    {"type": "array", "items": {"$ref": "#"}},
    {"anyOf": [{"$ref": "#"}]},
    {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}},
    {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefgh"}},
)


@pytest.mark.parametrize("schema", CYCLES, ids=range(len(CYCLES)))
@pytest.mark.timeout(20)
def test_schemas_that_refer_to_themselves(schema: Any) -> None:
    """There is an end, and soon: the page of a schema must not take all time and memory."""
    assert len(fields(schema)) < 5_000
    assert len(json.dumps(example(schema))) < 500_000


def test_references() -> None:
    schema = {
        "properties": {
            "a": {"$ref": "#/definitions/x~1y~0z"},
            "b": {"$ref": "#/definitions/missing"},
            "c": {"$ref": "https://example.org/other"},
            "d": {"$ref": 7},
        },
        "definitions": {"x/y~z": {"type": "integer", "description": "a number"}},
    }
    found = {field.path: field for field in fields(schema)}
    assert found["a"] == Field("a", "integer", False, "a number")
    assert {*found} == {*"abcd"}
    assert example(schema)["a"] == 1


def test_fields_within_fields() -> None:
    schema = {
        "type": "object",
        "required": ["build"],
        "properties": {
            "build": {
                "type": "object",
                "required": ["nvr"],
                "properties": {"nvr": {"type": "string"}, "id": {"type": ["integer", "null"]}},
            },
            "tags": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
        },
    }
    assert [(field.path, field.type, field.is_required) for field in fields(schema)] == [
        ("build", "object", True),
        ("build.nvr", "string", True),
        ("build.id", "integer or null", False),
        ("tags", "array", False),
        ("tags[].name", "string", False),
    ]
    assert example(schema) == {"build": {"nvr": "text", "id": 1}, "tags": [{"name": "text"}]}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, ""),
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "string", "format": "date-time"}, "string, date-time"),
        ({"enum": ["a", 1, None]}, "one of a, 1, null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "string"}]}, "string or null"),
        ({"oneOf": [{"type": "string"}, True, 7]}, "string"),
    ],
)
def test_types(schema: Any, text: str) -> None:
    assert type_of(schema) == text


_ODD: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "object", "array", "#", "#/properties/a"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "type",
                        "properties",
                        "items",
                        "required",
                        "enum",
                        "examples",
                        "default",
                        "const",
                        "$ref",
                    ),
                    *("anyOf", "oneOf", "allOf", "format", "description", "minimum", "a", "b"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@settings(max_examples=500, deadline=None)
@given(schema=_ODD)
def test_anything_in_place_of_a_schema(schema: Any) -> None:
    """A package may be installed whose schema is no schema."""
    assert all(isinstance(field.path, str) and isinstance(field.type, str) for field in fields(schema))
    example(schema)


# AsyncAPI


def test_the_document_is_as_asyncapi_3_wants_it() -> None:
    """Checked by hand against the specification: no package on the index has its schema."""
    document = asyncapi(entries())
    json.dumps(document)
    assert document["asyncapi"] == "3.0.0"
    assert {*document["info"]} >= {"title", "version"}
    assert {*document} <= {
        *("asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components")
    }
    for key, channel in document["channels"].items():
        assert {*channel} <= {"address", "messages", "title", "summary", "description", "bindings", "tags"}
        assert channel["address"] is None or isinstance(channel["address"], str)
        for message in channel["messages"].values():
            assert _target(document, message)["name"]
        amqp = channel["bindings"]["amqp"]
        assert amqp["is"] == "routingKey"
        assert amqp["exchange"]["type"] in {"topic", "direct", "fanout", "default", "headers"}
        assert key
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert _target(document, operation["channel"])
    for key, message in document["components"]["messages"].items():
        # Keys of components have a pattern of their own.
        assert jsonschema.Draft7Validator({"pattern": r"^[a-zA-Z0-9\.\-_]+$"}).is_valid(key)
        payload = message["payload"]
        assert payload["schemaFormat"] == "application/schema+json;version=draft-07"
        assert isinstance(payload["schema"], dict)
    assert len(document["components"]["messages"]) == len(entries())


def _target(document: Any, reference: dict[str, str]) -> Any:
    assert {*reference} == {"$ref"}
    found = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def test_names_that_differ_in_odd_characters_only() -> None:
    """Each keeps its place in the document."""
    catalogue = [SchemaEntry(name, Message, "p", name, 0) for name in ("a/b", "a b", "a_b")]
    assert len(asyncapi(catalogue)["channels"]) == 3


def test_references_within_a_schema_lead_into_it() -> None:
    """In the document `#` is the document: what a schema refers to must still be found."""

    class Tree(Message):
        body_schema = {
            "type": "object",
            "properties": {"child": {"$ref": "#/definitions/node"}},
            "definitions": {"node": {"type": "object"}},
        }

    document = asyncapi([SchemaEntry("tree", Tree, "p", "tree", 0)])
    schema = document["components"]["messages"]["tree"]["payload"]["schema"]
    assert _target(document, schema["properties"]["child"]) == {"type": "object"}
