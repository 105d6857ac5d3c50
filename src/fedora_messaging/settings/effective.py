"""The effective settings and the source of each, as TOML without secrets."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo

from ..printable import printable
from . import amqp_url
from .complaints import in_toml, table_type
from .origins import named
from .types import Configuration

#: Names of values that may be secrets, in tables whose content is the application's.
_SECRET: Final = re.compile(r"passw|passphrase|secret|token|credential|(^|_)key$", re.IGNORECASE)
_HIDDEN: Final = "***"


def effective(settings: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of an equivalent TOML file, with the source of each setting in a comment behind it.

    Args:
        settings: A loaded configuration.
        origins: Sources of settings, by dotted name; a setting without one has its default.
    """
    yield from _table(settings, Configuration, "", origins)


def _table(
    table: Mapping[str, Any], kind: type[msgspec.Struct], where: str, origins: Mapping[str, str]
) -> Iterator[str]:
    inner: list[tuple[FieldInfo, Any]] = []
    for field in msgspec.structs.fields(kind):
        value = table.get(field.encode_name, _default(field))
        if value == {} and field.default is None:
            value = None  # an empty table means the same as no table
        inside = table_type(field)
        has_defaults = inside is not None and not inside.has_several
        if _is_tables(value) or (isinstance(value, Mapping) and (value or has_defaults)):
            inner.append((field, value))
        else:
            yield _line(named(where, field.encode_name), field.encode_name, _without_password(value), origins)
    for field, value in inner:
        name = named(where, field.encode_name)
        inside = table_type(field)
        if _is_tables(value):
            for item in value:
                yield from ("", f"[[{name}]]")
                origin = origins.get(name, "default")
                yield from _entries(item, name, {named(name, key): origin for key in item})
        elif inside is None:
            yield from ("", f"[{name}]")
            yield from _entries(value, name, origins)
        elif inside.has_several:
            for key, item in value.items():
                yield from ("", f"[{named(name, key)}]")
                yield from _entries(item, named(name, key), origins)
        else:
            yield from ("", f"[{name}]")
            yield from _table(value, inside.kind, name, origins)


def _entries(table: Mapping[str, Any], where: str, origins: Mapping[str, str]) -> Iterator[str]:
    for key, value in table.items():
        yield _line(named(where, key), key, _hidden(key, value), origins)


def _line(name: str, key: str, value: Any, origins: Mapping[str, str]) -> str:
    origin = origins.get(name, "default")
    if value is None:
        return f"# {key} is not set"
    return f"{named('', key)} = {in_toml(value)}  # {printable(origin)}"


def _default(field: FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else None


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _hidden(key: str, value: Any) -> Any:
    """Replace a value that may be a secret of the application."""
    if isinstance(value, Mapping):
        return {inner: _hidden(inner, item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(key, item) for item in value]
    return _HIDDEN if _SECRET.search(key) else _without_password(value)


def _without_password(value: Any) -> Any:
    """Replace the password of a URL, and a private key that was given in place of the path of its file."""
    if isinstance(value, list | tuple):
        return [_without_password(item) for item in value]
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        return _HIDDEN
    return amqp_url.redact(value) if "://" in value else value
