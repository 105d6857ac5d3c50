"""Remembering which messages were processed, so that a duplicate is not processed again."""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from ..exceptions import ConfigurationException
from ..options import DedupeOptions
from .files import SqliteFile

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
"""
_HAS: Final = "SELECT 1 FROM seen WHERE queue = :queue AND message_id = :message_id AND at > :since"
_ADD: Final = "INSERT OR REPLACE INTO seen VALUES (:queue, :message_id, :at)"
_FORGET: Final = "DELETE FROM seen WHERE at <= :since"
#: Messages that are remembered between two times of forgetting old ones.
_FORGET_EVERY: Final = 1000


class SeenMessages:
    """Message ids in an SQLite file.

    Args:
        options: File and window.

    Raises:
        ConfigurationException: The file cannot be used.
    """

    def __init__(self, options: DedupeOptions) -> None:
        self._window = options.window
        self._remembered = 0
        try:
            self._file = SqliteFile(options.path, _prepare)
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationException(
                f'"path" in [consumer.dedupe] is {options.path}, which cannot be used: {error}'
            ) from error
        # SQLite blocks, so it has a thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dedupe")

    async def has(self, queue: str, message_id: str) -> bool:
        """Whether a message was processed within the window."""
        return await self._run(self._has, queue, message_id)

    def _has(self, queue: str, message_id: str) -> bool:
        since = time.time() - self._window
        return bool(self._file.run(_HAS, {"queue": queue, "message_id": message_id, "since": since}))

    async def add(self, queue: str, message_id: str) -> None:
        """Remember that a message was processed; it is on disk when this returns."""
        await self._run(self._add, queue, message_id)

    def _add(self, queue: str, message_id: str) -> None:
        now = time.time()
        with self._file.transaction():
            self._file.run(_ADD, {"queue": queue, "message_id": message_id, "at": now})
            self._remembered += 1
            if self._remembered % _FORGET_EVERY == 0:
                self._file.run(_FORGET, {"since": now - self._window})

    async def close(self) -> None:
        """Close the file."""
        await self._run(self._file.close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: "Callable[..., Result]", *arguments: str) -> "Result":
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _prepare(connection: sqlite3.Connection, _is_new: bool) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(_SCHEMA)
    connection.execute("PRAGMA user_version=1")
