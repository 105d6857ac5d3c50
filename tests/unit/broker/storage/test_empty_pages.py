"""Empty pages go back to the disk when there are many, and while no commit is due."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.storage.database_file import number
from fedora_messaging.broker.storage.empty_pages import EmptyPages

if TYPE_CHECKING:
    from pathlib import Path

MB = 1_000_000
PAGE = 4096


def never() -> bool:
    """Stand for a writer that has nothing to commit."""
    return False


def fill(connection: sqlite3.Connection, megabytes: int, kept: int) -> None:
    """Write messages of a megabyte, and delete all but so many."""
    connection.execute("BEGIN")
    for each in range(1, megabytes + 1):
        connection.execute("INSERT INTO message VALUES (?, '', 'q', x'0000', zeroblob(?))", (each, MB))
    connection.execute("DELETE FROM message WHERE id > ?", (kept,))
    connection.execute("COMMIT")


def size(connection: sqlite3.Connection, path: Path) -> int:
    """Return the size of the file when everything is in it."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (path / "broker.sqlite").stat().st_size


def test_new_file_has_none(connection: sqlite3.Connection) -> None:
    pages = EmptyPages(connection)
    pages.give_back(never)
    assert pages.size == 0


def test_many_pages_go_back(connection: sqlite3.Connection, tmp_path: Path) -> None:
    fill(connection, 20, kept=1)
    assert size(connection, tmp_path) > 20 * MB
    pages = EmptyPages(connection)
    pages.give_back(never)
    assert pages.size <= 8 * MB
    left = (tmp_path / "broker.sqlite").stat().st_size
    assert left == number(connection, "PRAGMA page_count") * PAGE
    assert left < 10 * MB
    assert number(connection, "SELECT count(*) FROM message") == 1
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(("written", "kept"), [(7, 0), (40, 31)], ids=["few bytes", "a small part"])
def test_few_pages_stay_for_what_comes(
    connection: sqlite3.Connection, tmp_path: Path, written: int, kept: int
) -> None:
    fill(connection, written, kept)
    before = size(connection, tmp_path)
    pages = EmptyPages(connection)
    pages.give_back(never)
    assert size(connection, tmp_path) == before
    assert pages.size == number(connection, "PRAGMA freelist_count") * PAGE
    assert (written - kept) * MB <= pages.size < (written - kept + 1) * MB


def test_commit_that_is_due_goes_first(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """A thousand pages go back at a time, and the file itself shrinks after the last of them."""
    fill(connection, 20, kept=0)
    before = size(connection, tmp_path)
    pages = EmptyPages(connection)
    pages_before = number(connection, "PRAGMA page_count")
    calls = []

    def is_wanted() -> bool:
        calls.append(True)
        return True

    pages.give_back(is_wanted)
    assert len(calls) == 1
    assert pages_before - number(connection, "PRAGMA page_count") in range(1000, 1010)
    assert (tmp_path / "broker.sqlite").stat().st_size == before
    while pages.size > 8 * MB:
        pages.give_back(is_wanted)
    pages.give_back(never)
    assert (tmp_path / "broker.sqlite").stat().st_size < 10 * MB


def test_file_that_cannot_shrink_tells_its_empty_pages(tmp_path: Path) -> None:
    """An old file that could not be rewritten: the pages still count, because they are used again."""
    connection = sqlite3.connect(tmp_path / "old", isolation_level=None)
    connection.execute("CREATE TABLE message (id, exchange, routing_key, properties, body)")
    fill(connection, 20, kept=0)
    before = number(connection, "PRAGMA page_count")
    pages = EmptyPages(connection)
    pages.give_back(never)
    assert number(connection, "PRAGMA page_count") == before
    assert pages.size == number(connection, "PRAGMA freelist_count") * PAGE
    assert pages.size > 19 * MB
    connection.close()


def test_error_is_left_to_the_next_commit(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "file")
    pages = EmptyPages(connection)
    connection.close()
    pages.give_back(never)
    assert pages.size == 0
