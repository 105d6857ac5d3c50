"""An outbox in an application's PostgreSQL database, through SQLAlchemy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..shared_files import Values
from .database import DatabaseError

#: Key of the advisory lock that the sending process holds: "fmoutbox" as a number.
_LOCK: Final = 0x666D6F7574626F78


class SqlDatabase:
    """A PostgreSQL database, which SQLAlchemy talks to. Its advisory locks end with their holder.

    Args:
        url: URL for SQLAlchemy, for example ``postgresql+psycopg://user:password@host/database``.

    Raises:
        DatabaseError: The URL is wrong, or its driver is not installed.
    """

    dialect = "postgresql"

    def __init__(self, url: str) -> None:
        try:
            self._engine: Engine = create_engine(url, pool_size=2, max_overflow=0, pool_pre_ping=True)
        except (ArgumentError, ImportError) as error:
            raise DatabaseError(f"the URL cannot be used: {error}") from None
        self.name = self._engine.url.render_as_string(hide_password=True)
        if self._engine.dialect.name != self.dialect:
            raise DatabaseError(f"{self._engine.dialect.name} is not supported; give an SQLite file as path")
        self._connection: Connection | None = None
        self._locked: Connection | None = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # Use the driver's text, because SQLAlchemy's also has the statement with its values.
            raise DatabaseError(str(getattr(error, "orig", None) or error)) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements run inside, all or none; the changes are on disk when this returns."""
        with self._errors(), self._engine.begin() as connection:
            self._connection = connection
            try:
                yield
            finally:
                self._connection = None

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        if self._connection is None:
            with self.transaction():
                return self.run(statement, values)
        with self._errors():
            result = self._connection.execute(text(statement), values or {})
            return [tuple(row) for row in result] if result.returns_rows else []

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values, in a transaction."""
        assert self._connection is not None  # callers have begun a transaction
        with self._errors():
            self._connection.execute(text(statement), values)

    def check(self) -> None:
        """Do nothing: the server itself reports a missing database."""

    def shrink(self) -> None:
        """Do nothing: the server frees disk space by itself."""

    def lock(self) -> bool:
        """Take the sender's lock, or check that we still hold it; returns whether we do.

        The lock belongs to a separate connection, and ends with it.
        """
        with self._errors():
            if self._locked is not None:
                try:
                    self._locked.execute(text("SELECT 1"))
                except SQLAlchemyError:
                    self.unlock()
                else:
                    return True
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar()
            except BaseException:
                connection.close()
                raise
            if not got:
                connection.close()
                return False
            self._locked = connection
            return True

    def unlock(self) -> None:
        """Release the sender's lock, so that another process can send."""
        connection, self._locked = self._locked, None
        if connection is not None:
            # Keep the connection out of the pool: the lock ends only with its session.
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close the connections."""
        self.unlock()
        self._engine.dispose()
