"""Durable data in one SQLite file.

One writer thread owns the connection that writes. It commits in groups without a timer: while one commit
runs, new work gathers, and the next commit takes all of it. The file is in WAL mode with
``synchronous=FULL``, so that a commit that has returned survives the loss of power, as far as the disk
tells the truth. SQLite is the log and the recovery; what is ready is found in memory.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from ...wire.fields import decode_table, encode_table
from ...wire.methods import QueueDeclare
from ..core.arguments import read_arguments
from ..core.exchanges import TYPES, Binding, Exchange
from ..core.message import Entry, Message
from ..core.queue import Queue
from ..core.vhost import VirtualHost
from .positions import DeliveredPositions

_log = logging.getLogger(__name__)

FILE_NAME: Final = "broker.sqlite"
SCHEMA_VERSION: Final = 2
#: Work that may gather before publishers are made to wait; about what a commit handles in 0.1 s.
BACKLOG_HIGH: Final = 8192


class StorageError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


class _Window:
    """Work between two commits."""

    __slots__ = ("adds", "callbacks", "delivered", "deliveries", "removes", "statements")

    def __init__(self) -> None:
        # Statements about exchanges, queues and bindings; each remembers nothing but itself.
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.adds: dict[tuple[int, int], Entry] = {}
        self.removes: list[tuple[int, int, int | None]] = []
        self.delivered: dict[int, int] = {}
        # How often messages were delivered, of queues that count it.
        self.deliveries: dict[tuple[int, int], int] = {}
        self.callbacks: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self.statements) + len(self.adds) + len(self.removes)


class SqliteJournal:
    """A :class:`~fedora_messaging.broker.core.journal.Journal` in a data directory.

    All methods but :meth:`close` belong to the event loop's thread; callbacks are called there.

    Args:
        directory: Created if missing. One broker at a time can use it.
        loop: Where callbacks are called.

    Raises:
        StorageError: The directory cannot be written, is in use, or was written by a newer version.
    """

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._directory = directory
        self._connection = _open(directory)
        self._window = _Window()
        self._wake = threading.Condition()
        self._closing = False
        self._failed: Exception | None = None
        self._in_flight = 0
        self._vhost = "/"
        self._message_id = self._scalar("SELECT max(id) FROM message")
        self._queue_id = self._scalar("SELECT max(id) FROM queue")
        try:
            self._positions = DeliveredPositions(directory)
        except OSError as error:
            self._connection.close()
            raise StorageError(f"{error.filename} cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="broker-storage", daemon=True)

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    @property
    def backlog(self) -> int:
        """Changes that are not on disk yet."""
        return len(self._window) + self._in_flight

    def start(self) -> None:
        """Begin to write; after :meth:`load`."""
        self._thread.start()

    # Journal

    def exchange_added(self, exchange: Exchange) -> None:
        """Keep a durable exchange."""
        self._do(
            "INSERT OR REPLACE INTO exchange VALUES (?, ?, ?, ?, ?, ?)",
            self._vhost,
            _stored(exchange.name),
            exchange.type,
            exchange.auto_delete,
            exchange.internal,
            encode_table(exchange.arguments),
        )

    def exchange_removed(self, exchange: Exchange) -> None:
        """Forget a durable exchange and the bindings from it."""
        name = _stored(exchange.name)
        self._do("DELETE FROM exchange WHERE vhost = ? AND name = ?", self._vhost, name)
        self._do("DELETE FROM binding WHERE vhost = ? AND source = ?", self._vhost, name)

    def queue_added(self, queue: Queue) -> None:
        """Keep a durable queue."""
        arguments = encode_table(queue.declared)  # may fail, and nothing must have changed then
        self._queue_id += 1
        queue.stored_id = self._queue_id
        self._positions.write(queue.stored_id, 0)
        self._do(
            "INSERT INTO queue (id, vhost, name, auto_delete, arguments) VALUES (?, ?, ?, ?, ?)",
            queue.stored_id,
            self._vhost,
            _stored(queue.name),
            queue.auto_delete,
            arguments,
        )

    def queue_removed(self, queue: Queue) -> None:
        """Forget a durable queue and its messages."""
        queue_id = queue.stored_id
        # Its messages that have not reached the disk would otherwise be written after the queue is gone.
        with self._wake:
            for key in [key for key in self._window.adds if key[0] == queue_id]:
                del self._window.adds[key]
        self._do(
            "DELETE FROM message WHERE id IN (SELECT message_id FROM queue_message WHERE queue_id = ?) "
            "AND id NOT IN (SELECT message_id FROM queue_message WHERE queue_id <> ?)",
            queue_id,
            queue_id,
        )
        self._do("DELETE FROM queue_message WHERE queue_id = ?", queue_id)
        self._do("DELETE FROM queue WHERE id = ?", queue_id)

    def binding_added(self, binding: Binding) -> None:
        """Keep a binding."""
        self._do("INSERT OR REPLACE INTO binding VALUES (?, ?, ?, ?, ?, ?)", *self._binding_row(binding))

    def binding_removed(self, binding: Binding) -> None:
        """Forget a binding."""
        self._do(
            "DELETE FROM binding WHERE vhost = ? AND source = ? AND kind = ? AND destination = ? "
            "AND routing_key = ? AND arguments = ?",
            *self._binding_row(binding),
        )

    def _binding_row(self, binding: Binding) -> tuple[Any, ...]:
        return (
            self._vhost,
            _stored(binding.source.name),
            binding.destination.kind,
            _stored(binding.destination.name),
            _stored(binding.routing_key),
            encode_table(binding.arguments),
        )

    def message_added(self, queue: Queue, entry: Entry) -> None:
        """Keep a message; its body is written once, however many queues hold it."""
        message = entry.message
        if message.stored_id is None:
            self._message_id += 1
            message.stored_id = self._message_id
        message.placements += 1
        with self._wake:
            self._window.adds[_key(queue, entry)] = entry
            self._wake.notify()

    def message_removed(self, queue: Queue, entry: Entry) -> None:
        """Forget a message; one that has not reached the disk is never written."""
        message = entry.message
        message.placements -= 1
        key = _key(queue, entry)
        with self._wake:
            if self._window.adds.pop(key, None) is None:
                last = message.stored_id if message.placements == 0 else None
                self._window.removes.append((*key, last))
                self._wake.notify()

    def delivered(self, queue: Queue, entry: Entry) -> None:
        """Remember how far a queue has been delivered; committed with the next commit."""
        key = _key(queue, entry)
        # A broker that is killed has no time for a commit.
        self._positions.write(key[0], queue.delivered_position)
        with self._wake:
            self._window.delivered[key[0]] = queue.delivered_position
            if queue.counts_deliveries:
                self._window.deliveries[key] = entry.returns + 1
                self._wake.notify()

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when everything told before is committed."""
        if not self.backlog:
            callback()
            return
        with self._wake:
            self._window.callbacks.append(callback)
            self._wake.notify()

    def _do(self, statement: str, *values: Any) -> None:
        with self._wake:
            self._window.statements.append((statement, values))
            self._wake.notify()

    # The writer thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._window_has_work()):
                    self._wake.wait()
                window, self._window = self._window, _Window()
                self._in_flight = len(window)
                if self._closing and not (window.delivered or len(window) or window.callbacks):
                    return
            try:
                self._commit(window)
            except sqlite3.Error as error:
                self._fail(error)
                return
            self._in_flight = 0
            if window.callbacks:
                self._call(window.callbacks)

    def _window_has_work(self) -> bool:
        return bool(len(self._window) or self._window.deliveries or self._window.callbacks)

    def _commit(self, window: _Window) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for statement, values in window.statements:
            connection.execute(statement, values)
        if window.adds:
            self._write_messages(window.adds)
        if window.removes:
            self._delete_messages(window.removes)
        connection.executemany(
            "UPDATE queue SET delivered_position = max(delivered_position, ?) WHERE id = ?",
            [(position, queue_id) for queue_id, position in window.delivered.items()],
        )
        connection.executemany(
            "UPDATE queue_message SET deliveries = ? WHERE queue_id = ? AND position = ?",
            [(count, *key) for key, count in window.deliveries.items()],
        )
        connection.execute("COMMIT")

    def _write_messages(self, adds: dict[tuple[int, int], Entry]) -> None:
        self._connection.executemany(
            "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?)",
            (
                (m.stored_id, _stored(m.exchange), _stored(m.routing_key), m.properties, m.body)
                for m in (entry.message for entry in adds.values())
            ),
        )
        self._connection.executemany(
            "INSERT INTO queue_message (queue_id, position, message_id, expires_at) VALUES (?, ?, ?, ?)",
            [(*key, entry.message.stored_id, entry.expires_at) for key, entry in adds.items()],
        )

    def _delete_messages(self, removes: list[tuple[int, int, int | None]]) -> None:
        self._connection.executemany(
            "DELETE FROM queue_message WHERE queue_id = ? AND position = ?",
            [(queue_id, position) for queue_id, position, _ in removes],
        )
        self._connection.executemany(
            "DELETE FROM message WHERE id = ?",
            [(message_id,) for _, _, message_id in removes if message_id is not None],
        )

    def _fail(self, error: Exception) -> None:
        # Publishers must not be told that anything is safe from here on: their confirms never come.
        _log.critical("Writing to %s failed, nothing more will be stored: %s", self._directory, error)
        self._failed = error

    def _call(self, callbacks: list[Callable[[], None]]) -> None:
        def call() -> None:
            for callback in callbacks:
                callback()

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any longer
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Commit what has gathered and release the directory."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self._connection.close()
        self._positions.close()

    # Start

    def load(self, vhost: VirtualHost) -> None:
        """Fill a virtual host with what is stored."""
        self._load_exchanges(vhost)
        queues = self._load_queues(vhost)
        self._load_bindings(vhost)
        self._load_messages(queues)

    def _load_exchanges(self, vhost: VirtualHost) -> None:
        rows = self._connection.execute(
            "SELECT name, type, auto_delete, internal, arguments FROM exchange WHERE vhost = ?", (vhost.name,)
        )
        for name, kind, auto_delete, internal, arguments in rows:
            exchange = TYPES[kind](
                _text(name), True, bool(auto_delete), bool(internal), decode_table(arguments)[0]
            )
            vhost.exchanges[exchange.name] = exchange

    def _load_queues(self, vhost: VirtualHost) -> dict[int, Queue]:
        queues = {}
        rows = self._connection.execute(
            "SELECT id, name, auto_delete, arguments, delivered_position FROM queue WHERE vhost = ?",
            (vhost.name,),
        )
        for queue_id, name, auto_delete, encoded, delivered_position in rows:
            declared = decode_table(encoded)[0]
            method = QueueDeclare(
                _text(name), durable=True, auto_delete=bool(auto_delete), arguments=declared
            )
            queue = Queue(
                vhost,
                method.queue,
                durable=True,
                auto_delete=method.auto_delete,
                declared=declared,
                arguments=read_arguments(method, vhost.name),
            )
            queue.stored_id = queue_id
            queue.resume(max(delivered_position, self._positions.read(queue_id)))
            vhost.restore_queue(queue)
            queues[queue_id] = queue
        return queues

    def _load_bindings(self, vhost: VirtualHost) -> None:
        rows = self._connection.execute(
            "SELECT source, kind, destination, routing_key, arguments FROM binding WHERE vhost = ?",
            (vhost.name,),
        )
        for source, kind, destination, routing_key, arguments in rows:
            exchange = vhost.exchanges.get(_text(source))
            registry: Any = vhost.queues if kind == Queue.kind else vhost.exchanges
            target = registry.get(_text(destination))
            if exchange is not None and target is not None:
                exchange.bind(target, _text(routing_key), decode_table(arguments)[0])

    def _load_messages(self, queues: dict[int, Queue]) -> None:
        messages: dict[int, Message] = {}
        exhausted: list[tuple[Queue, Entry]] = []
        rows = self._connection.execute(
            "SELECT queue_id, position, message_id, expires_at, deliveries, "
            "exchange, routing_key, properties, body "
            "FROM queue_message JOIN message ON message.id = message_id ORDER BY queue_id, position"
        )
        for queue_id, position, message_id, expires_at, deliveries, exchange, key, properties, body in rows:
            queue = queues.get(queue_id)
            if queue is None:
                continue
            message = messages.get(message_id)
            if message is None:
                message = messages[message_id] = Message(_text(exchange), _text(key), properties, body)
                message.stored_id = message_id
            message.placements += 1
            entry = Entry(message, position, queue.effective_priority(message), expires_at)
            entry.stored = True
            entry.returns = deliveries
            entry.redelivered = position <= queue.delivered_position
            if not queue.restore(entry):
                exhausted.append((queue, entry))
        for queue, entry in exhausted:
            queue.give_up(entry)


