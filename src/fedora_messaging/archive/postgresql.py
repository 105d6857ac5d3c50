"""An archive in a PostgreSQL database: partitions by month, and a GIN index for the words."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import add
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from .database import KEYS_PER_SECOND, MESSAGES, VERSION, ArchiveError, Row, Source, Terms, Values, Wanted
from .query import Phrase

#: Key of the advisory lock that writers hold: "fmarchiv" as a number.
_LOCK: Final = 0x666D617263686976
#: Connections: one that writes, and readers.
_CONNECTIONS: Final = 6
_DRIVER: Final = "postgresql+psycopg"

#: The partitions, the oldest first: their names have year and month.
_PARTITIONS: Final = (
    "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
    "WHERE inhparent = 'messages'::regclass ORDER BY c.relname"
)

#: The columns of messages that are no text.
_NUMBERS: Final = {
    "key": "bigint",
    "seq": "bigint",
    "topic": "integer",
    "sent": "double precision",
    "stored": "double precision",
    "severity": "integer",
}

#: What marks each place that PostgreSQL can keep of a word, which are more than a message has.
_PLACES: Final = [f":{place}" for place in range(1, 16_384)]

#: What leads from each version of the tables to the next.
_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)",
        "INSERT INTO counters VALUES ('seq', 0), ('epoch', floor(random() * 4294967296)::bigint)",
        "CREATE TABLE topics (number integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY, "
        "topic text NOT NULL UNIQUE, category text NOT NULL, messages bigint NOT NULL)",
        "CREATE TABLE ids (id text PRIMARY KEY, key bigint NOT NULL)",
        "CREATE TABLE messages (key bigint NOT NULL, seq bigint NOT NULL, id text NOT NULL, "
        "topic integer NOT NULL, sent double precision NOT NULL, stored double precision NOT NULL, "
        "severity integer NOT NULL, app text NOT NULL, agent text NOT NULL, schema text NOT NULL, "
        "summary text NOT NULL, users text NOT NULL, packages text NOT NULL, record text NOT NULL, "
        "terms tsvector NOT NULL) "
        "PARTITION BY RANGE (key)",
        "CREATE UNIQUE INDEX messages_key ON messages (key)",
        "CREATE INDEX messages_seq ON messages (seq)",
        "CREATE INDEX messages_topic ON messages (topic, key)",
        "CREATE INDEX messages_terms ON messages USING gin (terms)",
    ),
)


class PostgresqlDatabase:
    """An archive's database in PostgreSQL; its tables are made if they are missing.

    Args:
        url: ``postgresql://user:password@host/database``; SQLAlchemy and psycopg talk to it.

    Raises:
        ArchiveError: The URL is wrong, its driver is not installed, or the database cannot be used.
    """

    misjudges = True

    def __init__(self, url: str) -> None:
        self.name: str = "PostgreSQL"
        try:
            parsed = make_url(url)
            if parsed.drivername in ("postgres", "postgresql"):
                parsed = parsed.set(drivername=_DRIVER)
            self._engine: Engine = create_engine(parsed, pool_size=_CONNECTIONS, pool_pre_ping=True)
            event.listen(self._engine, "connect", _forbid_compiling)
        except (ArgumentError, ImportError, ValueError) as error:
            raise ArchiveError(f"The URL of the archive cannot be used: {error}") from None
        self.name = parsed.render_as_string(hide_password=True)
        try:
            self._migrate()
        except BaseException:
            self._engine.dispose()
            raise

    def _migrate(self) -> None:
        with self.writing() as writer:
            writer.run("CREATE TABLE IF NOT EXISTS archive_version (version integer NOT NULL)", {})
            found = writer.run("SELECT version FROM archive_version", {})
            version = found[0][0] if found else 0
            if version > VERSION:
                raise ArchiveError(
                    f"The archive {self.name} was written by a newer fedora-messaging (tables of version "
                    f"{version}; this one knows {VERSION}): use that one, or give another database"
                )
            if version == VERSION:
                return
            for statements in _MIGRATIONS[version:]:
                for statement in statements:
                    writer.run(statement, {})
            writer.run("DELETE FROM archive_version", {})
            writer.run("INSERT INTO archive_version VALUES (:version)", {"version": VERSION})

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # The driver's text: SQLAlchemy's also has the statement with its values.
            reason = str(getattr(error, "orig", None) or error).strip()
            raise ArchiveError(f"The archive {self.name} cannot be used: {reason}") from None

    @contextmanager
    def writing(self) -> Iterator["_Writer"]:
        """Commit what is written inside, all or nothing; it is on disk when this returns."""
        with self._errors(), self._engine.begin() as connection:
            # Writers take turns, so that whoever has read up to some `seq` has missed none.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield _Writer(connection)

    def read(self, statement: str, values: Values) -> list[Row]:
        """Run a statement that only reads, and return its rows."""
        with self._errors(), self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), dict(values))]

    def match(self, wanted: Wanted) -> tuple[Source, str, Values]:
        """Say how to find what some message may have."""
        words, marks, without = wanted
        parts = [f"({_tsquery(phrase)})" for phrase in words.all_of]
        if words.any_of:
            parts.append("(" + " | ".join(f"({_tsquery(phrase)})" for phrase in words.any_of) + ")")
        parts += ["(" + " | ".join(f"'{mark}'" for mark in each) + ")" for each in marks]
        parts += [f"!({_tsquery(phrase)})" for phrase in words.none_of]
        parts += [f"!'{mark}'" for mark in without]
        # A cast takes the terms as they are.
        return MESSAGES, "m.terms @@ CAST(:match AS tsquery)", {"match": " & ".join(parts)}

    def size(self) -> int:
        """Return how many bytes the partitions take, with their indexes."""
        ((size,),) = self.read(
            "SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0) "
            "FROM pg_inherits WHERE inhparent = 'messages'::regclass",
            {},
        )
        return int(size)

    def end_of_oldest(self) -> int | None:
        """Return the end of the oldest month: its space comes back when its partition is dropped.

        The last month stays: what is deleted in a partition leaves space that is only used again.
        """
        names = self.read(_PARTITIONS, {})
        return _keys_of(names[0][0])[1] if len(names) > 1 else None

    def merge(self) -> None:
        """Do nothing: the index is of the table's partitions."""

    def give_back(self) -> None:
        """Have PostgreSQL return what it can: whole partitions are gone already, the rest is used again."""
        with self._errors(), self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in ("messages", "ids"):
                alone.execute(text(f"VACUUM (ANALYZE) {table}"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


class _Writer:
    """A transaction that writes; see :class:`~.database.Writer`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, statement: str, values: Values) -> list[Row]:
        result = self._connection.execute(text(statement), dict(values))
        return [tuple(row) for row in result] if result.returns_rows else []

    def run_many(self, statement: str, values: Sequence[Values]) -> None:
        if values:
            self._connection.execute(text(statement), [dict(each) for each in values])

    def present(self, table: str, column: str, values: Sequence[Any]) -> set[Any]:
        found = self.run(
            f"SELECT {column} FROM {table} WHERE {column} IN (SELECT CAST(value AS {_type(column)}) "
            "FROM json_array_elements_text(CAST(:given AS json)) AS given (value))",
            {"given": orjson.dumps(values).decode()},
        )
        return {value for (value,) in found}

    def add(self, rows: Sequence[Values], terms: Sequence[Terms]) -> None:
        self._make_partitions([row["key"] for row in rows])
        names = ", ".join(rows[0])
        typed = ", ".join(f"{name} {_type(name)}" for name in (*rows[0], "terms"))
        given = [{**row, "terms": _tsvector(each)} for row, each in zip(rows, terms, strict=True)]
        # One statement for all rows: with one for each it takes longer, as do arrays, whose texts the driver
        # escapes in Python.
        self.run(
            "WITH given AS MATERIALIZED ("
            f"SELECT * FROM json_to_recordset(CAST(:given AS json)) AS given ({typed})), "
            "numbered AS (INSERT INTO ids (id, key) SELECT id, key FROM given) "
            f"INSERT INTO messages ({names}, terms) SELECT {names}, CAST(terms AS tsvector) FROM given",
            {"given": orjson.dumps(given).decode()},
        )

    def _make_partitions(self, keys: Sequence[int]) -> None:
        """Make the partitions of the months that the keys are in; others may have dropped them."""
        there = {name for (name,) in self.run(_PARTITIONS, {})}
        for first, last in {_month_of(key) for key in keys}:
            name = f"messages_{datetime.fromtimestamp(first // KEYS_PER_SECOND, UTC):%Y_%m}"
            if name not in there:
                self.run(
                    f"CREATE TABLE {name} PARTITION OF messages FOR VALUES FROM ({first}) TO ({last})", {}
                )

    def unindex(self, terms: Iterable[tuple[int, Terms]]) -> None:
        """Do nothing: the terms go with their message."""

    def drop_before(self, key: int) -> int:
        """Drop the partitions whose messages are all below a key."""
        dropped = 0
        for (name,) in self.run(_PARTITIONS, {}):
            first, last = _keys_of(name)
            if last > key:
                break
            values = {"first": first, "last": last}
            self.run(
                "UPDATE topics SET messages = messages - gone.count FROM (SELECT topic, count(*) AS count "
                f"FROM {name} GROUP BY topic) AS gone WHERE number = gone.topic",
                {},
            )
            self.run("DELETE FROM ids WHERE key >= :first AND key < :last", values)
            ((count,),) = self.run(f"SELECT count(*) FROM {name}", {})
            self.run(f"DROP TABLE {name}", {})
            dropped += count
        return dropped


def _forbid_compiling(connection: Any, _record: object) -> None:
    """Have PostgreSQL answer at once: to compile a search over many months takes longer than to run it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'jit'")
    connection.commit()


def _type(column: str) -> str:
    return _NUMBERS.get(column, "text")


def _keys_of(name: str) -> tuple[int, int]:
    """Return the first key of a partition, and that of the next."""
    year, month = (int(part) for part in name.split("_")[1:])
    return _month(year, month)


def _month_of(key: int) -> tuple[int, int]:
    sent = datetime.fromtimestamp(key // KEYS_PER_SECOND, UTC)
    return _month(sent.year, sent.month)


def _month(year: int, month: int) -> tuple[int, int]:
    """Return the first key of a month, and that of the next."""
    begin = datetime(year, month, 1, tzinfo=UTC)
    # Months after 9999 do not exist, and the last of them has no next.
    end = (
        datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()
        if (year, month) < (9999, 12)
        else begin.timestamp() + 31 * 86400
    )
    return int(begin.timestamp()) * KEYS_PER_SECOND, int(end) * KEYS_PER_SECOND


def _tsvector(terms: Terms) -> str:
    """Write terms as PostgreSQL reads them: words with their places, marks without; neither needs quotes."""
    return " ".join([*map(add, terms.words, _PLACES), *terms.marks])


def _tsquery(phrase: Phrase) -> str:
    # The words have letters and digits only, so nothing in them is an operator.
    written = [f"'{word}'" for word in phrase.words]
    if phrase.is_prefix:
        written[-1] += ":*"
    return " <-> ".join(written)
