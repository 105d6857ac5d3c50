"""The SQLite file of an outbox: transactions, settings, the sender's lock, and errors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.client.outbox.database import DatabaseError, SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO t VALUES (:n)"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the file is."""
    return str(tmp_path / "folder" / "outbox.db")


@pytest.fixture
def database(path: str) -> Iterator[SqliteDatabase]:
    """A new file that has the table ``t``."""
    made = SqliteDatabase(path)
    made.run("CREATE TABLE t (n UNIQUE)")
    yield made
    made.close()


def test_statements_outside_a_transaction_are_committed(database: SqliteDatabase, path: str) -> None:
    assert (database.dialect, database.name) == ("sqlite", path)
    assert database.run(INSERT, {"n": 1}) == []
    assert database.run("SELECT n, n + 1 FROM t WHERE n = :n", {"n": 1}) == [(1, 2)]
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_transaction_is_committed_as_a_whole(database: SqliteDatabase, path: str) -> None:
    with closing(sqlite3.connect(path)) as reader:
        with database.transaction():
            database.run_many(INSERT, [{"n": 1}, {"n": 2}])
            database.run(INSERT, {"n": 3})
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert reader.execute("SELECT n FROM t").fetchall() == [(1,), (2,), (3,)]


def test_transaction_that_fails_leaves_nothing(database: SqliteDatabase) -> None:
    with pytest.raises(DatabaseError) as caught, database.transaction():
        database.run_many(INSERT, [{"n": 1}, {"n": 1}])
    assert str(caught.value) == "UNIQUE constraint failed: t.n"
    assert database.run("SELECT n FROM t") == []
    # The next transaction works.
    with database.transaction():
        database.run(INSERT, {"n": 1})
    assert database.run("SELECT n FROM t") == [(1,)]


def test_statement_that_fails(database: SqliteDatabase) -> None:
    with pytest.raises(DatabaseError) as caught:
        database.run("SELECT * FROM nowhere")
    assert str(caught.value) == "no such table: nowhere"
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def test_new_file_has_a_write_ahead_log(database: SqliteDatabase) -> None:
    assert database.run("PRAGMA journal_mode") == [("wal",)]
    # FULL: a commit is on disk.
    assert database.run("PRAGMA synchronous") == [(2,)]


def test_file_of_an_application_keeps_its_journal(path: str) -> None:
    Path(path).parent.mkdir()
    with closing(sqlite3.connect(path)) as application, application:
        application.execute("CREATE TABLE builds (id)")
    database = SqliteDatabase(path)
    try:
        assert database.run("PRAGMA journal_mode") == [("delete",)]
        assert database.run("PRAGMA synchronous") == [(2,)]
    finally:
        database.close()


def test_log_of_ordinary_length_is_left_alone(database: SqliteDatabase, path: str) -> None:
    database.run(INSERT, {"n": "x" * 100_000})
    size = Path(f"{path}-wal").stat().st_size
    assert size > 100_000
    database.shrink()
    assert Path(f"{path}-wal").stat().st_size == size


def test_one_process_sends_at_a_time(database: SqliteDatabase, path: str) -> None:
    other = SqliteDatabase(path)
    try:
        assert database.lock()
        assert database.lock()
        assert not other.lock()
        # The lock keeps nobody from storing.
        other.run(INSERT, {"n": 1})
        database.unlock()
        assert other.lock()
        assert not database.lock()
        # Closing gives the lock up.
        other.close()
        assert database.lock()
    finally:
        other.close()


def test_file_that_was_deleted(database: SqliteDatabase, path: str) -> None:
    database.check()
    Path(path).unlink()
    with pytest.raises(DatabaseError) as caught:
        database.check()
    assert str(caught.value).startswith(f"{path} was deleted, renamed or replaced while ")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("This is no database, but a text that is longer than the header of one." * 20)
    with pytest.raises(DatabaseError, match="^file is not a database$"):
        SqliteDatabase(str(text))
    with pytest.raises(DatabaseError, match="^unable to open database file$"):
        SqliteDatabase(str(tmp_path))
    with pytest.raises(DatabaseError, match="Not a directory|File exists"):
        SqliteDatabase(str(text / "below a file"))


def test_lock_that_cannot_be_made(database: SqliteDatabase, path: str) -> None:
    Path(f"{path}.sender").mkdir()
    with pytest.raises(DatabaseError, match="Is a directory"):
        database.lock()
