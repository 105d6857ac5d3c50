"""What the tests of the archive share: messages, places to keep them, and an archive in plain Python."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from sqlalchemy.engine import make_url
from tests.unit.broker.core.exchanges.test_topic_trie import matches, split

from fedora_messaging.archive.entry import Entry, entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.message import INFO, Message
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.support.postgresql import PostgresServer

    from fedora_messaging.archive.archive import Archive
    from fedora_messaging.archive.query import Query

#: When a message was sent of which a test does not care when.
NOON = 1_764_504_000.0
DAY = 86400


class Told(Message):
    """A message whose body tells what it says of itself."""

    def _told(self, name: str, otherwise: Any) -> Any:
        return self.body.get(name, otherwise)

    @property
    def summary(self) -> str:
        return str(self._told("summary", self.topic))

    @property
    def app_name(self) -> str | None:
        app: str | None = self._told("app", None)
        return app

    @property
    def agent_name(self) -> str | None:
        agent: str | None = self._told("agent", None)
        return agent

    @property
    def usernames(self) -> list[str]:
        return [*self._told("users", ())]

    @property
    def packages(self) -> list[str]:
        return [*self._told("packages", ())]


def message(
    body: Any = None,
    *,
    id: str | None = "1",
    topic: str = "org.example.app.thing",
    sent: float | None = NOON,
    severity: Any = INFO,
    kind: type[Message] = Told,
    headers: dict[str, Any] | None = None,
) -> Message:
    """A message as it arrives from a queue."""
    headers = headers or {}
    if sent is not None:
        headers = {"sent-at": datetime.fromtimestamp(sent, UTC).isoformat(), **headers}
    properties = BasicProperties(headers=headers, message_id=id)
    return kind(body=body, topic=topic, properties=properties, severity=severity)


def entry(id: str = "1", **told: Any) -> Entry:
    """A message to store; the arguments are those of :func:`message`, and what the body tells."""
    of_message = {name: told.pop(name) for name in ("topic", "sent", "severity", "kind") if name in told}
    return entry_of(message(told, id=id, **of_message), NOON)


def entries(*ids: str, **told: Any) -> list[Entry]:
    return [entry(id, **told) for id in ids]


def ids(stored: Iterable[Any]) -> list[str]:
    return [one.id for one in stored]


class Places:
    """Makes places for archives, and opens archives there; closes them all at the end."""

    #: Whether the database keeps its own partition for each month.
    has_months = False

    def __init__(self) -> None:
        self._opened: list[Archive] = []

    def new(self) -> str:
        """Return the location of an archive that does not exist yet."""
        raise NotImplementedError

    def open(self, location: str) -> Archive:
        made = open_archive(location)
        self._opened.append(made)
        return made

    def archive(self) -> Archive:
        """Open a new archive."""
        return self.open(self.new())

    def run(self, location: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement behind the archive's back."""
        raise NotImplementedError

    def close(self) -> None:
        for archive in self._opened:
            archive.close()
        self._opened.clear()


class SqlitePlaces(Places):
    """Files in a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._made = 0

    def new(self) -> str:
        self._made += 1
        return str(self._directory / f"{self._made}.db")

    def run(self, location: str, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(location)) as connection, connection:
            return connection.execute(statement).fetchall()


class PostgresPlaces(Places):
    """Databases of a server."""

    has_months = True

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self._url = make_url(server.url)
        self._made: list[str] = []

    def new(self) -> str:
        name = f"archive_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        self._made.append(name)
        return self._url.set(database=name).render_as_string(hide_password=False)

    def run(self, location: str, statement: str) -> list[tuple[Any, ...]]:
        return self._run(statement, make_url(location).database)

    def _run(self, statement: str, database: str | None = "postgres") -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host=self._url.host,
            port=self._url.port or 0,
            user=self._url.username,
            dbname=database,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        super().close()
        for name in self._made:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")
        self._made.clear()


class Piece(NamedTuple):
    """A part of a text that a person types to search.

    Attributes:
        words: Words that follow each other.
        is_prefix: Whether the last one may go on; only of a single word.
        is_unwanted: Whether they must be missing.
    """

    words: tuple[str, ...]
    is_prefix: bool = False
    is_unwanted: bool = False

    def __str__(self) -> str:
        minus = "-" * self.is_unwanted
        if len(self.words) > 1:
            return f'{minus}"{" ".join(self.words)}"'
        return f"{minus}{self.words[0]}{'*' * self.is_prefix}"

    def is_in(self, words: Sequence[str]) -> bool:
        """Whether the words of a message have it."""
        *first, last = (word.lower() for word in self.words)
        for start in range(len(words) - len(first)):
            end = start + len(first)
            fits = words[end].startswith(last) if self.is_prefix else words[end] == last
            if fits and [*words[start:end]] == first:
                return True
        return False


class Asked(NamedTuple):
    """A query, and the parts of its text.

    Attributes:
        query: The query with the text.
        pieces: The parts.
    """

    query: Query
    pieces: tuple[Piece, ...] = ()

    def wants(self, one: Entry) -> bool:
        """Whether it asks for a message, by the plainest reading of :class:`~.query.Query`."""
        query, words, parts = self.query, one.words.split(), one.topic.split(".")
        category = parts[3] if len(parts) > 3 else ""

        def fits(patterns: Iterable[str]) -> bool:
            return any(matches(split(pattern), split(one.topic)) for pattern in patterns)

        return all(
            (
                query.since is None or one.sent >= query.since,
                query.until is None or one.sent < query.until,
                query.severity is None or one.severity >= query.severity,
                not query.topics or fits(query.topics),
                not query.users or {*query.users} & {*one.users},
                not query.packages or {*query.packages} & {*one.packages},
                not query.categories or category in query.categories,
                not query.apps or one.app in query.apps,
                not query.agents or one.agent in query.agents,
                not fits(query.without_topics),
                not {*query.without_users} & {*one.users},
                not {*query.without_packages} & {*one.packages},
                category not in query.without_categories,
                one.agent not in query.without_agents,
                not query.contains
                or any(Piece(tuple(text.split())).is_in(words) for text in query.contains if text),
                all(piece.is_in(words) is not piece.is_unwanted for piece in self.pieces),
            )
        )


class Model:
    """An archive in plain Python."""

    def __init__(self) -> None:
        self.stored: list[Entry] = []

    def store(self, more: Iterable[Entry]) -> int:
        """Store what is not there, and return how many that were."""
        before = len(self.stored)
        for one in more:
            if one.id not in ids(self.stored):
                self.stored.append(one)
        return len(self.stored) - before

    def find(self, asked: Asked) -> list[str]:
        """Return the ids of all messages that a query asks for."""
        # Sorting is stable: within a second the order of storing stays.
        found = sorted(filter(asked.wants, self.stored), key=lambda one: int(one.sent))
        return ids(reversed(found) if asked.query.newest_first else found)

    def prune(self, before: float) -> int:
        """Forget what was sent before a whole second."""
        kept = [one for one in self.stored if one.sent >= before]
        gone, self.stored = len(self.stored) - len(kept), kept
        return gone

    def topics(self) -> list[tuple[str, int]]:
        counts = Counter(one.topic for one in self.stored)
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def pages(archive: Archive, query: Query) -> Iterator[str]:
    """Turn pages by the key of the last message."""
    while found := archive.find(query):
        yield from ids(found)
        turned = {"before" if query.newest_first else "after": found[-1].key}
        query = replace(query, **turned)  # type: ignore[arg-type]


def text_of(one: Any) -> Any:
    """Return the body in a record."""
    return json.loads(one.record)["body"]
