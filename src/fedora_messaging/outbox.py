"""Records messages in a transaction of the application; they are sent if, and only if, it commits.

>>> with engine.begin() as connection:
...     connection.execute(update(builds).values(state="done"))
...     outbox.record(connection, Message(topic="build.done", body={"id": 5}))

The message becomes a row of the table ``fedora_messaging_outbox`` in the application's own database. After
the commit, a process whose configuration names that database in its table ``outbox`` sends it.
"""

import sqlite3
from typing import Any

from .client.outbox import table
from .frontends.publishing import prepare, publish_started, telling_failure
from .frontends.recording import recorded
from .message import Message

__all__ = ["create_table", "record", "statements"]


def record(
    connection: Any, message: Message, exchange: str | None = None, *, mandatory: bool | None = None
) -> None:
    """Record a message in the transaction of a connection.

    The message is validated and encoded now, and sent after the commit: at least once and, for each topic, in
    the order of the commits. ``publish_signal`` is not sent for it.

    Args:
        connection: A Connection or Session of SQLAlchemy, or an ``sqlite3.Connection``. With an asynchronous
            one, call ``await connection.run_sync(outbox.record, message)``.
        message: The message; it is validated first.
        exchange: By default ``publish_exchange`` of the configuration.
        mandatory: Whether a queue must be bound for it; by default the setting in the table ``publisher`` of
            the configuration.

    Raises:
        jsonschema.ValidationError: The message violates its schema. Nothing was recorded.
        EncodingError: The topic is too long, or a header has a type that AMQP lacks.
        Exception: The database raised it, for example because the table is missing; see :func:`create_table`.
    """
    if recorded(message):
        return
    publish_started(message)
    with telling_failure(message):
        encoded = prepare(message, exchange, mandatory)
        _execute(connection, table.INSERT, table.values_of(encoded))


def create_table(connection: Any) -> None:
    """Create the table and its indexes, unless they exist.

    Args:
        connection: As :func:`record` takes it.
    """
    for statement in statements(_dialect(connection)):
        _execute(connection, statement, {})


def statements(dialect: str) -> tuple[str, ...]:
    """Return the statements of :func:`create_table`, for a migration.

    Args:
        dialect: ``sqlite`` or ``postgresql``.

    Raises:
        ValueError: The library does not support this dialect.
    """
    try:
        return table.CREATE[dialect]
    except KeyError:
        raise ValueError(f"an outbox can be in {' or '.join(table.CREATE)}, not in {dialect}") from None


def _dialect(connection: Any) -> str:
    if isinstance(connection, sqlite3.Connection):
        return "sqlite"
    return str(
        connection.get_bind().dialect.name if hasattr(connection, "get_bind") else connection.dialect.name
    )


def _execute(connection: Any, statement: str, values: dict[str, Any]) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute(statement, values)
        return
    from sqlalchemy import text

    connection.execute(text(statement), values)
