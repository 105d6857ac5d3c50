"""The reference page of the configuration says what the types say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

from fedora_messaging.settings.reference import TYPES, described

PROJECT = Path(__file__).parents[2]


def test_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("config_reference", PROJECT / "tools/config_reference.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.written(page) == page, "run tools/config_reference.py"
    assert page.count("<!-- written by tools/config_reference.py -->") == 1


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_setting_is_described(kind: type[msgspec.Struct]) -> None:
    text, attributes = described(kind)
    assert text
    assert list(attributes) == [field.encode_name for field in msgspec.structs.fields(kind)]
    assert all(description.endswith(".") for description in attributes.values())
