"""Giving room in the file back to the disk."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Final

from .database_file import INCREMENTAL

#: Empty bytes that a file may keep, and the part of it that may be empty.
_EMPTY_MIN: Final = 8_000_000
_EMPTY_PART: Final = 0.25
#: Empty pages that go back to the disk at a time, which takes some milliseconds.
_PAGES_AT_ONCE: Final = 1000


class EmptyPages:
    """The pages of the file that hold nothing.

    Attributes:
        size: Bytes of them, which are used again before the file grows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.size = 0
        self._connection = connection
        self._page_size = self._scalar("PRAGMA page_size")
        self._can_shrink = self._scalar("PRAGMA auto_vacuum") == INCREMENTAL
        self._has_shrunk = False

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    def give_back(self, is_wanted: Callable[[], bool]) -> None:
        """Make a file smaller that is empty to a good part.

        Args:
            is_wanted: Whether somebody waits for a commit: then the rest has time.
        """
        with contextlib.suppress(sqlite3.Error):  # if that matters, the next commit fails by it, too
            while self._are_many():
                # A script runs to its end; a single statement would stop after the first page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
                self._has_shrunk = True
                if is_wanted():
                    return
            if self._has_shrunk:
                # Only now the file itself gets smaller.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._has_shrunk = False

    def _are_many(self) -> bool:
        pages, empty = self._scalar("PRAGMA page_count"), self._scalar("PRAGMA freelist_count")
        self.size = empty * self._page_size
        return self._can_shrink and self.size > _EMPTY_MIN and empty > pages * _EMPTY_PART
