"""A data file in a directory of its own, for tests of the broker's storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.storage.database_file import close_file, open_file

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The open data file of an empty directory."""
    opened = open_file(tmp_path)
    # The tests are about what is in the file, and need not wait for the disk.
    opened.execute("PRAGMA synchronous = OFF")
    yield opened
    close_file(opened)
