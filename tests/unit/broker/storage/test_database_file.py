"""The data file: opening and closing it, older and newer layouts, and the texts of its errors."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.broker.storage.database_file import (
    SCHEMA_VERSION,
    StorageError,
    close_file,
    closed_if_damaged,
    explain_failure,
    log_of,
    may_pass,
    number,
    open_file,
    open_positions,
)

if TYPE_CHECKING:
    from pathlib import Path

NAME = "broker.sqlite"
MENDING = "restore it from a backup, or move it away to begin without queues and messages."


def refusal(directory: Path) -> str:
    """Return why a directory is refused."""
    with pytest.raises(StorageError) as caught:
        open_file(directory)
    return str(caught.value)


def close(directory: Path) -> None:
    """Make the file of a directory, or bring it up to date."""
    close_file(open_file(directory))


def change(directory: Path, *statements: str) -> None:
    """Change the file while no broker uses it."""
    connection = sqlite3.connect(directory / NAME, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def failed(statement: str) -> sqlite3.Error:
    """Return the error of a statement in an empty database."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError(statement)


def coded(code: int) -> sqlite3.Error:
    """Make an error with one of SQLite's codes."""
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


# Opening


def test_new_file_is_ready_and_durable(tmp_path: Path) -> None:
    """Also in a directory that is still to be made."""
    directory = tmp_path / "deep" / "below"
    connection = open_file(directory)
    told = dict(connection.execute("SELECT key, value FROM meta"))
    assert told == {"version": SCHEMA_VERSION, "running": 1}
    settings = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "locking_mode", "auto_vacuum", "temp_store")
    }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "locking_mode": "exclusive",
        "auto_vacuum": 2,
        "temp_store": 2,
    }
    close_file(connection)
    assert [path.name for path in directory.iterdir()] == [NAME]


def test_file_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    first = open_file(tmp_path)
    assert refusal(tmp_path) == (
        f"The data directory {tmp_path} is in use by another broker; stop that one or use another."
    )
    close_file(first)
    close(tmp_path)


def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    connection = open_file(tmp_path)
    connection.execute("INSERT INTO queue (id, vhost, name) VALUES (1, '/', 'q')")
    close_file(connection)
    connection = open_file(tmp_path)
    assert connection.execute("SELECT name FROM queue").fetchall() == [("q",)]
    close_file(connection)


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "data"
    assert refusal(path) == f"The data directory {path} cannot be created: Not a directory"


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert refusal(tmp_path) == (
        f"The data directory {tmp_path} cannot be written (unable to open database file): let the user who "
        f"runs the broker write that directory and {NAME} in it."
    )


def test_file_that_is_no_data_file(tmp_path: Path) -> None:
    content = b"something else entirely, and long enough to be looked at" * 50
    (tmp_path / NAME).write_bytes(content)
    assert refusal(tmp_path) == (
        f"{tmp_path / NAME} is damaged, or no data file of a broker (file is not a database): {MENDING}"
    )
    assert (tmp_path / NAME).read_bytes() == content


def test_tables_of_another_program(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE mine (a)")
    assert "(its tables are those of another program)" in refusal(tmp_path)
    change(tmp_path, "SELECT a FROM mine")


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM meta WHERE key = 'version'", "UPDATE meta SET value = 'two' WHERE key = 'version'"],
)
def test_layout_that_is_not_said(tmp_path: Path, damage: str) -> None:
    close(tmp_path)
    change(tmp_path, damage)
    assert "(it does not say which layout it has)" in refusal(tmp_path)


def test_newer_layout_is_refused(tmp_path: Path) -> None:
    close(tmp_path)
    change(tmp_path, "UPDATE meta SET value = 99 WHERE key = 'version'")
    assert refusal(tmp_path) == (
        f"{tmp_path / NAME} was written by a newer version (layout 99, this one knows {SCHEMA_VERSION}); use "
        "that version, or another data directory."
    )
    # The refusal keeps nobody else from the file.
    change(tmp_path, f"UPDATE meta SET value = {SCHEMA_VERSION} WHERE key = 'version'")
    close(tmp_path)


