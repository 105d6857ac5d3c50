"""A connection to the database that has the table, used by one thread."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

#: Seconds to wait for somebody else's transaction.
_PATIENCE: Final = 30.0

Values = Mapping[str, Any]


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
        self._lock: sqlite3.Connection | None = None
        with self._errors():
            file = Path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            is_new = not file.exists()
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            if is_new:
                # An application's own file is left as it is.
                self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DatabaseError(str(error)) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is run inside, all or nothing; on disk when this returns."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._errors():
                self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self._errors():
            return self._connection.execute(statement, values or {}).fetchall()

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values."""
        with self._errors():
            self._connection.executemany(statement, values)

    def lock(self) -> bool:
        """Become the only one that sends, or see that one still is; returns whether that is so.

        The lock is a transaction on a file beside the other: SQLite lets no second one begin, in this process
        or another, and it ends with the process, however that ends.
        """
        if self._lock is not None:
            return True
        lock = None
        try:
            lock = sqlite3.connect(
                f"{self.name}.sender", timeout=0, isolation_level=None, check_same_thread=False
            )
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if lock is not None:
                lock.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            raise DatabaseError(f"{self.name}.sender: {error}") from error
        self._lock = lock
        return True

    def unlock(self) -> None:
        """Let somebody else send."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def close(self) -> None:
        """Close the connection."""
        self.unlock()
        self._connection.close()
