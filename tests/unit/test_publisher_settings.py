"""The table `publisher` of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.config import LazyConfig
from fedora_messaging.exceptions import ConfigurationException
from fedora_messaging.settings.publisher import is_mandatory, validate_publisher


@pytest.mark.parametrize(("table", "expected"), [({}, False), ({"mandatory": True}, True)])
def test_mandatory(table: dict[str, Any], expected: bool) -> None:
    validate_publisher(table)
    assert is_mandatory({"publisher": table}) is expected
    assert is_mandatory({}) is False


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (True, r'"publisher" must be a table; write it as \[publisher\]'),
        ({"mandatroy": True}, r"\[publisher\] does not know mandatroy; it knows mandatory"),
        ({"mandatory": "yes"}, r'"mandatory" in \[publisher\] must be true or false'),
    ],
)
def test_mistakes(table: Any, complaint: str) -> None:
    with pytest.raises(ConfigurationException, match=complaint):
        validate_publisher(table)


def test_mistakes_are_told_when_the_file_is_read(tmp_path: Any) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[publisher]\nmandatory = 1\n")
    with pytest.raises(ConfigurationException, match="mandatory"):
        LazyConfig().load_config(str(path))
