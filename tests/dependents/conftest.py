"""Fixtures of the tests with schema packages."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.dependents.packages import BACKENDS, PINNED, REQUIREMENTS, normalised
from tests.support.fixtures import fresh_settings
from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fresh_settings"]


def pip(*arguments: str | Path, **variables: str) -> None:
    """Run pip; the calling test is skipped if it fails."""
    options = ("--quiet", "--disable-pip-version-check", "--retries", "2", "--timeout", "15")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *options, *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    require(done.returncode == 0, "the package index", f"let pip reach it\n{done.stderr}")


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pinned source distributions."""
    # pip asks each of them for its metadata. To build them in isolation would take a quarter of a minute.
    backends = tmp_path_factory.mktemp("backends")
    pip("install", "--target", backends, "--requirement", BACKENDS)
    directory = tmp_path_factory.mktemp("archives")
    pip(
        *("download", "--no-deps", "--no-build-isolation", "--no-binary", ",".join(PINNED)),
        *("--dest", directory, "--requirement", REQUIREMENTS),
        PYTHONPATH=str(backends),
    )
    return [*directory.iterdir()]


@pytest.fixture(scope="session")
def sources(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The unpacked source distributions, by normalised name."""
    unpacked = tmp_path_factory.mktemp("sources")
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
    return {normalised(source.name.rpartition("-")[0]): source for source in unpacked.iterdir()}
