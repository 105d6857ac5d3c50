"""Durable data in one SQLite file.

One writer thread owns the connection that writes. It commits in groups without a timer: while one commit
runs, new changes gather, and the next commit takes all of them. The file is in WAL mode with
``synchronous=FULL``, so that a commit that has returned survives the loss of power, as far as the disk
tells the truth. The broker reads the file only when it starts; after that it finds messages in memory.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

from ...logs import logger
from ..core.message import Entry
from ..core.queue import Queue
from ..core.vhost import VirtualHost
from .committing import commit
from .database_file import (
    FILE_NAME,
    StorageError,
    close_file,
    closed_if_damaged,
    explain_failure,
    log_of,
    may_pass,
    number,
    open_file,
    open_positions,
)
from .empty_pages import EmptyPages
from .loading import load
from .vhost_journal import VhostJournal
from .window import Window, entry_key

_log = logger(__name__)

#: Changes that may gather before publishers have to wait; a commit handles about as many in 0.1 s.
_BACKLOG_HIGH: Final = 8192
#: Bytes of messages that may gather before publishers have to wait.
_PENDING_HIGH: Final = 16_000_000
#: Seconds between two attempts to write while writing fails.
_RETRY: Final = 1.0


class Watcher(Protocol):
    """Called in the event loop when the state of the storage changes."""

    def storage_changed(self) -> None:
        """React when writing has begun to fail, or works again; see :attr:`SqliteStore.trouble`."""
        ...

    def storage_failed(self, why: str) -> None:
        """React when the storage cannot store anything any more."""
        ...


class SqliteStore:
    """The durable data of a broker in a data directory; :meth:`journal_of` is what virtual hosts use of it.

    Only the event loop's thread may call the methods other than :meth:`close`; it gets the callbacks, too.

    If writing fails for a reason that may pass (the disk is full, or no file descriptors are left), the
    writer tries again until it succeeds, and reports nothing as durable meanwhile.

    Args:
        directory: The data directory; created if missing. One broker at a time can use it.
        loop: The event loop, in which callbacks are called.
        watcher: Called when there is trouble, or no longer any.

    Attributes:
        trouble: Why nothing can be written at present, or ``None``.

    Raises:
        StorageError: The directory cannot be written or is in use; its file is damaged or of a newer version.
    """

    def __init__(self, directory: Path, loop: asyncio.AbstractEventLoop, watcher: Watcher) -> None:
        self.trouble: str | None = None
        self._loop = loop
        self._watcher = watcher
        self._path = directory / FILE_NAME
        self._connection = open_file(directory)
        self._wake = threading.Condition()
        self._closing = False
        self._positions = open_positions(directory, self._connection)
        with closed_if_damaged(self._connection, self._path):
            self._identity = self._look()
            self._message_id = number(self._connection, "SELECT max(id) FROM message")
            self._queue_id = number(self._connection, "SELECT max(id) FROM queue")
            self._empty_pages = EmptyPages(self._connection)
        self._window = Window(self._message_id + 1)
        self._in_flight: Window | None = None
        self._thread = threading.Thread(target=self._run, name="broker-storage", daemon=True)

    @property
    def backlog(self) -> int:
        """Changes that are not on disk yet."""
        # With the lock, so as not to overlook a window that the writer is just taking: its messages would be
        # confirmed too early.
        with self._wake:
            return len(self._window) + (len(self._in_flight) if self._in_flight is not None else 0)

    @property
    def pending(self) -> int:
        """Bytes of messages that are not on disk yet."""
        with self._wake:
            return self._window.bytes + (self._in_flight.bytes if self._in_flight is not None else 0)

    @property
    def reusable(self) -> int:
        """Empty bytes in the file, which are used before it grows."""
        return self._empty_pages.size

    @property
    def is_behind(self) -> bool:
        """Whether publishers should wait for the disk."""
        return self.backlog > _BACKLOG_HIGH or self.pending > _PENDING_HIGH

    @property
    def is_in_place(self) -> bool:
        """Whether the file and its log are still at their paths, so that the next start finds them."""
        try:
            return self._look() == self._identity
        except FileNotFoundError:
            return False
        except OSError:
            return True  # this cannot be found out at present

    def _look(self) -> list[tuple[int, int]]:
        found = [path.stat() for path in (self._path, log_of(self._path))]
        return [(status.st_dev, status.st_ino) for status in found]

    def start(self) -> None:
        """Begin to write; to be called after :meth:`load`."""
        self._thread.start()

    def journal_of(self, vhost: str) -> "VhostJournal":
        """Return the journal of a virtual host."""
        return VhostJournal(self, vhost)

    def new_queue_id(self) -> int:
        """Return an identity for a new queue."""
        self._queue_id += 1
        self._positions.write(self._queue_id, 0)
        return self._queue_id

    def drop_messages(self, queue_id: int) -> None:
        """Drop the messages of a queue that is deleted."""
        with self._wake:
            self._window.remove_queue(queue_id)

    def save_definition(self, section: str, key: str, value: str | None) -> None:
        """Store a definition, such as a user, as JSON; ``None`` deletes it."""
        if value is None:
            self.do("DELETE FROM definition WHERE section = ? AND key = ?", section, key)
        else:
            self.do("INSERT OR REPLACE INTO definition VALUES (?, ?, ?)", section, key, value)

    def restore_definitions(self, take: Callable[[list[tuple[str, str, str]]], None]) -> None:
        """Hand over section, key and JSON of each stored definition; to be called before :meth:`start`.

        Raises:
            StorageError: The file is damaged.
        """
        with closed_if_damaged(self._connection, self._path):
            take(self._connection.execute("SELECT section, key, value FROM definition").fetchall())

    # The part of the journals that no virtual host has for itself

    def message_added(self, queue: Queue, entry: Entry) -> None:
        """Store a message; its body is written once, however many queues hold it."""
        message = entry.message
        with self._wake:
            # A message that has left all of its queues before the next of them gets it is a new one here: the
            # old one will be deleted.
            if message.stored_id is None or not message.placements:
                self._message_id += 1
                message.stored_id = self._message_id
            message.placements += 1
            self._window.add(entry_key(queue, entry), entry)
            self._wake.notify()

    def message_removed(self, queue: Queue, entry: Entry) -> None:
        """Delete a message; one that has not reached the disk is never written."""
        message = entry.message
        assert message.stored_id is not None  # message_added() was called before
        message.placements -= 1
        key = entry_key(queue, entry)
        last = message.stored_id if message.placements == 0 else None
        with self._wake:
            # A message of several queues may be on the disk because of another queue.
            if not self._window.cancel(key) or (last is not None and last < self._window.first_message):
                self._window.removes.append((*key, last))
                self._wake.notify()

    def delivered(self, queue: Queue, entry: Entry) -> None:
        """Store how far a queue has been delivered; the next commit includes it."""
        key = entry_key(queue, entry)
        # Write it at once, because a broker that is killed cannot commit first.
        self._positions.write(key[0], queue.delivered_position)
        with self._wake:
            self._window.delivered[key[0]] = queue.delivered_position
            if queue.counts_deliveries:
                # What it will count if the broker ends before the message is settled.
                self._window.deliveries[key] = entry.returns + 1, entry.acquisitions + 1
                self._wake.notify()

    def returned(self, queue: Queue, entry: Entry) -> None:
        """Store how often a message was delivered that came back."""
        with self._wake:
            self._window.deliveries[entry_key(queue, entry)] = entry.returns, entry.acquisitions
            self._wake.notify()

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when all changes so far are committed."""
        if not self.backlog:
            callback()
            return
        with self._wake:
            self._window.callbacks.append(callback)
            self._wake.notify()

    def do(self, statement: str, *values: Any) -> None:
        """Carry out a statement with the next commit."""
        with self._wake:
            self._window.statements.append((statement, values))
            self._wake.notify()

    # In the writer thread

    def _run(self) -> None:
        try:
            self._empty_pages.give_back(self._is_wanted)
            while self._write_once():
                self._empty_pages.give_back(self._is_wanted)
        except Exception as error:
            # From here on nothing is stored, so publishers get no more confirms for persistent messages.
            if not isinstance(error, sqlite3.Error):
                _log.exception("Internal error while writing to %s", self._path)
            why = self.trouble = explain_failure(self._path, error)
            self._tell(lambda: self._watcher.storage_failed(why))

    def _is_wanted(self) -> bool:
        return self._closing or self._window.is_due

    def _write_once(self) -> bool:
        """Commit the changes that have gathered; returns whether to go on."""
        with self._wake:
            while not self._is_wanted():
                self._wake.wait()
            window, self._window = self._window, Window(self._message_id + 1)
            self._in_flight = window
            if not (window.is_due or window.delivered):
                return False
        try:
            commit(self._connection, window)
        except (sqlite3.Error, MemoryError) as error:
            if not may_pass(error):
                raise
            return self._wait_for_better(window, error)
        self._in_flight = None
        if self.trouble is not None:
            self._note_trouble(None)
        if window.callbacks:
            self._tell(*window.callbacks)
        return True

    def _wait_for_better(self, window: Window, error: Exception) -> bool:
        """Keep the changes that could not be written; returns whether to try again."""
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        with self._wake:
            window.merge(self._window)
            window.was_tried = True
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

    def _tell(self, *callbacks: Callable[[], None]) -> None:
        def call() -> None:
            for callback in callbacks:
                callback()

        with contextlib.suppress(RuntimeError):  # the loop is closed, so no caller waits any longer
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Commit the changes that have gathered, and release the directory.

        Raises:
            StorageError: Some changes could not be written; none of them was reported as durable.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        close_file(self._connection)
        self._positions.close()
        if self.trouble is not None:
            raise StorageError(
                f"The last changes could not be written to {self._path}: {self.trouble}. "
                "No publisher was told that they are safe."
            )

    def load(self, vhosts: Iterable[VirtualHost]) -> None:
        """Fill the virtual hosts with the stored data; to be called before :meth:`start`.

        Raises:
            StorageError: The file is damaged.
        """
        with closed_if_damaged(self._connection, self._path):
            load(self._connection, self._positions, vhosts)
