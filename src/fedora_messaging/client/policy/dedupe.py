"""Remembering processed messages, so that no duplicate is processed later or at the same time."""

import asyncio
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ...exceptions import ConfigurationException
from ...options import DedupeOptions
from ..shared_files import FileLock, SqliteFile, forks_wait

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS seen (
    queue TEXT NOT NULL,
    message_id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (queue, message_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_at ON seen (at);
CREATE TABLE IF NOT EXISTS claims (
    queue TEXT NOT NULL,
    message_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (queue, message_id)
) WITHOUT ROWID;
"""
_HAS: Final = "SELECT 1 FROM seen WHERE queue = :queue AND message_id = :message_id AND at > :since"
_ADD: Final = "INSERT OR REPLACE INTO seen VALUES (:queue, :message_id, :at)"
_FORGET: Final = "DELETE FROM seen WHERE at <= :since"
_OWNER: Final = "SELECT owner FROM claims WHERE queue = :queue AND message_id = :message_id"
_CLAIM: Final = "INSERT INTO claims VALUES (:queue, :message_id, :owner)"
_RELEASE: Final = "DELETE FROM claims WHERE queue = :queue AND message_id = :message_id AND owner = :owner"
_RELEASE_ALL: Final = "DELETE FROM claims WHERE owner = :owner"
#: How many messages are added before old ones are deleted again.
_FORGET_EVERY: Final = 1000


class Claim(Enum):
    """The outcome of a claim to process a message."""

    #: The claim is ours: no other worker or process handles the message until we release it, or end.
    OURS = auto()
    #: Another worker or process is handling the message.
    BUSY = auto()
    #: The message was processed within the window.
    PROCESSED = auto()


class SeenMessages:
    """Message ids in an SQLite file, which several processes may share.

    A worker claims a message before it processes it. A claim ends with its process, however that ends: the
    owner of claims holds a lock on a file ``<path>.<owner>.claims``. Locks are taken and checked only in
    transactions.

    Args:
        options: The file and the window.

    Raises:
        ConfigurationException: The file cannot be used.
    """

    def __init__(self, options: DedupeOptions) -> None:
        self._window = options.window
        self._path = options.path
        self._remembered = 0
        self._owner = uuid.uuid4().hex
        self._lock = FileLock(self._lock_path(self._owner))
        try:
            self._file = SqliteFile(options.path, _prepare)
            with forks_wait(), self._file.transaction():
                self._lock.acquire()
                self._forget_the_dead()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationException(
                f'"path" in [consumer.dedupe] is {options.path}, which cannot be used: {error}'
            ) from error
        # Calls of SQLite block, so they run in a thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dedupe")

    async def claim(self, queue: str, message_id: str) -> Claim:
        """Claim the sole right to process a message; fails if it was processed, or is claimed already."""
        return await self._run(self._claim, queue, message_id)

    def _claim(self, queue: str, message_id: str) -> Claim:
        self._file.check()
        values = {"queue": queue, "message_id": message_id, "owner": self._owner}
        with forks_wait(), self._file.transaction():
            if self._file.run(_HAS, {**values, "since": time.time() - self._window}):
                return Claim.PROCESSED
            for (owner,) in self._file.run(_OWNER, values):
                if self._is_alive(owner):
                    return Claim.BUSY
            self._file.run(_CLAIM, values)
        return Claim.OURS

    async def release(self, queue: str, message_id: str) -> None:
        """Give up our claim to a message that was not processed, so that it can be claimed again."""
        await self._run(self._release, queue, message_id)

    def _release(self, queue: str, message_id: str) -> None:
        self._file.run(_RELEASE, {"queue": queue, "message_id": message_id, "owner": self._owner})

    async def add(self, queue: str, message_id: str) -> None:
        """Record that a message that we had claimed was processed; committed when this returns."""
        await self._run(self._add, queue, message_id)

    def _add(self, queue: str, message_id: str) -> None:
        now = time.time()
        with self._file.transaction():
            self._file.run(_ADD, {"queue": queue, "message_id": message_id, "at": now})
            self._release(queue, message_id)
            self._remembered += 1
            if self._remembered % _FORGET_EVERY == 0:
                self._file.run(_FORGET, {"since": now - self._window})

    async def close(self) -> None:
        """Release our claims, and close the file."""
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        try:
            with forks_wait(), self._file.transaction():
                self._bury(self._owner, self._lock)
        except (sqlite3.Error, OSError):
            # Another process will delete the claims: it takes the owner of a released lock for ended.
            self._lock.release()
        self._file.close()

    async def _run(self, call: "Callable[..., Result]", *arguments: str) -> "Result":
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    # Owners of claims. Used in transactions only, so that no process takes a new owner for an ended one.

    def _lock_path(self, owner: str) -> str:
        return f"{self._path}.{owner}.claims"

    def _is_alive(self, owner: str) -> bool:
        """Whether the process that made a claim still runs; if not, delete its claims."""
        lock = FileLock(self._lock_path(owner))
        # This works for our own lock, too: it is held through another descriptor, so it cannot be acquired.
        if not lock.acquire():
            return True
        self._bury(owner, lock)
        return False

    def _bury(self, owner: str, lock: FileLock) -> None:
        self._file.run(_RELEASE_ALL, {"owner": owner})
        Path(self._lock_path(owner)).unlink(missing_ok=True)
        lock.release()

    def _forget_the_dead(self) -> None:
        path = Path(self._path)
        for file in path.parent.iterdir():
            if file.name.startswith(f"{path.name}.") and file.suffix == ".claims":
                self._is_alive(file.name.removeprefix(f"{path.name}.").removesuffix(".claims"))


def _prepare(connection: sqlite3.Connection, _is_new: bool) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(_SCHEMA)
    connection.execute("PRAGMA user_version=1")