#: What makes a file of the present layout one of an older layout.
OF_LAYOUT_3 = (
    "ALTER TABLE queue_message DROP COLUMN acquisitions",
    "ALTER TABLE queue_message DROP COLUMN redelivered",
    "DROP TABLE binding",
    "CREATE TABLE binding (vhost TEXT, source TEXT, kind TEXT, destination TEXT, routing_key TEXT, "
    "arguments BLOB, PRIMARY KEY (vhost, source, kind, destination, routing_key, arguments)) WITHOUT ROWID",
)
OLDER = {
    1: (*OF_LAYOUT_3, "ALTER TABLE queue_message DROP COLUMN deliveries", "DROP TABLE definition"),
    2: (*OF_LAYOUT_3, "DROP TABLE definition"),
    3: OF_LAYOUT_3,
}


@pytest.mark.parametrize("layout", OLDER)
def test_older_layout_is_brought_up_to_date(tmp_path: Path, layout: int) -> None:
    close(tmp_path)
    change(
        tmp_path,
        *OLDER[layout],
        f"UPDATE meta SET value = {layout} WHERE key = 'version'",
        "INSERT INTO queue (id, vhost, name) VALUES (1, '/', 'q')",
        "INSERT INTO message VALUES (1, '', 'q', x'0000', x'78')",
        "INSERT INTO queue_message (queue_id, position, message_id) VALUES (1, 1, 1)",
        "INSERT INTO binding VALUES ('/', 'e', 'queue', 'q', 'k', x'00000000')",
    )
    for number_of_start in range(2):
        connection = open_file(tmp_path)
        assert connection.execute("SELECT * FROM queue_message").fetchall() == [(1, 1, 1, None, 0, 0, 0)]
        assert number(connection, "SELECT value FROM meta WHERE key = 'version'") == SCHEMA_VERSION
        assert number(connection, "SELECT count(*) FROM binding") == 1
        assert number(connection, "SELECT count(*) FROM definition") == number_of_start
        connection.execute("INSERT OR REPLACE INTO definition VALUES ('vhosts', '[\"/\"]', '{}')")
        close_file(connection)


def test_layouts_do_not_differ_by_their_history(tmp_path: Path) -> None:
    """A file that was brought up to date has the tables of a new one."""

    def tables(directory: Path) -> list[tuple[str, list[str]]]:
        connection = open_file(directory)
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        ).fetchall()
        found = [
            (name, [str(column[1:]) for column in connection.execute(f"PRAGMA table_info({name})")])
            for (name,) in names
        ]
        close_file(connection)
        return found

    for layout, statements in OLDER.items():
        directory = tmp_path / str(layout)
        close(directory)
        change(directory, *statements, f"UPDATE meta SET value = {layout} WHERE key = 'version'")
        assert tables(directory) == tables(tmp_path / "new")


def test_file_of_an_older_version_learns_to_shrink(tmp_path: Path) -> None:
    close(tmp_path)
    change(
        tmp_path,
        "INSERT INTO queue (id, vhost, name) VALUES (1, '/', 'kept')",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA auto_vacuum = NONE",
        "VACUUM",
    )
    close(tmp_path)
    connection = sqlite3.connect(tmp_path / NAME)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert connection.execute("SELECT name FROM queue").fetchall() == [("kept",)]
    connection.close()


def test_messages_without_a_queue_are_dropped(tmp_path: Path) -> None:
    """What another queue holds as well stays."""
    close(tmp_path)
    change(
        tmp_path,
        "INSERT INTO queue (id, vhost, name) VALUES (1, '/', 'q')",
        *(f"INSERT INTO message VALUES ({each}, '', 'q', x'0000', x'78')" for each in (1, 2, 3)),
        "INSERT INTO queue_message (queue_id, position, message_id) VALUES (1, 1, 1), (2, 1, 1), (2, 2, 2)",
    )
    connection = open_file(tmp_path)
    assert connection.execute("SELECT queue_id, message_id FROM queue_message").fetchall() == [(1, 1)]
    assert connection.execute("SELECT id FROM message").fetchall() == [(1,)]
    close_file(connection)


