"""Giving empty pages of the file back to the disk."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Final

from .database_file import INCREMENTAL, number

#: Empty bytes that a file may always keep, and the part of it that may be empty.
_EMPTY_MIN: Final = 8_000_000
_EMPTY_PART: Final = 0.25
#: Empty pages to give back at a time; that takes some milliseconds.
_PAGES_AT_ONCE: Final = 1000


class EmptyPages:
    """The pages of the file that are empty.

    Attributes:
        size: Bytes of these pages; they are used before the file grows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.size: int = 0
        self._connection = connection
        self._page_size = number(connection, "PRAGMA page_size")
        self._can_shrink = number(connection, "PRAGMA auto_vacuum") == INCREMENTAL
        self._has_shrunk = False

    def give_back(self, is_wanted: Callable[[], bool]) -> None:
        """Make the file smaller if a large part of it is empty.

        Args:
            is_wanted: Returns whether a commit is due; then the rest is done later.
        """
        with contextlib.suppress(sqlite3.Error):  # if the error matters, the next commit fails, too
            while self._are_many():
                # executescript() runs the statement to its end; execute() would stop after the first page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
                self._has_shrunk = True
                if is_wanted():
                    return
            if self._has_shrunk:
                # The file itself gets smaller only now.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._has_shrunk = False

    def _are_many(self) -> bool:
        pages = number(self._connection, "PRAGMA page_count")
        empty = number(self._connection, "PRAGMA freelist_count")
        self.size = empty * self._page_size
        return self._can_shrink and self.size > _EMPTY_MIN and empty > pages * _EMPTY_PART
