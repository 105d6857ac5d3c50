"""An archive of messages: stores each one once, finds them again, and forgets the oldest."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from .database import MESSAGES, Database, Source, Values, Writer, batches, listed
from .entry import Entry, Stored, words_of_record
from .query import Query
from .topics import category_of, fits_any

#: A key is the second in which a message was sent, and its number among those of that second.
_KEYS_PER_SECOND: Final = 1 << 20
#: Kinds of names.
_USERS, _PACKAGES = 0, 1
#: Messages whose ids are looked up, or that are deleted, together.
_BATCH: Final = 500
#: A search for topics with at most this many messages collects and sorts them; others go through all.
_FEW: Final = 20_000
#: Counting stops here: nobody reads so many pages.
MOST_COUNTED: Final = 10_000

_COLUMNS: Final = (
    "m.key, m.seq, m.id, (SELECT t.topic FROM topics t WHERE t.number = m.topic), m.sent, m.stored, "
    "m.severity, m.app, m.agent, m.schema, m.summary, m.users, m.packages, m.record"
)


class Outline(NamedTuple):
    """What an archive holds.

    Attributes:
        messages: How many messages.
        size: How many bytes they take.
        oldest: When the oldest was sent, in seconds since 1970; ``None`` if there is none.
        newest: When the newest was sent.
    """

    messages: int
    size: int
    oldest: float | None
    newest: float | None


class Archive:
    """Messages that were seen, by id, in the order of the time at which they were sent.

    Each message has a ``key``, which orders by that time, and a ``seq``, which orders by the time of storing:
    a reader who has seen ``seq`` 7 has seen all up to 7. Every method may be called in any thread, and
    blocks. All errors are :class:`~.database.ArchiveError`.

    Args:
        database: Where the messages are.
        clock: Returns the time in seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        ((self._epoch,),) = database.read("SELECT value FROM counters WHERE name = 'epoch'", {})

    @property
    def name(self) -> str:
        """What people call the archive: its path, or its URL without the password."""
        return self._database.name

    @property
    def epoch(self) -> int:
        """A number that no other archive has, by chance: it tells whose ``seq`` somebody means."""
        return int(self._epoch)

    # Storing

    def store(self, entries: Sequence[Entry]) -> int:
        """Store messages that are not there yet; they are on disk when this returns.

        Returns:
            How many were new.
        """
        if not entries:
            return 0
        unique = {entry.id: entry for entry in reversed(entries)}
        with self._database.writing() as writer:
            known = self._known(writer, list(unique))
            new = [unique[id] for id in reversed(unique) if id not in known]
            if new:
                self._insert(writer, new)
        return len(new)

    def _known(self, writer: Writer, ids: list[str]) -> set[str]:
        known: set[str] = set()
        for part in batches(ids, _BATCH):
            names, values = listed("id", part)
            known |= {id for (id,) in writer.run(f"SELECT id FROM ids WHERE id IN {names}", values)}
        return known

    def _insert(self, writer: Writer, entries: list[Entry]) -> None:
        ((seq,),) = writer.run(
            "UPDATE counters SET value = value + :more WHERE name = 'seq' RETURNING value",
            {"more": len(entries)},
        )
        first = seq - len(entries) + 1
        numbers = self._number_topics(writer, Counter(entry.topic for entry in entries))
        keys = self._free_keys(writer, [_key(entry.sent, first + at) for at, entry in enumerate(entries)])
        writer.make_room(keys)
        now = self._clock()
        rows: list[Values] = []
        ids: list[Values] = []
        names: list[Values] = []
        for place, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            ids.append({"id": entry.id, "key": key})
            names += [{"kind": _USERS, "name": name, "key": key} for name in entry.users]
            names += [{"kind": _PACKAGES, "name": name, "key": key} for name in entry.packages]
            rows.append(
                {
                    "key": key,
                    "seq": first + place,
                    "id": entry.id,
                    "topic": numbers[entry.topic],
                    "sent": entry.sent,
                    "stored": now,
                    "severity": entry.severity,
                    "app": entry.app,
                    "agent": entry.agent,
                    "schema": entry.schema,
                    "summary": entry.summary,
                    "users": json.dumps(entry.users),
                    "packages": json.dumps(entry.packages),
                    "record": entry.record,
                }
            )
        writer.run_many("INSERT INTO ids (id, key) VALUES (:id, :key)", ids)
        columns = list(rows[0])
        writer.run_many(
            f"INSERT INTO messages ({', '.join(columns)}) VALUES ({', '.join(f':{c}' for c in columns)})",
            rows,
        )
        writer.run_many("INSERT INTO names (kind, name, key) VALUES (:kind, :name, :key)", names)
        writer.index([(key, entry.words) for key, entry in zip(keys, entries, strict=True)])

    def _number_topics(self, writer: Writer, counts: Counter[str]) -> dict[str, int]:
        numbers = {}
        for topic, count in counts.items():
            ((numbers[topic],),) = writer.run(
                "INSERT INTO topics (topic, category, messages) VALUES (:topic, :category, :count) "
                "ON CONFLICT (topic) DO UPDATE SET messages = topics.messages + :count RETURNING number",
                {"topic": topic, "category": category_of(topic), "count": count},
            )
        return numbers

    def _free_keys(self, writer: Writer, wanted: list[int]) -> list[int]:
        """Return the keys, moved on where a message of the same second has one, 2**20 messages ago."""
        keys: list[int] = []
        taken: set[int] = set()
        for part in batches(wanted, _BATCH):
            names, values = listed("key", part)
            found = writer.run(f"SELECT key FROM messages WHERE key IN {names}", values)
            taken |= {key for (key,) in found}
        for key in wanted:
            while key in taken:
                key += 1
                if writer.run("SELECT 1 FROM messages WHERE key = :key", {"key": key}):
                    taken.add(key)
            taken.add(key)
            keys.append(key)
        return keys

    # Finding

    def get(self, id: str) -> Stored | None:
        """Return the message with an id, if it is there."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM ids JOIN messages m ON m.key = ids.key WHERE ids.id = :id", {"id": id}
        )
        return _stored(rows[0]) if rows else None

    def find(self, query: Query) -> list[Stored]:
        """Return the messages that a query asks for."""
        source, conditions, values = self._conditions(query)
        order = "DESC" if query.newest_first else "ASC"
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM {source.tables} WHERE {conditions} ORDER BY {source.key} {order} "
            "LIMIT :limit OFFSET :offset",
            {**values, "limit": query.limit, "offset": query.offset},
        )
        return [_stored(row) for row in rows]

    def count(self, query: Query, most: int = MOST_COUNTED) -> int:
        """Count the messages that a query asks for, without its limit; stop at ``most``."""
        source, conditions, values = self._conditions(query)
        ((number,),) = self._database.read(
            f"SELECT count(*) FROM (SELECT 1 FROM {source.tables} WHERE {conditions} LIMIT :most) AS found",
            {**values, "most": most},
        )
        return int(number)

    def each(self, query: Query, size: int = _BATCH) -> Iterator[Stored]:
        """Yield all messages that a query asks for, whatever its limit; others may store meanwhile."""
        while True:
            found = self.find(replace(query, limit=size))
            yield from found
            if len(found) < size:
                return
            if query.newest_first:
                query = replace(query, offset=0, before=found[-1].key)
            else:
                query = replace(query, offset=0, after=found[-1].key)

    def newest_seq(self) -> int:
        """Return the ``seq`` of the message that was stored last."""
        ((seq,),) = self._database.read("SELECT value FROM counters WHERE name = 'seq'", {})
        return int(seq)

    def stored_after(self, seq: int, most: int = _BATCH) -> list[Stored]:
        """Return the messages that were stored after another one, in that order."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM messages m WHERE m.seq > :seq ORDER BY m.seq LIMIT :most",
            {"seq": seq, "most": most},
        )
        return [_stored(row) for row in rows]

    def outline(self) -> Outline:
        """Tell what the archive holds."""
        ((messages,),) = self._database.read("SELECT coalesce(sum(messages), 0) FROM topics", {})
        ((oldest, newest),) = self._database.read(
            "SELECT (SELECT sent FROM messages ORDER BY key LIMIT 1), "
            "(SELECT sent FROM messages ORDER BY key DESC LIMIT 1)",
            {},
        )
        return Outline(int(messages), self._database.size(), oldest, newest)

    def topics(self) -> list[tuple[str, int]]:
        """Return the topics with their numbers of messages, the most frequent first."""
        rows = self._database.read(
            "SELECT topic, messages FROM topics WHERE messages > 0 ORDER BY messages DESC, topic", {}
        )
        return [(topic, int(messages)) for topic, messages in rows]

    def _conditions(self, query: Query) -> tuple[Source, str, dict[str, Any]]:
        """Return what to select from, under which conditions, and the values in both."""
        source = MESSAGES
        conditions: list[str] = []
        values: dict[str, Any] = {}

        def require(condition: str, **more: Any) -> None:
            conditions.append(condition)
            values.update(more)

        words = query.words
        if words.are_impossible:
            require("1 = 0")
        elif words:
            source, condition, more = self._database.match(words)
            require(condition, **more)
        if query.since is not None:
            require("m.key >= :since AND m.sent >= :since_exactly")
            values |= {"since": _first_key(query.since), "since_exactly": query.since}
        if query.until is not None:
            require("m.key < :until AND m.sent < :until_exactly")
            values |= {"until": _first_key(query.until + 1), "until_exactly": query.until}
        if query.before is not None:
            require("m.key < :before", before=query.before)
        if query.after is not None:
            require("m.key > :after", after=query.after)
        if query.severity is not None:
            require("m.severity >= :severity", severity=query.severity)
        for column, named, each in (("app", "app", query.apps), ("agent", "agent", query.agents)):
            if each:
                names, more = listed(named, each)
                require(f"m.{column} IN {names}", **more)
        if query.without_agents:
            names, more = listed("not_agent", query.without_agents)
            require(f"m.agent NOT IN {names}", **more)
        has_source = source is not MESSAGES
        for kind, named, wanted in (
            (_USERS, "user", query.users),
            (_PACKAGES, "package", query.packages),
        ):
            if not wanted:
                continue
            names, more = listed(named, wanted)
            if len(wanted) == 1 and not has_source:
                # The index has the messages of a name in order.
                source = Source("names n JOIN messages m ON m.key = n.key", "n.key")
                require(f"n.kind = {kind} AND n.name IN {names}", **more)
                has_source = True
            else:
                require(_has_name(kind, names), **more)
        for kind, named, unwanted in (
            (_USERS, "not_user", query.without_users),
            (_PACKAGES, "not_package", query.without_packages),
        ):
            if unwanted:
                names, more = listed(named, unwanted)
                require(f"NOT {_has_name(kind, names)}", **more)
        self._add_topics(query, require, has_source)
        return source, " AND ".join(conditions) or "1 = 1", values

    def _add_topics(self, query: Query, require: Callable[..., None], has_source: bool) -> None:
        if not (query.topics or query.categories or query.without_topics or query.without_categories):
            return
        rows = self._database.read("SELECT number, topic, category, messages FROM topics", {})
        chosen = [
            (number, messages)
            for number, topic, category, messages in rows
            if (not query.topics or fits_any(query.topics, topic))
            and (not query.categories or category in query.categories)
            and category not in query.without_categories
            and not fits_any(query.without_topics, topic)
        ]
        if len(chosen) == len(rows):
            return
        # The numbers are ours, and integers. The sign keeps the database from using the index on topics, with
        # which it would have to sort what it finds.
        is_rare = not has_source and sum(messages for _, messages in chosen) <= _FEW
        numbers = ", ".join(str(int(number)) for number, _ in chosen) or "-1"
        require(f"{'' if is_rare else '+'}m.topic IN ({numbers})")

    # Forgetting

    def prune(self, before: float | None = None, most_bytes: int | None = None) -> int:
        """Delete the oldest messages.

        Args:
            before: Delete messages that were sent before this time, in seconds since 1970.
            most_bytes: Delete until the messages take at most this many bytes; from PostgreSQL, as long as
                there is a month that is not the last one.

        Returns:
            How many were deleted.
        """
        deleted = 0
        if before is not None:
            deleted += self._delete_below(_first_key(before))
        if most_bytes is not None:
            while self._database.size() > most_bytes:
                key = self._database.end_of_oldest()
                if key is None:
                    break
                deleted += self._delete_below(key)
        if deleted:
            self._database.give_back()
        return deleted

    def keep_newest(self, number: int) -> None:
        """Delete the oldest messages if there are more than a number, and some more than that."""
        rows = self._database.read(
            "SELECT key FROM messages ORDER BY key DESC LIMIT 1 OFFSET :number",
            {"number": number + number // 4},
        )
        if rows:
            rows = self._database.read(
                "SELECT key FROM messages ORDER BY key DESC LIMIT 1 OFFSET :number", {"number": number}
            )
            self._delete_below(rows[0][0])

    def _delete_below(self, key: int) -> int:
        with self._database.writing() as writer:
            deleted = writer.drop_before(key)
        while gone := self._delete(_BATCH, key):
            deleted += gone
        return deleted

    def _delete(self, number: int, below: int) -> int:
        """Delete some of the oldest messages in one transaction."""
        with self._database.writing() as writer:
            rows = writer.run(
                f"SELECT {_COLUMNS} FROM messages m WHERE m.key < :below ORDER BY m.key LIMIT :number",
                {"number": number, "below": below},
            )
            if not rows:
                return 0
            oldest = [_stored(row) for row in rows]
            writer.unindex([(one.key, words_of_record(one.topic, one.summary, one.record)) for one in oldest])
            last = {"key": oldest[-1].key}
            counts = Counter(one.topic for one in oldest)
            writer.run_many(
                "UPDATE topics SET messages = messages - :count WHERE topic = :topic",
                [{"topic": topic, "count": count} for topic, count in counts.items()],
            )
            writer.run_many("DELETE FROM ids WHERE id = :id", [{"id": one.id} for one in oldest])
            writer.run_many("DELETE FROM names WHERE key <= :key", [last])
            writer.run_many("DELETE FROM messages WHERE key <= :key", [last])
        return len(rows)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _key(sent: float, seq: int) -> int:
    return _first_key(sent) + seq % _KEYS_PER_SECOND


def _first_key(sent: float) -> int:
    return int(max(sent, 0.0)) * _KEYS_PER_SECOND


def _has_name(kind: int, names: str) -> str:
    return f"EXISTS (SELECT 1 FROM names o WHERE o.kind = {kind} AND o.name IN {names} AND o.key = m.key)"


def _stored(row: Sequence[Any]) -> Stored:
    users, packages = (tuple(json.loads(names)) for names in row[-3:-1])
    return Stored(*(*row[:-3], users, packages, row[-1]))