# The log of a broker that was killed


def killed(directory: Path, copy: Path) -> Path:
    """Make a directory as a broker leaves it that is killed after a change; returns it."""
    connection = open_file(directory)
    connection.execute("INSERT INTO queue (id, vhost, name) VALUES (1, '/', 'q')")
    shutil.copytree(directory, copy)
    close_file(connection)
    return copy


def test_changes_in_the_log_are_found(tmp_path: Path) -> None:
    left = killed(tmp_path / "used", tmp_path / "left")
    connection = open_file(left)
    assert connection.execute("SELECT name FROM queue").fetchall() == [("q",)]
    close_file(connection)


def test_missing_log_is_told(tmp_path: Path) -> None:
    left = killed(tmp_path / "used", tmp_path / "left")
    log = log_of(left / NAME)
    log.unlink()
    for _ in range(2):
        assert refusal(left) == (
            f"{log} is missing. The broker was not stopped in good order, and its last changes are in that "
            f"file: put it back beside {NAME}, or create it empty to begin without these changes."
        )
        log.unlink(missing_ok=True)
    log.touch()
    connection = open_file(left)
    assert connection.execute("SELECT name FROM queue").fetchall() == []
    close_file(connection)


# Reading and closing


def test_number(connection: sqlite3.Connection) -> None:
    assert number(connection, "SELECT 7") == 7
    assert number(connection, "SELECT max(id) FROM message") == 0


def test_file_is_closed_when_reading_it_fails(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for error, text in (
        (KeyError("x-none"), f"{path} is damaged, or no data file of a broker ('x-none'): {MENDING}"),
        (coded(sqlite3.SQLITE_IOERR_READ), f"{path} cannot be read: what SQLite says"),
        (MemoryError("no room"), f"{path} cannot be read: no room"),
        (StorageError("said already"), "said already"),
    ):
        connection = open_file(tmp_path)
        with pytest.raises(StorageError) as caught, closed_if_damaged(connection, path):
            raise error
        assert str(caught.value) == text
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            connection.execute("SELECT 1")


def test_file_stays_open_when_nothing_fails(tmp_path: Path) -> None:
    connection = open_file(tmp_path)
    with closed_if_damaged(connection, tmp_path / NAME):
        pass
    assert number(connection, "SELECT value FROM meta WHERE key = 'running'") == 1
    close_file(connection)


def test_positions_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "delivered.positions").mkdir()
    with pytest.raises(StorageError) as caught:
        open_positions(tmp_path, open_file(tmp_path))
    why = os.strerror(errno.EISDIR)
    assert str(caught.value) == f"{tmp_path / 'delivered.positions'} cannot be written: {why}"
    # The file was closed in good order.
    close(tmp_path)


# Errors


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (coded(sqlite3.SQLITE_FULL), True),
        (coded(sqlite3.SQLITE_IOERR_WRITE), True),
        (coded(sqlite3.SQLITE_CANTOPEN), True),
        (coded(sqlite3.SQLITE_BUSY), True),
        (MemoryError(), True),
        (coded(sqlite3.SQLITE_CORRUPT), False),
        (coded(sqlite3.SQLITE_NOTADB), False),
        (failed("SELECT * FROM missing"), False),
        (ValueError(), False),
        (OSError(28, "No space left on device"), False),
    ],
    ids=str,
)
def test_errors_that_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_NOTADB]
)
def test_damage_is_explained(tmp_path: Path, code: int) -> None:
    path = tmp_path / NAME
    assert explain_failure(path, coded(code)) == (
        f"{path} is damaged, or no data file of a broker (what SQLite says): {MENDING}"
    )


@pytest.mark.parametrize(
    "error", [failed("SELECT * FROM missing"), ValueError("no such table: missing")], ids=["SQLite's", "ours"]
)
def test_other_failures_are_explained(tmp_path: Path, error: Exception) -> None:
    assert explain_failure(tmp_path / NAME, error) == (
        f"Writing to {tmp_path / NAME} failed (no such table: missing): start the broker again; it finds "
        "there what was confirmed."
    )
