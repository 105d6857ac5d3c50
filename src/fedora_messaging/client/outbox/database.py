"""The database of the outbox's table; the store uses it from a single thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from ..shared_files import FileLock, SqliteFile, Values

#: Largest write-ahead log that we leave alone, in bytes; SQLite itself writes its content back every 4 MB.
_WAL_MAX: Final = 16 * 1024 * 1024


class DatabaseError(Exception):
    """The database cannot carry out a request; the text says why."""


class Database(Protocol):
    """Runs statements; all errors are :class:`DatabaseError`.

    Attributes:
        dialect: ``sqlite`` or ``postgresql``.
        name: Name of the database for logs and error texts.
    """

    dialect: str
    name: str

    def transaction(self) -> AbstractContextManager[None]:
        """Commit the statements run inside, all or none; the changes are on disk when this returns."""
        ...

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction and return its rows."""
        ...

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values."""
        ...

    def check(self) -> None:
        """Check that the database is still the one that other programs find."""
        ...

    def shrink(self) -> None:
        """Give back disk space that is no longer needed."""
        ...

    def lock(self) -> bool:
        """Take the sender's lock, or check that we still hold it; returns whether we do."""
        ...

    def unlock(self) -> None:
        """Release the sender's lock, so that another process can send."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class SqliteDatabase:
    """An SQLite file, which may be an application's own.

    Args:
        path: Path of the file; it and its directory are created if they are missing.

    Raises:
        DatabaseError: The file cannot be used.
    """

    dialect = "sqlite"

    def __init__(self, path: str) -> None:
        self.name = path
        self._sender = FileLock(f"{path}.sender")
        with self._errors():
            self._file = SqliteFile(path, _prepare)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(str(error)) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements run inside, all or none; the changes are on disk when this returns."""
        with self._errors(), self._file.transaction():
            yield

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self._errors():
            return self._file.run(statement, values)

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values, in a transaction."""
        with self._errors():
            self._file.run_many(statement, values)

    def check(self) -> None:
        """Check that the open file is still the one at its path."""
        with self._errors():
            self._file.check()

    def shrink(self) -> None:
        """Empty a large write-ahead log: after a burst SQLite reuses its space, but never shortens it."""
        self._file.shrink(_WAL_MAX)

    def lock(self) -> bool:
        """Take the sender's lock, or check that we still hold it; returns whether we do."""
        with self._errors():
            return self._sender.acquire()

    def unlock(self) -> None:
        """Release the sender's lock, so that another process can send."""
        self._sender.release()

    def close(self) -> None:
        """Close the file."""
        self.unlock()
        self._file.close()


def _prepare(connection: sqlite3.Connection, is_new: bool) -> None:
    if is_new:
        # Only for a new file: an application's own file keeps its settings.
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
