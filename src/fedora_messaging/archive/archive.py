"""An archive of messages: stores each one once, finds them again, and forgets the oldest."""

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from ..message import ERROR, WARNING
from .database import (
    KEYS_PER_SECOND,
    MESSAGES,
    Database,
    Source,
    Terms,
    Values,
    Wanted,
    Writer,
    batches,
)
from .entry import LAST_SECOND, Entry, Stored, fit
from .query import Query
from .topics import category_of, fits_any

#: Severities that few messages have, which the index knows: warning, error.
_MARKED: Final = (WARNING, ERROR)
#: Bytes of the longest name that its mark has in full.
_LONGEST_MARKED: Final = 120
#: Topics that are looked for in the index, together with something else.
_MOST_TOPIC_MARKS: Final = 50
#: Messages whose ids are looked up, or that are deleted, together.
_BATCH: Final = 500
#: A search for topics with at most this many messages collects and sorts them; others go through all.
_FEW: Final = 20_000
#: A database that misjudges how many messages have several terms is told to sort fewer than these.
_SORTED: Final = 5_000
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
        unique: dict[str, Entry] = {}
        for entry in entries:
            unique.setdefault(entry.id, entry)
        with self._database.writing() as writer:
            known = writer.present("ids", "id", list(unique))
            new = [entry for id, entry in unique.items() if id not in known]
            if new:
                self._insert(writer, new)
        return len(new)

    def _insert(self, writer: Writer, entries: list[Entry]) -> None:
        ((seq,),) = writer.run(
            "UPDATE counters SET value = value + :more WHERE name = 'seq' RETURNING value",
            {"more": len(entries)},
        )
        first = seq - len(entries) + 1
        numbers = self._number_topics(writer, Counter(entry.topic for entry in entries))
        keys = self._free_keys(writer, [_key(entry.sent, first + at) for at, entry in enumerate(entries)])
        now = self._clock()
        added: list[tuple[Values, Terms]] = []
        for place, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            row = {
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
                "users": orjson.dumps(entry.users).decode(),
                "packages": orjson.dumps(entry.packages).decode(),
                "record": entry.record,
            }
            added.append((row, Terms(entry.words.split(), _marks(numbers[entry.topic], entry))))
        added.sort(key=lambda each: int(each[0]["key"]))
        writer.add([row for row, _ in added], [terms for _, terms in added])

    def _number_topics(self, writer: Writer, counts: Counter[str]) -> dict[str, int]:
        # One statement for all: a batch has dozens of topics, and each statement is a way to the server.
        numbers: dict[str, int] = {}
        for part in batches(list(counts), _BATCH):
            rows = ", ".join(f"(:topic{at}, :category{at}, :count{at})" for at in range(len(part)))
            values: dict[str, Any] = {}
            for at, topic in enumerate(part):
                values[f"topic{at}"] = topic
                values[f"category{at}"] = category_of(topic)
                values[f"count{at}"] = counts[topic]
            numbers |= dict(
                writer.run(
                    f"INSERT INTO topics (topic, category, messages) VALUES {rows} ON CONFLICT (topic) "
                    "DO UPDATE SET messages = topics.messages + excluded.messages RETURNING topic, number",
                    values,
                )
            )
        return numbers

    def _free_keys(self, writer: Writer, wanted: list[int]) -> list[int]:
        """Return the keys, moved on where a message of the same second has one, 2**20 messages ago."""
        keys: list[int] = []
        taken = writer.present("messages", "key", wanted)
        for key in wanted:
            while key in taken:
                # Within the second, of which the key tells.
                second = key // KEYS_PER_SECOND * KEYS_PER_SECOND
                key = second + (key + 1) % KEYS_PER_SECOND
                if writer.run("SELECT 1 FROM messages WHERE key = :key", {"key": key}):
                    taken.add(key)
            taken.add(key)
            keys.append(key)
        return keys

    # Finding

    def get(self, id: str) -> Stored | None:
        """Return the message with an id, if it is there."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM ids JOIN messages m ON m.key = ids.key WHERE ids.id = :id",
            {"id": fit(id)},
        )
        return _stored(rows[0]) if rows else None

    def find(self, query: Query) -> list[Stored]:
        """Return the messages that a query asks for."""
        source, conditions, values = self._conditions(query)
        order = "DESC" if query.newest_first else "ASC"
        tables = source.keys if _is_about_keys(conditions) else source.tables
        by = source.key
        if self._database.misjudges and "match" in values and self.count(query, _SORTED) < _SORTED:
            # With an expression, the index of keys is of no use: the few that fit are looked up and sorted.
            by = f"{source.key} + 0"
        # What is left out on the way to a later page need not be read in full.
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM (SELECT {source.key} AS key FROM {tables} WHERE {conditions} "
            f"ORDER BY {by} {order} LIMIT :limit OFFSET :offset) AS found "
            f"JOIN messages m ON m.key = found.key ORDER BY m.key {order}",
            {**values, "limit": max(query.limit, 0), "offset": query.offset},
        )
        return [_stored(row) for row in rows]

    def count(self, query: Query, most: int = MOST_COUNTED) -> int:
        """Count the messages that a query asks for, without its limit; stop at ``most``."""
        source, conditions, values = self._conditions(query)
        tables = source.keys if _is_about_keys(conditions) else source.tables
        ((number,),) = self._database.read(
            f"SELECT count(*) FROM (SELECT 1 FROM {tables} WHERE {conditions} LIMIT :most) AS found",
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
        topics, chosen = self._topics_of(query)
        wanted = _wanted(query)
        if wanted and chosen is not None and len(chosen) <= _MOST_TOPIC_MARKS:
            wanted.marks.append([f"t_{number}" for number in chosen] or ["t_none"])
            chosen = None
        if query.words.are_impossible:
            conditions.append("1 = 0")
        elif wanted:
            source, condition, given = self._database.match(wanted)
            conditions.append(condition)
            values.update(given)
        for name, comparison, bound in (
            ("since", ">=", None if query.since is None else _first_key(query.since)),
            ("until", "<", None if query.until is None else _first_key(query.until + 1)),
            ("before", "<", query.before),
            ("after", ">", query.after),
        ):
            if bound is not None:
                conditions.append(f"{source.key} {comparison} :{name}")
                values[name] = bound
        # Keys know the second only.
        if query.since is not None and query.since % 1:
            conditions.append("m.sent >= :since_exactly")
            values["since_exactly"] = query.since
        if query.until is not None:
            conditions.append("m.sent < :until_exactly")
            values["until_exactly"] = query.until
        if query.severity is not None and query.severity not in _MARKED:
            conditions.append("m.severity >= :severity")
            values["severity"] = query.severity
        if chosen is not None:
            # The sign keeps the database from using the index on topics, with which it would have to sort
            # what it finds.
            is_rare = source is MESSAGES and sum(topics[number] for number in chosen) <= _FEW
            numbers = ", ".join(str(number) for number in chosen) or "-1"
            conditions.append(f"{'' if is_rare else '+'}m.topic IN ({numbers})")
        return source, " AND ".join(conditions) or "1 = 1", values

    def _topics_of(self, query: Query) -> tuple[dict[int, int], list[int] | None]:
        """Return the number of messages of each topic, and the topics that a query asks for, if not all."""
        if not (query.topics or query.categories or query.without_topics or query.without_categories):
            return {}, None
        rows = self._database.read("SELECT number, topic, category, messages FROM topics", {})
        chosen = [
            int(number)
            for number, topic, category, _messages in rows
            if (not query.topics or fits_any(query.topics, topic))
            and (not query.categories or category in query.categories)
            and category not in query.without_categories
            and not fits_any(query.without_topics, topic)
        ]
        return {int(row[0]): int(row[3]) for row in rows}, None if len(chosen) == len(rows) else chosen

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
            # Of the second in which the time is, only what was sent before.
            while gone := self._delete(_BATCH, _first_key(before + 1), before):
                deleted += gone
        if most_bytes is not None:
            while self._database.size() > most_bytes:
                key = self._database.end_of_oldest()
                if key is None:
                    break
                deleted += self._delete_below(key)
                self._database.merge()
        if deleted:
            self._database.merge()
            self._database.give_back()
            # Giving back may need some space of its own.
            if most_bytes is not None and self._database.size() > most_bytes:
                deleted += self.prune(most_bytes=most_bytes)
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

    def _delete(self, number: int, below: int, sent_before: float = math.inf) -> int:
        """Delete some of the oldest messages in one transaction."""
        with self._database.writing() as writer:
            rows = writer.run(
                f"SELECT {_COLUMNS} FROM messages m WHERE m.key < :below AND m.sent < :sent_before "
                "ORDER BY m.key LIMIT :number",
                {"number": number, "below": below, "sent_before": min(sent_before, LAST_SECOND + 1)},
            )
            if not rows:
                return 0
            oldest = [_stored(row) for row in rows]
            numbers = {topic: number for number, topic in writer.run("SELECT number, topic FROM topics", {})}
            writer.unindex((one.key, Terms(one.words(), _marks(numbers[one.topic], one))) for one in oldest)
            counts = Counter(one.topic for one in oldest)
            writer.run_many(
                "UPDATE topics SET messages = messages - :count WHERE topic = :topic",
                [{"topic": topic, "count": count} for topic, count in counts.items()],
            )
            writer.run_many("DELETE FROM ids WHERE id = :id", [{"id": one.id} for one in oldest])
            writer.run_many("DELETE FROM messages WHERE key = :key", [{"key": one.key} for one in oldest])
        return len(rows)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _key(sent: float, seq: int) -> int:
    return _first_key(sent) + seq % KEYS_PER_SECOND


def _first_key(sent: float) -> int:
    return int(min(max(sent, 0.0), LAST_SECOND + 1)) * KEYS_PER_SECOND


def _mark(kind: str, name: str) -> str:
    """Return the mark for a name, which may have any characters."""
    encoded = fit(name).encode()
    if len(encoded) > _LONGEST_MARKED:
        return f"{kind}_h{hashlib.sha256(encoded).hexdigest()}"
    return f"{kind}_{encoded.hex()}"


def _marks(topic: int, one: Entry | Stored) -> list[str]:
    """Return the marks by which a message is found."""
    marks = [f"t_{topic}", *(f"s_{severity}" for severity in _MARKED if one.severity >= severity)]
    marks += [_mark("u", name) for name in one.users]
    marks += [_mark("p", name) for name in one.packages]
    marks += [_mark(kind, name) for kind, name in (("a", one.app), ("g", one.agent)) if name]
    return marks


def _wanted(query: Query) -> Wanted:
    """Return what a query asks of the index."""
    found = Wanted(query.words, [], [])
    for kind, names, unwanted in (
        ("u", query.users, query.without_users),
        ("p", query.packages, query.without_packages),
        ("a", query.apps, ()),
        ("g", query.agents, query.without_agents),
    ):
        if names:
            found.marks.append([_mark(kind, name) for name in names])
        found.without.extend(_mark(kind, name) for name in unwanted)
    if query.severity in _MARKED:
        found.marks.append([f"s_{query.severity}"])
    return found


def _is_about_keys(conditions: str) -> bool:
    """Whether conditions need nothing of the messages but their keys."""
    return "m." not in conditions


def _stored(row: Sequence[Any]) -> Stored:
    *columns, users, packages, record = row
    return Stored(*(*columns, tuple(orjson.loads(users)), tuple(orjson.loads(packages)), record))
