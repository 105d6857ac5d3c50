"""Durable data in one SQLite file.

One writer thread owns the connection that writes. It commits in groups without a timer: while one commit
runs, new work gathers, and the next commit takes all of it. The file is in WAL mode with
``synchronous=FULL``, so that a commit that has returned survives the loss of power, as far as the disk
tells the truth. SQLite is the log and the recovery; what is ready is found in memory.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from ...logs import logger
from ...wire.fields import decode_table, encode_table
from ..core.declarations import QueueDeclaration
from ..core.exchanges import TYPES, Binding, Exchange
from ..core.message import BrokerMessage, Entry
from ..core.queue import Queue
from ..core.queue_arguments import read_arguments
from ..core.vhost import VirtualHost
from .positions import DeliveredPositions

_log = logger(__name__)

FILE_NAME: Final = "broker.sqlite"
SCHEMA_VERSION: Final = 2
#: Work that may gather before publishers are made to wait; about what a commit handles in 0.1 s.
_BACKLOG_HIGH: Final = 8192
#: The same for the bytes of messages.
_PENDING_HIGH: Final = 16_000_000
#: Seconds between two attempts to write while writing fails.
_RETRY: Final = 1.0
#: Bytes that a message takes in the file beside its body and properties, at most if its names are short.
_ROW: Final = 200
#: Bytes of the log that are kept for the next changes.
_LOG_MAX: Final = 16_000_000
#: Empty bytes that a file may keep, and the part of it that may be empty.
_EMPTY_MIN: Final = 8_000_000
_EMPTY_PART: Final = 0.25
#: Empty pages that go back to the disk at a time, which takes some milliseconds.
_PAGES_AT_ONCE: Final = 1000
#: SQLite's name for files that give pages back when they are told to.
_INCREMENTAL: Final = 2
#: What SQLite says when its surroundings are the problem: they may get better.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


class StorageError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


class _Window:
    """Work between two commits.

    Args:
        first_message: Messages with a smaller number were told of before, and may be on the disk.
    """

    __slots__ = (
        "adds",
        "bytes",
        "callbacks",
        "delivered",
        "deliveries",
        "first_message",
        "gone",
        "removes",
        "statements",
    )

    def __init__(self, first_message: int) -> None:
        self.first_message = first_message
        # Statements about exchanges, queues and bindings; each remembers nothing but itself.
        self.statements: list[tuple[str, tuple[Any, ...]]] = []
        self.adds: dict[tuple[int, int], Entry] = {}
        self.removes: list[tuple[int, int, int | None]] = []
        self.delivered: dict[int, int] = {}
        # How often messages were delivered, of queues that count it.
        self.deliveries: dict[tuple[int, int], int] = {}
        self.callbacks: list[Callable[[], None]] = []
        # Queues that are deleted by the statements.
        self.gone: set[int] = set()
        # Of the messages in `adds`.
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.statements) + len(self.adds) + len(self.removes)

    @property
    def is_due(self) -> bool:
        """Whether a commit is due; how far queues were delivered can wait for the next one."""
        return bool(len(self) or self.deliveries or self.callbacks)

    def add(self, key: tuple[int, int], entry: Entry) -> None:
        """Take a message."""
        self.adds[key] = entry
        self.bytes += _size(entry)

    def cancel(self, key: tuple[int, int]) -> bool:
        """Drop a message; returns whether it was here."""
        entry = self.adds.pop(key, None)
        if entry is None:
            return False
        self.bytes -= _size(entry)
        return True

    def remove_queue(self, queue_id: int) -> None:
        """Drop the messages of a queue, which would otherwise be written after it is gone."""
        self.gone.add(queue_id)
        for key in [key for key in self.adds if key[0] == queue_id]:
            self.cancel(key)

    def merge(self, newer: "_Window") -> None:
        """Take up what came while the commit of this window failed.

        Messages that have left their queues meanwhile need no room any more.
        """
        for queue_id in newer.gone:
            self.remove_queue(queue_id)
        for queue_id, position, _ in newer.removes:
            self.cancel((queue_id, position))
        self.statements += newer.statements
        self.adds.update(newer.adds)
        self.bytes += newer.bytes
        self.removes += newer.removes
        self.delivered.update(newer.delivered)
        self.deliveries.update(newer.deliveries)
        self.callbacks += newer.callbacks


class Watcher(Protocol):
    """Who has to know how the storage does; called in the event loop."""

    def storage_changed(self) -> None:
        """Writing has begun to fail, or works again: see :attr:`SqliteJournal.trouble`."""
        ...

    def storage_failed(self, why: str) -> None:
        """Nothing will be stored any more."""
        ...


class SqliteJournal:
    """A :class:`~fedora_messaging.broker.core.journal.Journal` in a data directory.

    All methods but :meth:`close` belong to the event loop's thread; callbacks are called there.

    What cannot be written for now (the disk is full, there are no file descriptors) is tried again until it
    can, and nothing is reported as durable meanwhile.

    Args:
        directory: Created if missing. One broker at a time can use it.
        loop: Where callbacks are called.
        watcher: Is told of trouble.

    Attributes:
        trouble: Why nothing can be written at present, or ``None``.
        reusable: Bytes in the file that hold nothing, and are used again before it grows.

    Raises:
        StorageError: The directory cannot be written or is in use; its file is damaged or of a newer version.
    """

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop, watcher: Watcher) -> None:
        self.trouble: str | None = None
        self.reusable = 0
        self._loop = loop
        self._watcher = watcher
        self._path = directory / FILE_NAME
        self._connection = _open(directory)
        self._wake = threading.Condition()
        self._closing = False
        self._has_shrunk = False
        self._vhost = "/"
        self._positions = _open_positions(directory, self._connection)
        with _or_close(self._connection, self._path):
            self._identity = self._look()
            self._message_id = self._scalar("SELECT max(id) FROM message")
            self._queue_id = self._scalar("SELECT max(id) FROM queue")
            self._page_size = self._scalar("PRAGMA page_size")
            self._shrinks = self._scalar("PRAGMA auto_vacuum") == _INCREMENTAL
        self._window = _Window(self._message_id + 1)
        self._in_flight: _Window | None = None
        self._thread = threading.Thread(target=self._run, name="broker-storage", daemon=True)

    def _scalar(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    @property
    def backlog(self) -> int:
        """Changes that are not on disk yet."""
        # Locked: a window that the writer is just taking must not be overlooked, it would be confirmed.
        with self._wake:
            return len(self._window) + (len(self._in_flight) if self._in_flight is not None else 0)

    @property
    def pending(self) -> int:
        """Bytes of messages that are not on disk yet."""
        with self._wake:
            return self._window.bytes + (self._in_flight.bytes if self._in_flight is not None else 0)

    @property
    def is_behind(self) -> bool:
        """Whether publishers should wait for the disk."""
        return self.backlog > _BACKLOG_HIGH or self.pending > _PENDING_HIGH

    @property
    def is_in_place(self) -> bool:
        """Whether the next start will find what is written: the file and its log."""
        try:
            return self._look() == self._identity
        except FileNotFoundError:
            return False
        except OSError:
            return True  # that cannot be told at present

    def _look(self) -> list[tuple[int, int]]:
        found = [path.stat() for path in (self._path, _log_of(self._path))]
        return [(status.st_dev, status.st_ino) for status in found]

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
        assert queue_id is not None  # it was added
        with self._wake:
            self._window.remove_queue(queue_id)
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
        with self._wake:
            if message.stored_id is None:
                self._message_id += 1
                message.stored_id = self._message_id
            message.placements += 1
            self._window.add(_key(queue, entry), entry)
            self._wake.notify()

    def message_removed(self, queue: Queue, entry: Entry) -> None:
        """Forget a message; one that has not reached the disk is never written."""
        message = entry.message
        assert message.stored_id is not None  # it was added
        message.placements -= 1
        key = _key(queue, entry)
        last = message.stored_id if message.placements == 0 else None
        with self._wake:
            # A message in several queues may have reached the disk in one of them.
            if not self._window.cancel(key) or (last is not None and last < self._window.first_message):
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
        try:
            self._give_room_back()
            while self._write_once():
                self._give_room_back()
        except Exception as error:
            # Publishers must not be told that anything is safe from here on: their confirms never come.
            if not isinstance(error, sqlite3.Error):
                _log.exception("Internal error while writing to %s", self._path)
            why = self.trouble = _explain_failure(self._path, error)
            self._tell(lambda: self._watcher.storage_failed(why))

    def _write_once(self) -> bool:
        """Commit what has gathered; returns whether there will be more."""
        with self._wake:
            while not (self._closing or self._window.is_due):
                self._wake.wait()
            window, self._window = self._window, _Window(self._message_id + 1)
            self._in_flight = window
            if not (window.is_due or window.delivered):
                return False
        try:
            self._commit(window)
        except (sqlite3.Error, MemoryError) as error:
            if not _may_pass(error):
                raise
            return self._wait_for_better(window, error)
        self._in_flight = None
        if self.trouble is not None:
            self._note_trouble(None)
        if window.callbacks:
            self._tell(*window.callbacks)
        return True

    def _wait_for_better(self, window: _Window, error: Exception) -> bool:
        """Keep what could not be written; returns whether to try again."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        with self._wake:
            window.merge(self._window)
            self._window = window
            self._in_flight = None
            last_try = self._closing
        self._note_trouble(str(error))
        if last_try:
            return False
        with self._wake:
            self._wake.wait_for(lambda: self._closing, _RETRY)
        return True

    def _note_trouble(self, trouble: str | None) -> None:
        has_changed = (trouble is None) != (self.trouble is None)
        self.trouble = trouble
        if not has_changed:
            return
        if trouble is not None:
            _log.error(
                "%s cannot be written: %s. Publishers are blocked. The broker tries again each second: make "
                "room on the disk, or mend what is wrong with it",
                self._path,
                trouble,
            )
        else:
            _log.warning("%s can be written again", self._path)
        self._tell(self._watcher.storage_changed)

    def _give_room_back(self) -> None:
        """Make a file smaller that is empty to a good part, as long as nobody waits for a commit."""
        with contextlib.suppress(sqlite3.Error):  # if that matters, the next commit fails by it, too
            while self._has_much_room():
                # A script runs to its end; a single statement would stop after the first page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
                self._has_shrunk = True
                if self._closing or self._window.is_due:
                    return
            if self._has_shrunk:
                # Only now the file itself gets smaller.
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._has_shrunk = False

    def _has_much_room(self) -> bool:
        pages, empty = self._scalar("PRAGMA page_count"), self._scalar("PRAGMA freelist_count")
        self.reusable = empty * self._page_size
        return self._shrinks and self.reusable > _EMPTY_MIN and empty > pages * _EMPTY_PART

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

    def _tell(self, *callbacks: Callable[[], None]) -> None:
        def call() -> None:
            for callback in callbacks:
                callback()

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any longer
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Commit what has gathered and release the directory.

        Raises:
            StorageError: Something could not be written; none of it was reported as durable.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        if self.trouble is None:
            _close(self._connection)
        else:
            self._connection.close()
        self._positions.close()
        if self.trouble is not None:
            raise StorageError(
                f"The last changes could not be written to {self._path}: {self.trouble}. "
                "No publisher was told that they are safe."
            )

    # Start

    def load(self, vhost: VirtualHost) -> None:
        """Fill a virtual host with what is stored.

        Raises:
            StorageError: The file is damaged.
        """
        with _or_close(self._connection, self._path):
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
            declared = QueueDeclaration(
                _text(name),
                durable=True,
                auto_delete=bool(auto_delete),
                arguments=decode_table(encoded)[0],
            )
            queue = Queue(
                vhost,
                declared.name,
                durable=True,
                auto_delete=declared.auto_delete,
                declared=declared.arguments,
                arguments=read_arguments(declared, vhost.name),
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
        messages: dict[int, BrokerMessage] = {}
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
                message = messages[message_id] = BrokerMessage(_text(exchange), _text(key), properties, body)
                message.stored_id = message_id
            message.placements += 1
            entry = Entry(message, position, queue.arguments.priority_of(message.scan), expires_at)
            entry.stored = True
            entry.returns = deliveries
            entry.redelivered = position <= queue.delivered_position
            if not queue.restore(entry):
                exhausted.append((queue, entry))
        for queue, entry in exhausted:
            queue.give_up(entry)


def _key(queue: Queue, entry: Entry) -> tuple[int, int]:
    assert queue.stored_id is not None  # only stored queues have stored messages
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


def _size(entry: Entry) -> int:
    return len(entry.message.body) + len(entry.message.properties) + _ROW


def _code(error: Exception) -> int:
    """Return the kind of an error in SQLite's numbers, 0 for errors of others."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _may_pass(error: Exception) -> bool:
    """Whether writing may work when it is tried again."""
    return isinstance(error, MemoryError) or _code(error) in _PASSING


def _explain_failure(path: Path, error: Exception) -> str:
    if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damage(path, error)
    return f"Writing to {path} failed ({error}): start the broker again; it finds there what was confirmed."


def _damage(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged, or no data file of a broker ({error}): restore it from a backup, or move it "
        "away to begin without queues and messages."
    )


@contextlib.contextmanager
def _or_close(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Read what is stored, which may be damaged in any way; then it is closed."""
    try:
        yield
    except Exception as error:
        _close(connection)
        if isinstance(error, StorageError):
            raise
        if _may_pass(error):
            raise StorageError(f"{path} cannot be read: {error}") from error
        raise StorageError(_damage(path, error)) from error


def _close(connection: sqlite3.Connection) -> None:
    """Close a file in good order: the next start needs no log."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("UPDATE meta SET value = 0 WHERE key = 'running'")
    connection.close()


def _open_positions(directory: Path, connection: sqlite3.Connection) -> DeliveredPositions:
    try:
        return DeliveredPositions(directory)
    except OSError as error:
        _close(connection)
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}") from error


def _open(directory: Path) -> sqlite3.Connection:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The data directory {directory} cannot be created: {error.strerror}") from error
    path = directory / FILE_NAME
    has_log = _log_of(path).exists()
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            _take(connection, path, has_log)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, MemoryError) as error:
        raise StorageError(_explain(directory, path, error)) from error
    return connection


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _take(connection: sqlite3.Connection, path: Path, has_log: bool) -> None:
    # A file gives pages back only if that was said before its first table.
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_MAX}")
    # Taking the lock now makes a second broker fail at its start, not at its first message.
    connection.execute("BEGIN IMMEDIATE")
    _prepare(connection, path)
    _note_running(connection, path, has_log)
    connection.execute("COMMIT")
    # Into the file itself: the next start shall know of this one even if the log is not there.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != _INCREMENTAL:
        _make_shrinkable(connection)
    # From now on nothing but the file and its log is opened, however few descriptors there are.
    connection.execute("PRAGMA temp_store = MEMORY")


def _make_shrinkable(connection: sqlite3.Connection) -> None:
    """Write a file anew, once, that older versions have made; without room for that it stays as it is."""
    with contextlib.suppress(sqlite3.Error, MemoryError):
        connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        connection.execute("VACUUM")
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _note_running(connection: sqlite3.Connection, path: Path, has_log: bool) -> None:
    running = connection.execute("SELECT value FROM meta WHERE key = 'running'").fetchone()
    if running is not None and running[0] and not has_log:
        log = _log_of(path)
        raise StorageError(
            f"{log} is missing. The broker was not stopped in good order, and its last changes are in that "
            f"file: put it back beside {path.name}, or create it empty to begin without these changes."
        )
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('running', 1)")


def _explain(directory: Path, path: Path, error: Exception) -> str:
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"The data directory {directory} is in use by another broker; stop that one or use another."
    if not _may_pass(error):
        return _damage(path, error)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        advice = f"let the user who runs the broker write that directory and {path.name} in it"
    else:
        advice = "make room on its disk, or mend what is wrong with it"
    return f"The data directory {directory} cannot be written ({error}): {advice}."


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "meta" not in tables:
        raise StorageError(_damage(path, ValueError("its tables are those of another program")))
    if not tables:
        schema = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
        for statement in schema.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('version', ?)", (SCHEMA_VERSION,))
        return
    row = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    if row is None or not isinstance(row[0], int):
        raise StorageError(_damage(path, ValueError("it does not say which layout it has")))
    version = row[0]
    if version < SCHEMA_VERSION:
        # Layout 1 did not count deliveries.
        connection.execute("ALTER TABLE queue_message ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (SCHEMA_VERSION,))
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} was written by a newer version (layout {version}, this one knows {SCHEMA_VERSION}); "
            "use that version, or another data directory."
        )
    _drop_strays(connection)


def _drop_strays(connection: sqlite3.Connection) -> None:
    """Drop what no queue holds: messages that were out when their queue was deleted and the broker killed.

    Queues get their numbers again after a restart, and must not get messages of others with them.
    """
    connection.execute("DELETE FROM queue_message WHERE queue_id NOT IN (SELECT id FROM queue)")
    connection.execute("DELETE FROM message WHERE id NOT IN (SELECT message_id FROM queue_message)")
