"""The statements of the outbox's table, run in SQLite."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fedora_messaging.client.outbox import table
from fedora_messaging.client.outbox.table import Row, Usage
from fedora_messaging.client.publishing.outgoing import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = Encoded("amq.topic", "a.b", b"method", b"properties", b"body", True)
OTHER = Encoded("", "\u00fc", b"", b"\x00\xff", b"", False)
OF_FIRST = {"exchange": "amq.topic", "routing_key": "a.b"}


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """A database in memory that has the table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in table.CREATE["sqlite"]:
            connection.execute(statement)
        yield connection


def insert(database: sqlite3.Connection, *messages: Encoded) -> None:
    for message in messages:
        database.execute(table.INSERT, table.values_of(message))


def test_values_of_a_message() -> None:
    began = time.time()
    values = table.values_of(FIRST)
    assert began <= values.pop("created") <= time.time()
    assert values == {
        **OF_FIRST,
        "mandatory": 1,
        "properties": b"properties",
        "body": b"body",
        # The properties, the body, the exchange and the routing key.
        "size": 10 + 4 + 9 + 3,
    }
    # The topic counts as it is sent: in UTF-8.
    assert (table.values_of(OTHER)["size"], table.values_of(OTHER)["mandatory"]) == (4, 0)


def test_created_twice_is_created_once(database: sqlite3.Connection) -> None:
    insert(database, FIRST)
    for statement in table.CREATE["sqlite"]:
        database.execute(statement)
    assert database.execute(table.USAGE).fetchone()[0] == 1
    assert database.execute(table.PROBE).fetchall() == []


def test_rows_of_a_topic_come_in_order(database: sqlite3.Connection) -> None:
    insert(database, FIRST, OTHER, FIRST._replace(body=b"second"), FIRST._replace(body=b"third"))
    rows = [Row(*row) for row in database.execute(table.ROWS, {**OF_FIRST, "most": 2})]
    assert rows == [Row(1, True, b"properties", b"body"), Row(3, True, b"properties", b"second")]
    assert database.execute(table.IDS, {**OF_FIRST, "most": 9}).fetchall() == [(1,), (3,), (4,)]
    assert sorted(database.execute(table.TOPICS)) == [("", "\u00fc"), ("amq.topic", "a.b")]


def test_number_of_a_message_that_was_sent_is_not_given_again(database: sqlite3.Connection) -> None:
    insert(database, FIRST, OTHER)
    database.execute(table.DELETE, {"id": 2})
    insert(database, FIRST)
    assert database.execute(table.IDS, {**OF_FIRST, "most": 9}).fetchall() == [(1,), (3,)]


def test_usage(database: sqlite3.Connection) -> None:
    assert Usage(*database.execute(table.USAGE).fetchone()) == Usage(0, 0, None)
    for created, message in ((30.0, FIRST), (20.5, OTHER)):
        database.execute(table.INSERT, {**table.values_of(message), "created": created})
    assert Usage(*database.execute(table.USAGE).fetchone()) == Usage(2, 30, 20.5)


def test_failures_are_counted_and_told(database: sqlite3.Connection) -> None:
    insert(database, FIRST, OTHER, FIRST)
    for error in ("first", "second"):
        database.execute(table.FAILED, {"id": 3, "error": error})
    database.execute(table.FAILED, {"id": 2, "error": "third"})
    failures = database.execute(table.FAILURES, {"most": 9}).fetchall()
    assert failures == [("", "\u00fc", 1, "third"), ("amq.topic", "a.b", 2, "second")]
    assert database.execute(table.FAILURES, {"most": 1}).fetchall() == failures[:1]
