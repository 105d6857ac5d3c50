"""An archive in an SQLite file: write-ahead log, and FTS5 for the words."""

import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .database import MESSAGES, VERSION, ArchiveError, Row, Source, Values
from .query import Phrase, Words

#: "fmar": tells an archive from other SQLite files.
_APPLICATION: Final = 0x666D6172
#: Seconds to wait for a transaction of another process.
_PATIENCE: Final = 30.0
#: Kilobytes of the file that a connection keeps in memory: one that writes, one that reads.
_WRITE_CACHE: Final = 32 * 1024
_READ_CACHE: Final = 4 * 1024
#: Pages to give back to the file system in one step.
_GIVE_BACK: Final = 2000
#: Most readers whose connections stay open.
_MOST_IDLE: Final = 8

#: Of so many parts of the messages the oldest is deleted at once, while the file is too large.
_PARTS: Final = 50
#: No key is as large.
_ALL: Final = 2**63 - 1

#: What leads from each version of the tables to the next.
_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('seq', 0), ('epoch', abs(random() / 2147483648))",
        "CREATE TABLE topics (number INTEGER PRIMARY KEY, topic TEXT NOT NULL UNIQUE, "
        "category TEXT NOT NULL, messages INTEGER NOT NULL)",
        "CREATE TABLE ids (id TEXT PRIMARY KEY, key INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE messages (key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, id TEXT NOT NULL, "
        "topic INTEGER NOT NULL, sent REAL NOT NULL, stored REAL NOT NULL, severity INTEGER NOT NULL, "
        "app TEXT NOT NULL, agent TEXT NOT NULL, schema TEXT NOT NULL, summary TEXT NOT NULL, "
        "users TEXT NOT NULL, packages TEXT NOT NULL, record TEXT NOT NULL)",
        "CREATE UNIQUE INDEX messages_seq ON messages (seq)",
        "CREATE INDEX messages_topic ON messages (topic, key)",
        "CREATE TABLE names (kind INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, "
        "PRIMARY KEY (kind, name, key)) WITHOUT ROWID",
        "CREATE INDEX names_key ON names (key)",
        # Without the texts themselves, which the records have: `unindex` gives them again.
        "CREATE VIRTUAL TABLE search USING fts5 (words, content = '', columnsize = 0)",
    ),
)


class SqliteDatabase:
    """An archive's database in a file, which is made if it is missing.

    Args:
        path: Path of the file.
        create: Whether to make a missing one.

    Raises:
        ArchiveError: The file cannot be used.
    """

    def __init__(self, path: str, create: bool = True) -> None:
        self.name = path
        self._path = Path(path)
        self._turn = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        if not create and not self._path.exists():
            raise ArchiveError(
                f"There is no archive at {path}: `fedora-messaging archive run` makes one and fills it"
            )
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect(_WRITE_CACHE)
            self._migrate()

    def _connect(self, cache: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA cache_size = -{cache}")
        # With FULL, a commit is on disk when it returns, as the acknowledgements that follow it promise.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _migrate(self) -> None:
        writer = self._writer
        found = writer.execute("PRAGMA application_id").fetchone()[0]
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        tables = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and found != _APPLICATION:
            raise ArchiveError(f"{self.name} is not an archive of messages: give another file")
        if version > VERSION:
            raise ArchiveError(
                f"{self.name} was written by a newer fedora-messaging (tables of version {version}; this one "
                f"knows {VERSION}): use that one, or give another file"
            )
        if not tables:
            # Both must come before the first table.
            writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
            writer.execute("PRAGMA journal_mode = WAL")
        if version == VERSION:
            return
        with self.writing():
            # Another process may have done it meanwhile.
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    writer.execute(statement)
            writer.execute(f"PRAGMA application_id = {_APPLICATION}")
            writer.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ArchiveError(f"The archive {self.name} cannot be used: {error}") from error
        except OSError as error:
            raise ArchiveError(
                f"The archive {self.name} cannot be used: {error.strerror or error}"
            ) from error

    @contextmanager
    def writing(self) -> Iterator["_Writer"]:
        """Commit what is written inside, all or nothing; it is on disk when this returns."""
        with self._turn, self._errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield _Writer(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the first error tells more
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, statement: str, values: Values) -> list[Row]:
        """Run a statement that only reads, and return its rows."""
        with self._errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect(_READ_CACHE)
                connection.execute("PRAGMA query_only = ON")
            try:
                return connection.execute(statement, values).fetchall()
            finally:
                if len(self._idle) < _MOST_IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()

    def match(self, words: Words) -> tuple[Source, str, Values]:
        """Say how to find words: FTS5 goes through the messages that have them in the order of keys."""
        parts = [_fts5(phrase) for phrase in words.all_of]
        if words.any_of:
            parts.append("(" + " OR ".join(_fts5(phrase) for phrase in words.any_of) + ")")
        wanted = " AND ".join(parts)
        unwanted = " OR ".join(_fts5(phrase) for phrase in words.none_of)
        if not wanted:
            condition = "m.key NOT IN (SELECT rowid FROM search WHERE search MATCH :match)"
            return MESSAGES, condition, {"match": unwanted}
        text = f"({wanted}) NOT ({unwanted})" if unwanted else wanted
        # The words come first: CROSS JOIN keeps SQLite from going through all messages instead.
        source = Source("search CROSS JOIN messages m ON m.key = search.rowid", "search.rowid")
        return source, "search MATCH :match", {"match": text}

    def size(self) -> int:
        """Return how many bytes the messages take: the file without its free pages."""
        ((pages, free, size),) = self.read(
            "SELECT page_count, freelist_count, page_size "
            "FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
            {},
        )
        return int((pages - free) * size)

    def end_of_oldest(self) -> int | None:
        """Return a key: what is below it goes next, if there is too much; ``None`` if nothing should."""
        ((number,),) = self.read("SELECT coalesce(sum(messages), 0) FROM topics", {})
        if not number:
            return None
        rows = self.read(
            "SELECT key FROM messages ORDER BY key LIMIT 1 OFFSET :place", {"place": max(number // _PARTS, 1)}
        )
        return rows[0][0] if rows else _ALL

    def give_back(self) -> None:
        """Return the pages of deleted messages to the file system, and empty the write-ahead log."""
        with self._turn, self._errors():
            while self._writer.execute("PRAGMA freelist_count").fetchone()[0]:
                self._writer.execute(f"PRAGMA incremental_vacuum({_GIVE_BACK})").fetchall()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        with self._turn:
            for connection in (self._writer, *self._idle):
                connection.close()
            self._idle.clear()


class _Writer:
    """A transaction that writes; see :class:`~.database.Writer`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, values: Values) -> list[Row]:
        return self._connection.execute(statement, values).fetchall()

    def run_many(self, statement: str, values: Sequence[Values]) -> None:
        self._connection.executemany(statement, values)

    def make_room(self, keys: Sequence[int]) -> None:
        """Do nothing: a table has room for all."""

    def index(self, words: Sequence[tuple[int, str]]) -> None:
        self._connection.executemany("INSERT INTO search (rowid, words) VALUES (?, ?)", words)

    def unindex(self, words: Sequence[tuple[int, str]]) -> None:
        self._connection.executemany(
            "INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?)", words
        )

    def drop_before(self, key: int) -> int:
        return 0


def _fts5(phrase: Phrase) -> str:
    # The words have letters and digits only, so nothing in them ends the quotes.
    text = '"' + " ".join(phrase.words) + '"'
    return f"{text}*" if phrase.is_prefix else text


def is_sqlite(location: str) -> bool:
    """Whether a location is the path of a file, and no URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is None
