"""The SQLite file: opening and closing it, its layout, and explaining its errors to operators."""

import contextlib
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from .positions import DeliveredPositions

FILE_NAME: Final = "broker.sqlite"
SCHEMA_VERSION: Final = 4
#: Bytes of the log that stay on the disk for the next changes.
_LOG_MAX: Final = 16_000_000
#: SQLite's number for files that give empty pages back on request.
INCREMENTAL: Final = 2
#: Errors of SQLite that are due to the system or the disk, and may pass.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


class StorageError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


def _code(error: Exception) -> int:
    """Return SQLite's primary code of an error; 0 for an error that is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def may_pass(error: Exception) -> bool:
    """Whether writing may succeed when it is tried again."""
    return isinstance(error, MemoryError) or _code(error) in _PASSING


def explain_failure(path: Path, error: Exception) -> str:
    """Describe why nothing can be written any more, and what to do."""
    if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damage(path, error)
    return f"Writing to {path} failed ({error}): start the broker again; it finds there what was confirmed."


def _damage(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged, or no data file of a broker ({error}): restore it from a backup, or move it "
        "away to begin without queues and messages."
    )


def number(connection: sqlite3.Connection, query: str) -> int:
    """Return the number that a query has as its only result; 0 for NULL."""
    return int(connection.execute(query).fetchone()[0] or 0)


@contextlib.contextmanager
def closed_if_damaged(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Close the file and raise StorageError if reading it in this block fails: it may be damaged."""
    try:
        yield
    except Exception as error:
        close_file(connection)
        if isinstance(error, StorageError):
            raise
        if may_pass(error):
            raise StorageError(f"{path} cannot be read: {error}") from error
        raise StorageError(_damage(path, error)) from error


def close_file(connection: sqlite3.Connection) -> None:
    """Close a file in good order, so that the next start needs no log."""
    (name,) = [file for _, schema, file in connection.execute("PRAGMA database_list") if schema == "main"]
    try:
        connection.execute("UPDATE meta SET value = 0 WHERE key = 'running'")
    except sqlite3.Error:
        _close_without_note(connection, Path(name))
    else:
        connection.close()


def _close_without_note(connection: sqlite3.Connection, path: Path) -> None:
    """Close a file that still says that a broker uses it, so that the next start does not miss the log.

    SQLite deletes the log when all of it is in the file. An empty one says the same.
    """
    log = log_of(path)
    had_log = log.exists()
    connection.close()
    if had_log:
        with contextlib.suppress(OSError):
            log.touch()


def open_positions(directory: Path, connection: sqlite3.Connection) -> DeliveredPositions:
    """Open the positions of a data directory.

    Raises:
        StorageError: The positions cannot be written; the connection is closed.
    """
    try:
        return DeliveredPositions(directory)
    except OSError as error:
        close_file(connection)
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}") from error


def open_file(directory: Path) -> sqlite3.Connection:
    """Open the file of a data directory, and create both if they are missing.

    Raises:
        StorageError: The directory cannot be written or is in use; its file is damaged or of a newer version.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The data directory {directory} cannot be created: {error.strerror}") from error
    path = directory / FILE_NAME
    has_log = log_of(path).exists()
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            _take(connection, path, has_log)
        except StorageError:
            connection.close()
            raise
        except BaseException:
            _close_without_note(connection, path)
            raise
    except (sqlite3.Error, MemoryError) as error:
        raise StorageError(_explain(directory, path, error)) from error
    return connection


def log_of(path: Path) -> Path:
    """Return the path of a file's log."""
    return path.with_name(f"{path.name}-wal")


def _take(connection: sqlite3.Connection, path: Path, has_log: bool) -> None:
    # A file gives pages back only if that was set before its first table was created.
    connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        # SQLite does not call that an error, and would go on without a log.
        raise StorageError(
            f"The data directory {path.parent} cannot be written (no log {log_of(path).name} can be made): "
            "make room on its disk, or mend what is wrong with it."
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_MAX}")
    # Take the lock now, so that a second broker fails at its start, not at its first message.
    connection.execute("BEGIN IMMEDIATE")
    _prepare(connection, path)
    _note_running(connection, path, has_log)
    connection.execute("COMMIT")
    # Write that to the file itself, so that the next start sees it even if the log is missing.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
        _make_shrinkable(connection)
    # Open no further files from now on, however few descriptors there are.
    connection.execute("PRAGMA temp_store = MEMORY")


def _make_shrinkable(connection: sqlite3.Connection) -> None:
    """Rewrite, once, a file that an older version made; without room for that the file stays as it is."""
    with contextlib.suppress(sqlite3.Error, MemoryError):
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        connection.execute("VACUUM")
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _note_running(connection: sqlite3.Connection, path: Path, has_log: bool) -> None:
    running = connection.execute("SELECT value FROM meta WHERE key = 'running'").fetchone()
    if running is not None and running[0] and not has_log:
        log = log_of(path)
        raise StorageError(
            f"{log} is missing. The broker was not stopped in good order, and its last changes are in that "
            f"file: put it back beside {path.name}, or create it empty to begin without these changes."
        )
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('running', 1)")


def _explain(directory: Path, path: Path, error: Exception) -> str:
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"The data directory {directory} is in use by another broker; stop that one or use another."
    if not may_pass(error):
        return _damage(path, error)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        advice = f"let the user who runs the broker write that directory and {path.name} in it"
    else:
        advice = "make room on its disk, or mend what is wrong with it"
    return f"The data directory {directory} cannot be written ({error}): {advice}."


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "meta" not in tables:
        raise StorageError(_damage(path, ValueError("its tables are those of another program")))
    if not tables:
        for statement in _schema():
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (SCHEMA_VERSION,))
        return
    row = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise StorageError(_damage(path, ValueError("it does not say which layout it has")))
    version = row[0]
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} was written by a newer version (layout {version}, this one knows {SCHEMA_VERSION}); "
            "use that version, or another data directory."
        )
    if version < SCHEMA_VERSION:
        _upgrade(connection, version)
    _drop_strays(connection)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older layout to today's."""
    counts = ["deliveries"] if version < 2 else []  # noqa: PLR2004 - that layout counted no deliveries
    for column in (*counts, "acquisitions", "redelivered"):
        connection.execute(f"ALTER TABLE queue_message ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE queue_message SET acquisitions = deliveries")
    if version < 3:  # noqa: PLR2004 - that layout had no definitions
        connection.execute(_creation_of("definition"))
    # The bindings had no order.
    connection.execute("ALTER TABLE binding RENAME TO unordered")
    connection.execute(_creation_of("binding"))
    connection.execute("INSERT INTO binding SELECT * FROM unordered")
    connection.execute("DROP TABLE unordered")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (SCHEMA_VERSION,))


def _schema() -> list[str]:
    """Return the statements that create the tables."""
    text = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    return [statement for statement in text.split(";") if statement.strip()]


def _creation_of(table: str) -> str:
    (found,) = (statement for statement in _schema() if f"CREATE TABLE {table} " in statement)
    return found


def _drop_strays(connection: sqlite3.Connection) -> None:
    """Delete messages without a queue: they were out when their queue was deleted and the broker killed.

    New queues get the numbers of deleted ones after a restart, and must not get their messages.
    """
    connection.execute("DELETE FROM queue_message WHERE queue_id NOT IN (SELECT id FROM queue)")
    connection.execute("DELETE FROM message WHERE id NOT IN (SELECT message_id FROM queue_message)")
