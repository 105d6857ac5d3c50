"""Files that a process has in use when it forks: the outbox loses nothing (P11, P17)."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.client.support import Program
from tests.support.waiting import eventually

from fedora_messaging.client.outbox import table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker

#: Nobody listens at the discard port.
NOWHERE = "amqp://127.0.0.1:9"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the outbox is."""
    return str(tmp_path / "outbox.db")


def stored(path: str) -> list[int]:
    """Numbers of the messages in the outbox, in order."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(f"SELECT body FROM {table.NAME} ORDER BY id").fetchall()
    return [json.loads(body)["number"] for (body,) in rows]


@pytest.mark.parametrize("end", ["closed", "at once"])
def test_p17_a_child_outlives_its_parent(path: str, end: str) -> None:
    """What it was told is stored is there, though SQLite in it once had the parent's locks in mind."""
    with Program("outbox_outlives_parent", NOWHERE, "q", path, end) as program:
        assert program.line() == "stored"
        assert program.status() == 0, program.errors
        assert stored(path) == [1, 2, 3, 4, 5]
        program.tell()
    assert stored(path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("end", ["closed", "at once"])
def test_p17_a_child_sends_when_its_parent_has_ended(
    broker: Broker, admin: Admin, queue: str, path: str, end: str
) -> None:
    with Program("outbox_outlives_parent", broker.url, queue, path, end) as program:
        assert program.line() == "stored"
        eventually(lambda: stored(path) == [])
        program.tell()
    # What the parent sent last, before it was gone, may be sent again.
    assert list(dict.fromkeys(json.loads(body)["number"] for body in admin.take(queue))) == [1, 2, 3, 4, 5]


def test_p17_fork_while_other_threads_publish(path: str) -> None:
    with Program("outbox_fork_while_publishing", NOWHERE, "q", path) as program:
        assert program.line() == "children {0}"
        assert program.status() == 0, program.errors
    assert set(stored(path)) == set(range(31))


def test_p17_fork_during_a_transaction_of_somebody_else(path: str) -> None:
    with Program("outbox_is_busy_at_fork", NOWHERE, "q", path) as program:
        assert program.line() == "ready"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            program.tell()
            # The fork does not wait for the transaction.
            assert program.line() == "forked"
            other.execute("COMMIT")
        assert program.line() == "child 0"
        assert program.status() == 0, program.errors
    assert sorted(stored(path)) == [1, 2, 3, 4]


def test_p17_fork_with_a_connection_of_the_application(path: str) -> None:
    """SQLite cannot be used then, and who would not be told would lose messages."""
    with Program("outbox_is_open_at_fork", NOWHERE, "q", path) as program:
        why = program.line()
        assert f"{path} was open when this process was forked" in why
        assert "close all connections to it before forking" in why
        assert program.line() == "child 0"
        assert program.status() == 0, program.errors
    assert stored(path) == [1, 3, 4]
