"""An outbox in PostgreSQL: transactions, the sender's lock, and errors that keep secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import eventually

from fedora_messaging.client.outbox.database import DatabaseError
from fedora_messaging.client.outbox.sql import SqlDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgresql import PostgresServer

INSERT = "INSERT INTO numbers VALUES (:n)"


@pytest.fixture
def database(postgresql: PostgresServer) -> Iterator[SqlDatabase]:
    """A database that has the table ``numbers``."""
    made = SqlDatabase(postgresql.url)
    made.run("CREATE TABLE numbers (n TEXT UNIQUE)")
    yield made
    made.run("DROP TABLE numbers")
    made.close()


@pytest.fixture
def other(postgresql: PostgresServer) -> Iterator[SqlDatabase]:
    """The same database as another process uses it."""
    made = SqlDatabase(postgresql.url)
    yield made
    made.close()


def test_name_has_no_password(database: SqlDatabase, postgresql: PostgresServer) -> None:
    assert database.dialect == "postgresql"
    assert database.name == f"postgresql+psycopg://postgres:***@127.0.0.1:{postgresql.port}/postgres"


def test_statements_outside_a_transaction_are_committed(database: SqlDatabase, other: SqlDatabase) -> None:
    assert database.run(INSERT, {"n": "1"}) == []
    assert other.run("SELECT n, 5 FROM numbers WHERE n = :n", {"n": "1"}) == [("1", 5)]


def test_transaction_is_committed_as_a_whole(database: SqlDatabase, other: SqlDatabase) -> None:
    with database.transaction():
        database.run_many(INSERT, [{"n": "1"}, {"n": "2"}])
        assert database.run("SELECT n FROM numbers ORDER BY n") == [("1",), ("2",)]
        assert other.run("SELECT n FROM numbers") == []
    assert other.run("SELECT n FROM numbers ORDER BY n") == [("1",), ("2",)]


def test_transaction_that_fails_leaves_nothing(database: SqlDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.run(INSERT, {"n": "1"})
        raise ZeroDivisionError
    assert database.run("SELECT n FROM numbers") == []


def test_errors_have_the_servers_words_and_not_the_values(database: SqlDatabase) -> None:
    with pytest.raises(DatabaseError) as caught, database.transaction():
        database.run(INSERT, {"n": "1"})
        database.run("SELECT 1 / :zero, :secret", {"zero": 0, "secret": "canary"})
    assert str(caught.value) == "division by zero"
    assert caught.value.__suppress_context__
    assert database.run("SELECT n FROM numbers") == []


def test_one_process_sends_at_a_time(database: SqlDatabase, other: SqlDatabase) -> None:
    assert database.lock()
    assert database.lock()
    assert not other.lock()
    # The lock keeps nobody from storing.
    other.run(INSERT, {"n": "1"})
    # The lock ends with its session, which the server ends a moment later.
    database.unlock()
    eventually(other.lock)
    assert not database.lock()
    other.close()
    eventually(database.lock)


def end_session_with_the_lock(database: SqlDatabase) -> None:
    locks = "FROM pg_locks WHERE locktype = 'advisory'"
    database.run(f"SELECT pg_terminate_backend(pid) {locks}")
    eventually(lambda: database.run(f"SELECT count(*) {locks}") == [(0,)])


def test_lock_whose_session_ended_is_taken_again(database: SqlDatabase, other: SqlDatabase) -> None:
    assert database.lock()
    end_session_with_the_lock(other)
    assert database.lock()
    assert not other.lock()


def test_lock_whose_session_ended_may_be_lost(database: SqlDatabase, other: SqlDatabase) -> None:
    assert database.lock()
    end_session_with_the_lock(other)
    assert other.lock()
    assert not database.lock()


def test_nothing_to_check_and_to_shrink(database: SqlDatabase) -> None:
    database.run(INSERT, {"n": "1"})
    database.check()
    database.shrink()
    assert database.run("SELECT n FROM numbers") == [("1",)]


def test_server_that_does_not_answer() -> None:
    database = SqlDatabase("postgresql+psycopg://user:canary-password@127.0.0.1:1/db")
    for request in (database.lock, lambda: database.run("SELECT 1")):
        with pytest.raises(DatabaseError, match="127.0.0.1") as caught:
            request()
        assert "canary-password" not in f"{caught.value!r}"
    database.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("no url", "the URL cannot be used: "),
        ("mysql+nosuch://user:canary-password@host/db", "the URL cannot be used: "),
        ("sqlite:///file.db", "sqlite is not supported; give an SQLite file as path"),
    ],
)
def test_url_that_cannot_be_used(url: str, complaint: str) -> None:
    with pytest.raises(DatabaseError, match=f"^{re.escape(complaint)}") as caught:
        SqlDatabase(url)
    assert "canary-password" not in f"{caught.value!r}"
