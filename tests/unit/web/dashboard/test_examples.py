"""The catalogue of the installed schemas."""

from __future__ import annotations

import warnings
from contextlib import suppress

import pytest
from jsonschema import ValidationError

from fedora_messaging.message import schema_names
from fedora_messaging.web.dashboard.catalogue import entries, example


@pytest.mark.parametrize("name", schema_names())
def test_an_example_is_valid(name: str) -> None:
    """As far as its schema goes: the code of a few classes fails with values that their schemas allow."""
    entry = next(entry for entry in entries() if entry.name == name)
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"), suppress(TypeError):
        message = entry.cls(topic="a.b", body=example(entry.body_schema))
        try:
            message.validate()
        except ValidationError as error:
            pytest.fail(str(error))
