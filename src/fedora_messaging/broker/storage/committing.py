"""Writing the changes of one window in one transaction."""

import sqlite3

from ..core.message import Entry
from .names import stored_name
from .window import Window


def commit(connection: sqlite3.Connection, window: Window) -> None:
    """Write all changes of a window, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    for statement, values in window.statements:
        connection.execute(statement, values)
    if window.adds:
        _write_messages(connection, window.adds)
    if window.removes:
        _delete_messages(connection, window.removes)
    connection.executemany(
        "UPDATE queue SET delivered_position = max(delivered_position, ?) WHERE id = ?",
        [(position, queue_id) for queue_id, position in window.delivered.items()],
    )
    connection.executemany(
        "UPDATE queue_message SET deliveries = ?, acquisitions = ? WHERE queue_id = ? AND position = ?",
        [(*counts, *key) for key, counts in window.deliveries.items()],
    )
    if window.was_tried:
        # So that something is written, even if nothing of the window is left.
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('running', 1)")
    connection.execute("COMMIT")


def _write_messages(connection: sqlite3.Connection, adds: dict[tuple[int, int], Entry]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?)",
        (
            (m.stored_id, stored_name(m.exchange), stored_name(m.routing_key), m.properties, m.body)
            for m in (entry.message for entry in adds.values())
        ),
    )
    connection.executemany(
        "INSERT INTO queue_message VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (*key, e.message.stored_id, e.expires_at, e.returns, e.acquisitions, e.redelivered)
            for key, e in adds.items()
        ],
    )


def _delete_messages(connection: sqlite3.Connection, removes: list[tuple[int, int, int | None]]) -> None:
    connection.executemany(
        "DELETE FROM queue_message WHERE queue_id = ? AND position = ?",
        [(queue_id, position) for queue_id, position, _ in removes],
    )
    connection.executemany(
        "DELETE FROM message WHERE id = ?",
        [(message_id,) for _, _, message_id in removes if message_id is not None],
    )
