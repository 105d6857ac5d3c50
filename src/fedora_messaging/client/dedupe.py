"""Remembering which messages were processed, so that a duplicate is not processed again."""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ..exceptions import ConfigurationException
from ..options import DedupeOptions

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
        # SQLite blocks, so it has a thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dedupe")
        try:
            self._database = self._thread.submit(_open, options.path).result()
        except (sqlite3.Error, OSError) as error:
            self._thread.shutdown()
            raise ConfigurationException(
                f'"path" in [consumer.dedupe] is {options.path}, which cannot be used: {error}'
            ) from error

    async def has(self, queue: str, message_id: str) -> bool:
        """Whether a message was processed within the window."""
        return await self._run(self._has, queue, message_id)

    def _has(self, queue: str, message_id: str) -> bool:
        since = time.time() - self._window
        found = self._database.execute(
            "SELECT 1 FROM seen WHERE queue = ? AND message_id = ? AND at > ?", (queue, message_id, since)
        )
        return found.fetchone() is not None

    async def add(self, queue: str, message_id: str) -> None:
        """Remember that a message was processed; it is on disk when this returns."""
        await self._run(self._add, queue, message_id)

    def _add(self, queue: str, message_id: str) -> None:
        now = time.time()
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (queue, message_id, now))
            self._remembered += 1
            if self._remembered % _FORGET_EVERY == 0:
                self._database.execute("DELETE FROM seen WHERE at <= ?", (now - self._window,))

    async def close(self) -> None:
        """Close the file."""
        await self._run(self._database.close)
        self._thread.shutdown(wait=False)

    async def _run(self, call: "Callable[..., Result]", *arguments: str) -> "Result":
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _open(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=30.0)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.executescript(_SCHEMA)
    with database:
        database.execute("PRAGMA user_version=1")
    return database