def _key(queue: Queue, entry: Entry) -> tuple[int, int]:
    assert queue.stored_id is not None  # noqa: S101 - only stored queues have stored messages
    return queue.stored_id, entry.position


def _stored(name: str) -> str | bytes:
    """Names need not be UTF-8; SQLite's text must."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape")
    return name


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def _open(directory: Path) -> sqlite3.Connection:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The data directory {directory} cannot be created: {error.strerror}") from error
    path = directory / FILE_NAME
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            _take(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        raise StorageError(_explain(directory, error)) from error
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path} is not a broker's data file: {error}") from error
    return connection


def _take(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Taking the lock now makes a second broker fail at its start, not at its first message.
    connection.execute("BEGIN IMMEDIATE")
    _prepare(connection, path)
    connection.execute("COMMIT")


def _explain(directory: Path, error: sqlite3.OperationalError) -> str:
    if "locked" in str(error):
        return f"The data directory {directory} is in use by another broker; stop that one or use another."
    return f"The data directory {directory} cannot be written: {error}"


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
        for statement in schema.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (SCHEMA_VERSION,))
        return
    version = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
    if version < SCHEMA_VERSION:
        # Layout 1 did not count deliveries.
        connection.execute("ALTER TABLE queue_message ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (SCHEMA_VERSION,))
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} was written by a newer version (layout {version}, this one knows {SCHEMA_VERSION}); "
            "use that version, or another data directory."
        )
