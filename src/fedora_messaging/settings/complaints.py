"""Describing what is wrong with a table of settings: the key, the table and a remedy."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo

from ..printable import printable
from .origins import named, quoted


def expected(field: FieldInfo) -> str:
    """Describe the values that a setting may have."""
    return " or ".join(map(_expected, _alternatives(inspect.type_info(field.type))))


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """Return a hint with the known key that is most like an unknown one, or an empty text."""
    similar = difflib.get_close_matches(key.lower(), list(known), n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def example(field: FieldInfo) -> str | None:
    """Return an example of a setting in TOML; ``None`` for one that is a table with its own keys."""
    described = inspect.type_info(field.type)
    schema = described.extra_json_schema if isinstance(described, inspect.Metadata) else None
    [value, *_] = (schema or {}).get("examples", [field.default])
    if value is None or value is msgspec.NODEFAULT or isinstance(value, msgspec.Struct):
        return None
    return f"{field.encode_name} = {in_toml(value)}"


class TableType(NamedTuple):
    """The type of a setting that is a table, or holds tables.

    Attributes:
        kind: The type of one table.
        has_several: Whether the setting holds any number of them, in a list or by names.
    """

    kind: type[msgspec.Struct]
    has_several: bool


def table_type(field: FieldInfo) -> TableType | None:
    """Return the type of the table that a setting is, or of those that it holds; ``None`` for others."""
    for kind in _alternatives(inspect.type_info(field.type)):
        if isinstance(kind, inspect.StructType):
            return TableType(kind.cls, False)
        items = getattr(kind, "value_type", getattr(kind, "item_type", None))
        for one in _alternatives(items) if items is not None else ():
            if isinstance(one, inspect.StructType):
                return TableType(one.cls, True)
    return None


def in_toml(value: object) -> str:
    """Return a value in TOML's notation."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{named('', key)} = {in_toml(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def complaints(table: object, kind: type[msgspec.Struct], where: str) -> Iterator[str]:
    """Yield a description of each fault in a table."""
    shown = printable(where)
    if not isinstance(table, dict):
        yield f'"{shown}" must be a table, but is {_shown(table)}; write it as [{shown}]'
        return
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    unknown = [str(key) for key in table if key not in fields]
    if unknown and kind.__struct_config__.forbid_unknown_fields:
        yield (
            f"[{shown}] does not know {printable(', '.join(unknown))}; it knows {', '.join(sorted(fields))}"
            f"{did_you_mean(unknown[0], fields)}"
        )
    for name, field in fields.items():
        if name in table:
            yield from _value_complaints(table[name], field, where)
        elif field.required:
            yield f"[{shown}] lacks {name}{_remedy(field)}"


def _value_complaints(value: object, field: FieldInfo, where: str) -> Iterator[str]:
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        pass
    else:
        return
    kinds = list(_alternatives(inspect.type_info(field.type)))
    inside = named(where, field.encode_name)
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            yield from complaints(value, kind.cls, inside)
        elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
            for key, item in value.items():
                yield from _item_complaints(item, kind.value_type, named(inside, str(key)))
        elif isinstance(kind, inspect.ListType) and isinstance(value, list | tuple):
            for number, item in enumerate(value, 1):
                yield from _item_complaints(item, kind.item_type, f"{inside}, number {number}")
    table = f" in [{printable(where)}]" if where else ""
    wanted = expected(field)
    remedy = f"; write it as [{printable(inside)}]" if wanted == "a table" else _remedy(field)
    is_secret = "password" in field.encode_name and isinstance(value, int | float)
    shown = "a number" if is_secret else _shown(value)
    yield f'"{field.encode_name}"{table} must be {wanted}, but is {shown}{remedy}'


def _item_complaints(item: object, kind: inspect.Type, where: str) -> Iterator[str]:
    for one in _alternatives(kind):
        if isinstance(one, inspect.StructType):
            yield from complaints(item, one.cls, where)


def _alternatives(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the types that a setting may have, except ``None``, which TOML cannot write."""
    if isinstance(kind, inspect.Metadata):
        yield from _alternatives(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _alternatives(one)
    elif not isinstance(kind, inspect.NoneType):
        yield kind


def _remedy(field: FieldInfo) -> str:
    text = example(field)
    return f"; write, for example, {text}" if text else ""


def _expected(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.IntType):
        return f"a whole number{_range(kind.ge, kind.le)}"
    if isinstance(kind, inspect.FloatType):
        return f"a number{_range(kind.ge, kind.le)}"
    if isinstance(kind, inspect.StrType):
        return "text that is not empty" if kind.min_length else "text"
    if isinstance(kind, inspect.ListType):
        items = "texts" if isinstance(kind.item_type, inspect.StrType | inspect.Metadata) else "tables"
        return f"a list of {items}{' that is not empty' if kind.min_length else ''}"
    return "a table"


def _range(least: float | None, most: float | None) -> str:
    return "" if least is None or most is None else f" from {_short(least)} to {_short(most)}"


def _short(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else str(limit)


def _shown(value: object) -> str:
    """Describe a value for an error text, without quoting a text, which may be a password."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return "text" if value else "empty text"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "another list" if value else "an empty list"
    return f"a {type(value).__name__}"
