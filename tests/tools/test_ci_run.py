"""What `.ci/run` answers. It runs here with a `make` that tests nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Fails in the lanes named in FAILING, and again, when they run alone, in those named in FAILING_AGAIN.
MAKE = """#!/bin/bash
echo "$*" >> "$RUNS"
arguments=$*
cache=${arguments##*cache_dir=}
lane=$(basename "$cache" .cache)
case $arguments in
  *--lf*) failing=$FAILING_AGAIN ;;
  *cache_dir=*) failing=$FAILING ;;
  *) exit 0 ;;
esac
[[ " $failing " == *" $lane "* ]] || exit 0
mkdir -p "$cache/v/cache"
echo "what failed" > "$cache/v/cache/lastfailed"
exit 2
"""
SUCCEED = """#!/bin/bash
echo "install ok installed"
"""
FIRST = "python3.11-rabbitmq3.10"
SECOND = "python3.11-rabbitmq4.3"


class Checkout:
    """A folder with `.ci/run` and nothing that takes time.

    Args:
        directory: An empty one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / "tmp"
        self._temporary.mkdir()
        self._runs = directory / "runs"
        (directory / ".ci").mkdir()
        shutil.copy(".ci/run", directory / ".ci/run")
        self._write("bin/make", MAKE)
        for program in ("bin/dpkg-query", "tools/debian-root", ".venv/bin/python"):
            self._write(program, SUCCEED)

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def run(self, failing: str = "", failing_again: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script; the named lanes fail, at first or also when they run again."""
        environment = {
            "PATH": f"{self._directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self._temporary),
            "RUNS": str(self._runs),
            "FAILING": failing,
            "FAILING_AGAIN": failing_again,
        }
        script = self._directory / ".ci/run"
        return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)

    @property
    def runs(self) -> list[str]:
        """The arguments of each `make`, in order of time."""
        return self._runs.read_text(encoding="utf-8").splitlines()

    @property
    def left_behind(self) -> list[Path]:
        """What is still in the folder for temporary files."""
        return list(self._temporary.iterdir())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Of this project, as far as the script looks at it."""
    return Checkout(tmp_path)


def test_all_lanes_pass(checkout: Checkout) -> None:
    ended = checkout.run()
    assert ended.returncode == 0, ended.stderr
    assert checkout.left_behind == []
    assert not any("--lf" in run for run in checkout.runs)


@pytest.mark.parametrize("lane", [FIRST, SECOND])
def test_what_failed_beside_another_lane_passes_alone(checkout: Checkout, lane: str) -> None:
    ended = checkout.run(failing=lane)
    assert ended.returncode == 0, ended.stderr
    assert f"{lane}: what failed beside another lane, alone:\nwhat failed\n" in ended.stdout
    assert ["--lf" in run for run in checkout.runs].count(True) == 1
    assert checkout.left_behind == []


@pytest.mark.parametrize("lane", [FIRST, SECOND])
def test_what_fails_again_fails_the_run(checkout: Checkout, lane: str) -> None:
    ended = checkout.run(failing=f"{FIRST} {SECOND}", failing_again=lane)
    assert ended.returncode == 1, ended.stderr
    # The other lane's failures run again all the same.
    assert ["--lf" in run for run in checkout.runs].count(True) == 2
    assert checkout.left_behind == []
