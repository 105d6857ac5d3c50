"""Messages that are sent if, and only if, a transaction of the application commits.

>>> with engine.begin() as connection:
...     connection.execute(update(builds).values(state="done"))
...     outbox.record(connection, Message(topic="build.done", body={"id": 5}))

The message is a row of the table ``fedora_messaging_outbox`` in the application's own database. A process
whose configuration names that database in its table ``outbox`` sends it, once the transaction is committed.
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

    It is validated and encoded now, and sent after the commit: at least once, in the order of the commits for
    each topic. ``publish_signal`` is not sent for it.

    Args:
        connection: A Connection or Session of SQLAlchemy, or an ``sqlite3.Connection``. With an asynchronous
            one, ``await connection.run_sync(outbox.record, message)``.
        message: Validated first.
        exchange: By default ``publish_exchange`` of the configuration.
        mandatory: Whether a queue must be bound for it; by default what the table ``publisher`` of the
            configuration says.

    Raises:
        jsonschema.ValidationError: The message violates its schema. Nothing was recorded.
        EncodingError: The topic is too long, or a header has a type that AMQP lacks.
        Exception: What the database says, for example that there is no such table; see :func:`create_table`.
    """
    if recorded(message):
        return
    publish_started(message)
    with telling_failure(message):
        encoded = prepare(message, exchange, mandatory)
        _execute(connection, table.INSERT, table.values_of(encoded))


def create_table(connection: Any) -> None:
    """Create the table and its indexes, unless they are there.

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
        ValueError: Another database.
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
