"""Source distributions that pip fetches for a test."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from tests.support.servers import require

if TYPE_CHECKING:
    from pathlib import Path


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


def pinned(requirements: Path) -> dict[str, str]:
    """Return the version of each package that a requirements file pins."""
    lines = requirements.read_text().splitlines()
    return dict(line.split("==") for line in lines if line and line[0] != "#")


def download_sources(requirements: Path, backends: Path, directory: Path) -> list[Path]:
    """Fetch source distributions.

    Args:
        requirements: Pins each of them.
        backends: Pins what they are built with, for pip asks each of them for its metadata. To build them in
            isolation would take a quarter of a minute.
        directory: Where everything goes.

    Returns:
        The archives.
    """
    pip("install", "--target", directory / "backends", "--requirement", backends)
    pip(
        *("download", "--no-deps", "--no-build-isolation", "--no-binary", ",".join(pinned(requirements))),
        *("--dest", directory / "archives", "--requirement", requirements),
        PYTHONPATH=str(directory / "backends"),
    )
    return [*(directory / "archives").iterdir()]


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a source distribution."""
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")
