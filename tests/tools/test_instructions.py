"""The guard of speed: fixed pieces of work take as many instructions as the committed baseline says."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from benchmarks import instructions
from benchmarks.instructions import CannotCount
from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)
def test_no_work_takes_more_than_it_did() -> None:
    """If it takes less, commit the new baseline: ``python -m benchmarks.instructions --write``."""
    require(shutil.which("valgrind") is not None, "valgrind", "install the package valgrind")
    try:
        wanted = instructions.baseline()
    except CannotCount as error:
        pytest.skip(str(error))
    counted = instructions.count()
    assert set(counted) == set(wanted)
    assert instructions.deviations(counted, wanted) == {}


def test_work_that_takes_more_or_less_is_named() -> None:
    wanted = {"encode": 1000, "decode": 1000, "store": 1000}
    assert instructions.deviations({"encode": 1049, "decode": 951, "store": 1000}, wanted) == {}
    found = instructions.deviations({"encode": 1060, "decode": 940, "store": 1000}, wanted)
    assert found == {"encode": pytest.approx(0.06), "decode": pytest.approx(-0.06)}


def test_without_valgrind_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotCount, match="apt install valgrind"):
        instructions.count()


def test_command_explains_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["instructions"])
    assert instructions.main() == 2
    assert "apt install valgrind" in capsys.readouterr().err


def test_other_interpreter_has_no_baseline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "instructions.json"
    empty.write_text("{}")
    monkeypatch.setattr(instructions, "BASELINE", empty)
    with pytest.raises(CannotCount, match="--write"):
        instructions.baseline()
