"""Fixtures of the tests with schema packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.dependents.packages import BACKENDS, REQUIREMENTS, normalised
from tests.support.fixtures import fresh_settings
from tests.support.packages import download_sources, unpack

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fresh_settings"]


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The pinned source distributions."""
    return download_sources(REQUIREMENTS, BACKENDS, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def sources(archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The unpacked source distributions, by normalised name."""
    unpacked = tmp_path_factory.mktemp("sources")
    for archive in archives:
        unpack(archive, unpacked)
    return {normalised(source.name.rpartition("-")[0]): source for source in unpacked.iterdir()}
