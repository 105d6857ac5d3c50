"""Which build the tests run on: the pure Python one, or the one that mypyc compiled."""

from __future__ import annotations

import os
from importlib import import_module

import pytest

COMPILED = ("wire.fields", "wire.frames", "wire.methods", "wire.property_codec", "protocol.connection")


@pytest.mark.parametrize("name", COMPILED)
def test_the_build_is_the_one_that_is_asked_for(name: str) -> None:
    """Whoever says ``make test-compiled`` does not want to test Python's files by mistake."""
    module = import_module(f"fedora_messaging.{name}")
    assert module.__file__ is not None
    assert module.__file__.endswith(".py") != ("FM_TEST_COMPILED" in os.environ)
