"""The database that has the table, as the store uses it from its one thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol

from ..shared_files import FileLock, SqliteFile, Values

#: Bytes of a write-ahead log that are left alone; SQLite itself writes back what is in it every 4 MB.
_WAL_MAX: Final = 16 * 1024 * 1024


class DatabaseError(Exception):
    """The database does not do what it was asked for; the text says why."""


class Database(Protocol):
    """Runs statements; all errors are :class:`DatabaseError`.

    Attributes:
        dialect: ``sqlite`` or ``postgresql``.
        name: What to call it in messages to people.
    """

    dialect: str
    name: str

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what is run inside, all or nothing; on disk when this returns."""
        ...

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction and return its rows."""
        ...

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values."""
        ...

    def check(self) -> None:
        """See that what is written is where other programs look for it."""
        ...

    def shrink(self) -> None:
        """Give disk space back that is not needed any longer."""
        ...

    def lock(self) -> bool:
        """Become the only one that sends, or see that one still is; returns whether that is so."""
        ...

    def unlock(self) -> None:
        """Let somebody else send."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class SqliteDatabase:
    """An SQLite file, which may be an application's own.

    Args:
        path: Path of the file; it and its directory are made if they are missing.

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
        """Commit what is run inside, all or nothing; on disk when this returns."""
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
        """See that the file is still at its path."""
        with self._errors():
            self._file.check()

    def shrink(self) -> None:
        """Empty a write-ahead log that a burst has left behind: SQLite writes over it, but never cuts it."""
        self._file.shrink(_WAL_MAX)

    def lock(self) -> bool:
        """Become the only one that sends, or see that one still is; returns whether that is so."""
        with self._errors():
            return self._sender.acquire()

    def unlock(self) -> None:
        """Let somebody else send."""
        self._sender.release()

    def close(self) -> None:
        """Close the file."""
        self.unlock()
        self._file.close()


def _prepare(connection: sqlite3.Connection, is_new: bool) -> None:
    if is_new:
        # An application's own file is left as it is.
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
