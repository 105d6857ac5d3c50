"""Files that several processes share, and that a process may be using when it forks."""

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from .. import forking

Result = TypeVar("Result")
Values = Mapping[str, Any]

#: Seconds to wait for a transaction of another process or thread.
_PATIENCE: Final = 30.0
#: Seconds between two checks whether that transaction has ended.
_PAUSE: Final = 0.002
#: Directory of the file descriptors of this process.
_DESCRIPTORS: Final = Path("/dev/fd")


class SqliteFile:
    """An SQLite file, closed while the process forks and opened again when it is next used.

    SQLite remembers in the process which files it has locked, but a child does not inherit the locks. If it
    used its parent's connection, or opened another one beside that, it would rely on locks that it does not
    have, and its changes could be overwritten or lost ("How To Corrupt An SQLite Database File", section
    2.6). So a fork waits for the end of a transaction, and the file is closed when it happens.

    Args:
        path: Path of the file; it and its directory are created if they are missing.
        prepare: Called with each connection that is opened, and with whether the file is new.

    Raises:
        sqlite3.Error: SQLite cannot use the file.
        OSError: The file cannot be created.
    """

    def __init__(self, path: str, prepare: Callable[[sqlite3.Connection, bool], None]) -> None:
        self._path = path
        self._prepare = prepare
        self._is_new = not Path(path).exists()
        self._connection: sqlite3.Connection | None = None
        # Device and inode of the file that the connection has open.
        self._opened: tuple[int, int] | None = None
        # Held while the connection is used, but not while waiting for another user of the file.
        self._in_use = threading.RLock()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with _forks:
            _files.add(self)
        self._patiently(lambda _connection: None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the statements run inside, all or none; they are committed when this returns.

        Raises:
            sqlite3.Error: SQLite refuses, or a transaction of another user takes more than 30 seconds.
        """
        connection = self._patiently(self._begin)
        try:
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                connection.execute("PRAGMA busy_timeout=0")
        finally:
            self._in_use.release()

    def _begin(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.execute("BEGIN IMMEDIATE")
        # From here on we must keep the connection while waiting, so SQLite itself does the waiting.
        connection.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
        self._in_use.acquire()
        return connection

    def run(self, statement: str, values: Values | None = None) -> list[tuple[Any, ...]]:
        """Run a statement, in a transaction or by itself, and return its rows; raises as above."""
        return self._patiently(lambda connection: connection.execute(statement, values or {}).fetchall())

    def run_many(self, statement: str, values: list[dict[str, Any]]) -> None:
        """Run a statement for each of several values, in a transaction; raises as above."""
        self._patiently(lambda connection: connection.executemany(statement, values))

    def check(self) -> None:
        """Check that the open file is still the one at its path.

        Raises:
            sqlite3.ProgrammingError: The file was deleted or renamed since it was opened.
        """
        with self._in_use:
            if self._connection is None or _identity(self._path) == self._opened:
                return
        # Opening the new file would break its write-ahead log when this one is closed.
        raise sqlite3.ProgrammingError(
            f"{self._path} was deleted, renamed or replaced while this process had it open: put it back, or "
            "start all programs that use it again"
        )

    def shrink(self, most: int) -> None:
        """Empty the write-ahead log if it has more than ``most`` bytes and no reader is using it."""
        with self._in_use, suppress(OSError, sqlite3.Error):
            if self._connection is not None and Path(f"{self._path}-wal").stat().st_size > most:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        with self._in_use:
            self._disconnect()
        with _forks:
            _files.discard(self)

    def _patiently(self, call: Callable[[sqlite3.Connection], Result]) -> Result:
        """Repeat a call while others have locked the file; forks may happen in between."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with self._in_use:
                try:
                    return call(self._connection or self._connect())
                except sqlite3.OperationalError as error:
                    if not _is_busy(error) or time.monotonic() >= deadline:
                        raise
            time.sleep(_PAUSE)

    def _connect(self) -> sqlite3.Connection:
        if _is_inherited(self._path):
            raise sqlite3.ProgrammingError(
                f"{self._path} was open when this process was forked, and an SQLite file cannot be used by "
                "parent and child: close all connections to it before forking"
            )
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection, self._is_new)
        except BaseException:
            connection.close()
            raise
        self._is_new = False
        self._opened = _identity(self._path)
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class FileLock:
    """A lock that ends with the process that holds it, however that ends; a child does not inherit it.

    Args:
        path: Path of the file to lock; it is created if it is missing.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock, or check that this object still holds it; returns whether it does.

        Raises:
            OSError: The file cannot be created or locked.
        """
        with _forks:
            if self._descriptor is not None:
                if _identity(self._path) == _identity(self._descriptor):
                    return True
                # The file was deleted, so others would lock a new one.
                self.release()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            _locks.add(self)
            return True

    def release(self) -> None:
        """Release the lock."""
        with _forks:
            _locks.discard(self)
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    # The low byte of an extended error code is the primary code.
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def forks_wait() -> Iterator[None]:
    """Make forks wait; needed around a transaction in which a :class:`FileLock` is taken."""
    with _forks:
        yield


# Forks

#: Held while a fork happens, and while the sets below change.
_forks: Final = threading.RLock()
_files: Final[weakref.WeakSet[SqliteFile]] = weakref.WeakSet()
_locks: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()
_parked: Final[list[SqliteFile]] = []
#: Files that other code in the process had open at the fork: device and inode of each descriptor.
_inherited: Final[dict[int, tuple[int, int]]] = {}


def _before_fork() -> None:
    _forks.acquire()
    for file in _files:
        file._in_use.acquire()
        _parked.append(file)
        with suppress(sqlite3.Error):
            file._disconnect()


def _after_fork() -> None:
    for file in _parked:
        file._in_use.release()
    _parked.clear()
    _forks.release()


def _after_fork_in_child() -> None:
    ours = {identity for file in _parked if (identity := _identity(file._path)) is not None}
    for descriptor in _descriptors() if ours else ():
        identity = _identity(descriptor)
        if identity in ours:
            _inherited[descriptor] = identity
    for lock in list(_locks):
        # Closing the descriptor keeps the parent's lock; unlocking it would release that, too.
        lock.release()
    _after_fork()


def _descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in _DESCRIPTORS.iterdir()]
    except OSError:
        return []


def _identity(file: int | str) -> tuple[int, int] | None:
    try:
        status = os.fstat(file) if isinstance(file, int) else Path(file).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_inherited(path: str) -> bool:
    """Whether a connection to a file that was open at a fork is still open in the child."""
    for descriptor, identity in list(_inherited.items()):
        if _identity(descriptor) != identity:
            del _inherited[descriptor]
    return _identity(path) in _inherited.values()


forking.register(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
