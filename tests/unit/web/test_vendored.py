"""The files of other projects that the dashboard serves are those that README.md beside them names."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

import pytest

import fedora_messaging

VENDOR: Final = Path(fedora_messaging.__file__).parent / "web" / "dashboard" / "static" / "vendor"
#: What a browser loads; the first view of the dashboard may have 150 KB, compressed, for everything.
SERVED: Final = ("htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css")
BUDGET: Final = 45_000


def recorded() -> dict[str, tuple[str, str]]:
    """Return version and SHA-256 of each file, as the table in README.md has them."""
    rows = re.findall(
        r"^\| (\S+) \| \S+ ([\d.]+) \| .* \| `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.M
    )
    return {file: (version, digest) for file, version, digest in rows}


def test_readme_names_each_file() -> None:
    present = {file.name for file in VENDOR.iterdir()}
    assert present == {"README.md", *recorded()}
    assert set(SERVED) <= present


@pytest.mark.parametrize("file", sorted(recorded()))
def test_a_file_is_what_its_authors_released(file: str) -> None:
    _, digest = recorded()[file]
    assert hashlib.sha256((VENDOR / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("htmx.min.js", r'version:"([\d.]+)"'),
        ("uPlot.iife.min.js", r"^/\*! https://github\.com/leeoniya/uPlot \(v([\d.]+)\) \*/"),
    ],
)
def test_the_recorded_version_is_the_one_in_the_file(file: str, pattern: str) -> None:
    """Whoever copies new files and forgets the version column is told so."""
    found = re.search(pattern, (VENDOR / file).read_text(encoding="utf-8"))
    assert found is not None
    assert found[1] == recorded()[file][0]


def test_the_files_leave_room_for_the_page() -> None:
    assert sum(len(gzip.compress((VENDOR / file).read_bytes())) for file in SERVED) < BUDGET
