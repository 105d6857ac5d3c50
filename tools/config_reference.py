"""Writes the tables of ``docs/reference/configuration.md`` from the types of the configuration."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import FieldInfo

from fedora_messaging.settings.complaints import expected, in_toml, table_type
from fedora_messaging.settings.reference import TYPES, described
from fedora_messaging.settings.types import Configuration

PAGE = Path(__file__).parents[1] / "docs/reference/configuration.md"
_BLOCK = re.compile(r"(?<=<!-- written by tools/config_reference.py -->\n).*(?=<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """Return the page with the tables that belong there now."""
    return _BLOCK.sub(lambda _old: "\n".join(_lines()), page)


def _lines() -> Iterator[str]:
    headings = {kind: heading for heading, kind in _headings(Configuration, "")}
    for kind in TYPES:
        text, attributes = described(kind)
        if kind is not Configuration:
            yield from ("", f"### `{headings[kind]}`", "", text)
        yield from ("", "| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |")
        for field in msgspec.structs.fields(kind):
            yield (
                f"| `{field.encode_name}` | {expected(field)} | {_default(field)} "
                f"| {attributes[field.encode_name]} |"
            )
    yield ""


def _headings(kind: type[msgspec.Struct], where: str) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    for field in msgspec.structs.fields(kind):
        inside = table_type(field)
        if inside is None:
            continue
        name = f"{where}{field.encode_name}"
        if inside.has_several:
            name = f"[[{name}]]" if field.encode_name == "bindings" else f"[{name}.NAME]"
        else:
            name = f"[{name}]"
        yield name, inside.kind
        yield from _headings(inside.kind, f"{name.strip('[]')}.")


def _default(field: FieldInfo) -> str:
    if field.required:
        return "needed"
    value: Any = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else None
    if value is None or isinstance(value, msgspec.Struct) or isinstance(value, dict | list) and not value:
        return ""
    if isinstance(value, dict):
        return "see `config show`"
    return f"`{in_toml(value)}`"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
