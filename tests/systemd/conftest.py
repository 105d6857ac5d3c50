"""What the tests of services share: a booted machine with the library's wheel and an application on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.machine import Machine, systemd_root
from tests.support.printed import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that runs."""
    root = systemd_root()
    scratch = tmp_path_factory.mktemp("machine")
    with Machine(root, scratch) as machine:
        yield machine
    # It holds device files and what belongs to users that are gone.
    shutil.rmtree(scratch)


@pytest.fixture(scope="session")
def wheels(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The machine's paths of two wheels: the library and the application."""
    built = tmp_path_factory.mktemp("wheels")
    for sources in (ROOT, Path(__file__).parent / "my-app"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
        subprocess.run(command, cwd=sources, check=True, capture_output=True)
    shutil.copytree(built, machine.path("/srv/wheels"))
    library, application = sorted(path.name for path in built.iterdir())
    return [f"/srv/wheels/{library}", f"/srv/wheels/{application}"]
