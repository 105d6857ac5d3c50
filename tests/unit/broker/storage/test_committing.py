"""Committing: all changes of a window are in the file, or none of them."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from fedora_messaging.broker.core.message import Entry, new_entry, new_message
from fedora_messaging.broker.storage.committing import commit
from fedora_messaging.broker.storage.window import Window

ADD_QUEUE = "INSERT INTO queue (id, vhost, name) VALUES (?, '/', ?)"


def entry(stored_id: int, position: int = 1, exchange: str = "e", expires_at: float | None = None) -> Entry:
    message = new_message(exchange, "k", b"\0\0", str(stored_id).encode())
    message.stored_id = stored_id
    return new_entry(message, position, expires_at=expires_at)


def rows(connection: sqlite3.Connection, query: str) -> list[Any]:
    return connection.execute(query).fetchall()


def places(connection: sqlite3.Connection) -> list[Any]:
    return rows(connection, "SELECT queue_id, position, message_id FROM queue_message ORDER BY 1, 2")


def bodies(connection: sqlite3.Connection) -> list[bytes]:
    return [body for (body,) in rows(connection, "SELECT body FROM message ORDER BY id")]


def test_statements_come_in_their_order(connection: sqlite3.Connection) -> None:
    window = Window(1)
    window.statements += [
        (ADD_QUEUE, (1, "old")),
        ("DELETE FROM queue WHERE id = ?", (1,)),
        (ADD_QUEUE, (1, "new")),
    ]
    commit(connection, window)
    assert not connection.in_transaction
    assert rows(connection, "SELECT id, name, delivered_position FROM queue") == [(1, "new", 0)]


def test_message_of_several_queues_is_written_once(connection: sqlite3.Connection) -> None:
    window = Window(1)
    shared = entry(1, 5, "\udcff", 12.5)
    window.add((1, 5), shared)
    window.add((2, 8), new_entry(shared.message, 8))
    commit(connection, window)
    assert rows(connection, "SELECT * FROM message") == [(1, b"\xff", "k", b"\0\0", b"1")]
    assert rows(connection, "SELECT * FROM queue_message") == [
        (1, 5, 1, 12.5, 0, 0, 0),
        (2, 8, 1, None, 0, 0, 0),
    ]
    # A third queue gets it after that, for example as a dead letter.
    later = Window(2)
    later.add((3, 1), new_entry(shared.message, 1))
    commit(connection, later)
    assert places(connection) == [(1, 5, 1), (2, 8, 1), (3, 1, 1)]
    assert bodies(connection) == [b"1"]


def test_body_goes_with_the_last_place(connection: sqlite3.Connection) -> None:
    window = Window(1)
    for stored_id in (1, 2):
        window.add((1, stored_id), entry(stored_id, stored_id))
    window.add((2, 1), entry(1))
    commit(connection, window)
    first = Window(3)
    first.removes += [(1, 1, None), (1, 2, 2)]
    commit(connection, first)
    assert (places(connection), bodies(connection)) == ([(2, 1, 1)], [b"1"])
    last = Window(3)
    last.removes.append((2, 1, 1))
    commit(connection, last)
    assert (places(connection), bodies(connection)) == ([], [])


def test_message_may_come_and_another_go_in_one_window(connection: sqlite3.Connection) -> None:
    window = Window(1)
    window.add((1, 1), entry(1))
    commit(connection, window)
    both = Window(2)
    both.add((1, 2), entry(2, 2))
    both.removes.append((1, 1, 1))
    commit(connection, both)
    assert (places(connection), bodies(connection)) == ([(1, 2, 2)], [b"2"])


def test_position_of_a_queue_never_goes_back(connection: sqlite3.Connection) -> None:
    window = Window(1)
    window.statements += [(ADD_QUEUE, (1, "a")), (ADD_QUEUE, (2, "b"))]
    window.delivered.update({1: 5, 2: 7, 3: 9})
    commit(connection, window)
    again = Window(1)
    again.delivered.update({1: 4, 2: 8})
    commit(connection, again)
    assert rows(connection, "SELECT id, delivered_position FROM queue") == [(1, 5), (2, 8)]


def test_deliveries_of_a_message_that_comes_in_the_same_window(connection: sqlite3.Connection) -> None:
    window = Window(1)
    window.add((1, 1), entry(1))
    window.add((1, 2), entry(2, 2))
    window.deliveries.update({(1, 2): (3, 4), (9, 9): (1, 1)})
    commit(connection, window)
    counts = rows(connection, "SELECT position, deliveries, acquisitions FROM queue_message")
    assert counts == [(1, 0, 0), (2, 3, 4)]


def test_message_that_has_a_past_when_it_comes(connection: sqlite3.Connection) -> None:
    """A dead letter keeps what its former queue has counted."""
    window = Window(1)
    dead_letter = entry(1)
    dead_letter.redelivered, dead_letter.returns, dead_letter.acquisitions = True, 2, 3
    window.add((1, 1), dead_letter)
    commit(connection, window)
    counts = rows(connection, "SELECT deliveries, acquisitions, redelivered FROM queue_message")
    assert counts == [(2, 3, 1)]


@pytest.mark.parametrize("mistake", ["statement", "place"])
def test_window_that_fails_leaves_nothing_after_the_rollback(
    connection: sqlite3.Connection, mistake: str
) -> None:
    """Nor does it harm the next attempt."""
    first = Window(1)
    first.add((1, 1), entry(1))
    commit(connection, first)
    window = Window(2)
    window.statements.append((ADD_QUEUE, (1, "q")))
    window.add((1, 2), entry(2, 2))
    if mistake == "statement":
        window.statements.append(("INSERT INTO missing VALUES (1)", ()))
    else:
        window.add((1, 1), entry(3))
    with pytest.raises(sqlite3.Error):
        commit(connection, window)
    assert connection.in_transaction
    connection.execute("ROLLBACK")
    assert rows(connection, "SELECT name FROM queue") == []
    assert (places(connection), bodies(connection)) == ([(1, 1, 1)], [b"1"])
    if mistake == "statement":
        window.statements.pop()
    else:
        window.cancel((1, 1))
    commit(connection, window)
    assert (places(connection), bodies(connection)) == ([(1, 1, 1), (1, 2, 2)], [b"1", b"2"])
