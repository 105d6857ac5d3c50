"""The page of all texts has the errors and warnings of the code."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.printed import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PLANTED = """
def planted(name, left):
    _log.error("The thing %r is about to break in %.1f s", name, left)
    raise BadParameter(escaped(f"the thing {name} is broken: mend it"))
"""


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("error_index", ROOT / "tools/error_index.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_page_is_up_to_date(tool: Any) -> None:
    assert tool.written() == tool.PAGE.read_text("utf-8"), "run tools/error_index.py"


def test_planted_error_is_found(tool: Any, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    rows = [line for line in tool.written(tmp_path).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `the thing … is broken: mend it` | `BadParameter` |",
        "| `The thing … is about to break in … s` | error |",
    ]


def test_answers_of_the_broker_are_left_to_rabbitmqs_documentation(tool: Any, tmp_path: Path) -> None:
    """But not what its log says."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "planted.py").write_text(PLANTED)
    rows = [line for line in tool.written(tmp_path).splitlines() if line.startswith("| `")]
    assert rows == ["| `The thing … is about to break in … s` | error |"]
