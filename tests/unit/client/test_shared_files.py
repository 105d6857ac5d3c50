"""Files that processes share: transactions, and locks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fedora_messaging.client.shared_files import FileLock, SqliteFile


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the file is."""
    return str(tmp_path / "file")


def prepare(connection: sqlite3.Connection, _is_new: bool) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t (n UNIQUE)")


def test_a_lock_on_a_file_that_was_deleted(tmp_path: Path) -> None:
    """Others lock a new one, so that is what counts."""
    first, second = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))
    assert first.acquire()
    assert not second.acquire()
    (tmp_path / "lock").unlink()
    assert second.acquire()
    assert not first.acquire()
    second.release()
    assert first.acquire()
    first.release()


def test_one_lock_at_a_time(path: str) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    second.release()


def test_transaction_that_fails_leaves_nothing(path: str) -> None:
    class Mistake(Exception):
        pass

    def insert_and_fail() -> None:
        with file.transaction():
            file.run_many("INSERT INTO t VALUES (:n)", [{"n": 1}, {"n": 2}])
            assert file.run("SELECT count(*) FROM t") == [(2,)]
            raise Mistake

    file = SqliteFile(path, prepare)
    try:
        with pytest.raises(Mistake):
            insert_and_fail()
        assert file.run("SELECT count(*) FROM t") == [(0,)]
    finally:
        file.close()


def test_transaction_that_sqlite_refuses_leaves_nothing(path: str) -> None:
    file = SqliteFile(path, prepare)
    try:
        with (
            pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: t\.n"),
            file.transaction(),
        ):
            file.run_many("INSERT INTO t VALUES (:n)", [{"n": 1}, {"n": 1}])
        # The next one works.
        with file.transaction():
            file.run("INSERT INTO t VALUES (:n)", {"n": 1})
        assert file.run("SELECT n FROM t WHERE n = :n", {"n": 1}) == [(1,)]
    finally:
        file.close()


def test_file_is_new_once_and_its_folder_is_made(tmp_path: Path) -> None:
    told: list[bool] = []
    path = str(tmp_path / "a" / "b" / "file.db")

    def note(connection: sqlite3.Connection, is_new: bool) -> None:
        told.append(is_new)
        prepare(connection, is_new)

    for number in range(2):
        file = SqliteFile(path, note)
        with file.transaction():
            file.run("INSERT INTO t VALUES (:n)", {"n": number})
        file.close()
    file = SqliteFile(path, note)
    assert file.run("SELECT n FROM t ORDER BY n") == [(0,), (1,)]
    file.close()
    assert told == [True, False, False]


@pytest.mark.parametrize("what", ["deleted", "renamed", "replaced"])
def test_file_that_is_not_at_its_path_any_more(path: str, what: str) -> None:
    file = SqliteFile(path, prepare)
    try:
        file.check()
        if what == "deleted":
            Path(path).unlink()
        else:
            Path(path).rename(f"{path}.old")
        if what == "replaced":
            Path(path).touch()
        with pytest.raises(sqlite3.ProgrammingError) as caught:
            file.check()
        assert str(caught.value) == (
            f"{path} was deleted, renamed or replaced while this process had it open: put it back, or "
            "start all programs that use it again"
        )
        if what != "deleted":
            Path(f"{path}.old").replace(path)
            file.check()
    finally:
        file.close()


def test_write_ahead_log_is_emptied_when_it_is_too_long(path: str) -> None:
    def keep_a_log(connection: sqlite3.Connection, is_new: bool) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        prepare(connection, is_new)

    file = SqliteFile(path, keep_a_log)
    try:
        file.run("INSERT INTO t VALUES (:n)", {"n": "x" * 10_000})
        log = Path(f"{path}-wal")
        size = log.stat().st_size
        assert size > 10_000
        file.shrink(size)
        assert log.stat().st_size == size
        file.shrink(size - 1)
        assert log.stat().st_size == 0
        assert file.run("SELECT length(n) FROM t") == [(10_000,)]
    finally:
        file.close()


def test_file_that_cannot_be_prepared_is_told_and_not_kept_open(path: str) -> None:
    opened: list[sqlite3.Connection] = []

    def fail(connection: sqlite3.Connection, _is_new: bool) -> None:
        opened.append(connection)
        raise sqlite3.DatabaseError("no")

    with pytest.raises(sqlite3.DatabaseError, match="^no$"):
        SqliteFile(path, fail)
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")
