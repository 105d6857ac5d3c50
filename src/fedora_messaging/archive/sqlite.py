"""An archive in an SQLite file: write-ahead log, and FTS5 for the words."""

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from .database import VERSION, ArchiveError, Row, Source, Terms, Values, Wanted
from .query import Phrase

#: "fmar": tells an archive from other SQLite files.
_APPLICATION: Final = 0x666D6172
#: Seconds to wait for a transaction of another process.
_PATIENCE: Final = 30.0
#: Kilobytes of the file that a connection keeps in memory: one that writes, one that reads.
_WRITE_CACHE: Final = 32 * 1024
_READ_CACHE: Final = 4 * 1024
#: Pages to give back to the file system in one step, and the part of the file that may be free.
_GIVE_BACK: Final = 200
_FREE_PART: Final = 0.1
#: Pages of the index that are merged in one step.
_MERGED: Final = 500
#: Seconds between two attempts to begin a write-ahead log.
_PAUSE: Final = 0.01
#: Bytes of a page: rows have about 1500, of which larger pages waste less.
_PAGE: Final = 8192
#: Most readers whose connections stay open.
_MOST_IDLE: Final = 8

#: Of so many parts of the messages the oldest is deleted at once, while the file is too large.
_PARTS: Final = 50
#: No key is as large.
_ALL: Final = 2**63 - 1

#: The mark that every message has.
EVERY: Final = "e_"

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
        # Without the texts themselves, which the records have: `unindex` gives them again.
        "CREATE VIRTUAL TABLE search USING fts5 (terms, content = '', columnsize = 0, "
        # Marks have an underscore, words none.
        "tokenize = \"unicode61 remove_diacritics 0 tokenchars '_'\")",
        # Fewer merges while storing; finding goes through some more segments.
        "INSERT INTO search (search, rank) VALUES ('automerge', 8)",
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

    misjudges = False

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
            try:
                self._migrate()
            except BaseException:
                self._writer.close()
                raise

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
        if not writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            # These must come before the first table.
            writer.execute(f"PRAGMA page_size = {_PAGE}")
            writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._use_wal()
        if self._version() == VERSION:
            return
        with self.writing():
            # Another process may have done it meanwhile.
            version = self._version()
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    writer.execute(statement)
            writer.execute(f"PRAGMA application_id = {_APPLICATION}")
            writer.execute(f"PRAGMA user_version = {VERSION}")

    def _use_wal(self) -> None:
        """Begin a write-ahead log; SQLite itself does not wait for another process that does the same."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _version(self) -> int:
        """Return the version of the tables; 0 if there are none.

        Raises:
            ArchiveError: The file is something else, or newer.
        """
        # In one statement, so that it sees one state of the file.
        ((found, version, tables),) = self._writer.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        ).fetchall()
        if tables and found != _APPLICATION:
            raise ArchiveError(f"{self.name} is not an archive of messages: give another file")
        if version > VERSION:
            raise ArchiveError(
                f"{self.name} was written by a newer fedora-messaging (tables of version {version}; this one "
                f"knows {VERSION}): use that one, or give another file"
            )
        return int(version) if tables else 0

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

    def match(self, wanted: Wanted) -> tuple[Source, str, Values]:
        """Say how to find what some message may have: FTS5 goes through it in the order of keys."""
        words, marks, without = wanted
        parts = [_fts5(phrase) for phrase in words.all_of]
        if words.any_of:
            parts.append(_either([_fts5(phrase) for phrase in words.any_of]))
        parts += [_either([f'"{mark}"' for mark in each]) for each in marks]
        unwanted = [_fts5(phrase) for phrase in words.none_of] + [f'"{mark}"' for mark in without]
        # FTS5 needs something to leave out of.
        text = " AND ".join(parts or [f'"{EVERY}"'])
        if unwanted:
            text = f"({text}) NOT {_either(unwanted)}"
        # The terms come first: CROSS JOIN keeps SQLite from going through all messages instead.
        source = Source("search CROSS JOIN messages m ON m.key = search.rowid", "search.rowid", "search")
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

    def merge(self) -> None:
        """Have FTS5 merge its segments, in which notes of deletions take space: in steps, as writers wait."""
        pages = -_MERGED
        while True:
            with self._turn, self._errors():
                before = self._writer.total_changes
                self._writer.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
                # FTS5 has done something if it has written more than the command itself (its documentation).
                if self._writer.total_changes - before < 2:
                    return
            pages = _MERGED

    def give_back(self) -> None:
        """Return pages of deleted messages to the file system, if there are many, and empty the log.

        That takes long, so writers get their turn in between.
        """
        free = self._free_pages()
        while free > _FREE_PART * self.read("SELECT page_count FROM pragma_page_count", {})[0][0]:
            with self._turn, self._errors():
                self._writer.execute(f"PRAGMA incremental_vacuum({_GIVE_BACK})").fetchall()
            before, free = free, self._free_pages()
            if free >= before:
                break  # a reader needs them, or others have deleted more
        with self._turn, self._errors():
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _free_pages(self) -> int:
        with self._turn, self._errors():
            return int(self._writer.execute("PRAGMA freelist_count").fetchone()[0])

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

    def present(self, table: str, column: str, values: Sequence[Any]) -> set[Any]:
        found = self.run(
            f"SELECT {column} FROM {table} WHERE {column} IN (SELECT value FROM json_each(:given))",
            {"given": json.dumps(values)},
        )
        return {value for (value,) in found}

    def add(self, rows: Sequence[Values], terms: Sequence[Terms]) -> None:
        columns = list(rows[0])
        self._connection.executemany(
            f"INSERT INTO messages ({', '.join(columns)}) VALUES ({', '.join(f':{c}' for c in columns)})",
            rows,
        )
        self._connection.executemany("INSERT INTO ids (id, key) VALUES (:id, :key)", rows)
        # In the order of keys: FTS5 begins a new segment at each one that is lower than the one before.
        self._connection.executemany(
            "INSERT INTO search (rowid, terms) VALUES (?, ?)",
            [(row["key"], _joined(each)) for row, each in zip(rows, terms, strict=True)],
        )

    def unindex(self, terms: Iterable[tuple[int, Terms]]) -> None:
        self._connection.executemany(
            "INSERT INTO search (search, rowid, terms) VALUES ('delete', ?, ?)",
            [(key, _joined(each)) for key, each in terms],
        )

    def drop_before(self, key: int) -> int:
        return 0


def _joined(terms: Terms) -> str:
    return " ".join((*(_term(word) for word in terms.words), *terms.marks, EVERY))


def _term(word: str) -> str:
    """Return a word as FTS5 finds it: its tokenizer knows fewer letters than Python, and folds some."""
    return word if word.isascii() else f"x_{word.encode().hex()}"


def _either(parts: list[str]) -> str:
    return "(" + " OR ".join(parts) + ")"


def _fts5(phrase: Phrase) -> str:
    # The words have letters and digits only, so nothing in them ends the quotes.
    text = '"' + " ".join(_term(word) for word in phrase.words) + '"'
    return f"{text}*" if phrase.is_prefix else text


def is_sqlite(location: str) -> bool:
    """Whether a location is the path of a file, and no URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is None
