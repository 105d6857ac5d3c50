"""The store of an outbox: one thread uses the database, and commits changes in groups."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import reduce
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

from ...exceptions import ConfigurationException, OutboxError, OutboxFull
from ...logs import logger
from ...options import OutboxOptions
from ...printable import printable
from . import table
from .database import Database, DatabaseError, SqliteDatabase
from .table import Failure, Row, Topic, Usage

_log = logger(__name__)

Result = TypeVar("Result")

#: Most requests that are handled together; their changes share a commit.
_GROUP: Final = 1000
#: Seconds for which the last reading of the fill level is used, although others may have changed it.
_USAGE_AGE: Final = 1.0


class _Put(NamedTuple):
    values: dict[str, Any]
    future: "Future[None]"


class _Call(NamedTuple):
    call: Callable[[], Any]
    future: "Future[Any]"

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except DatabaseError as error:
            self.future.set_exception(OutboxError(str(error)))
        except Exception as error:  # as in _write
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class OutboxStore:
    """Takes messages from any thread; the sender reads them from its event loop.

    Args:
        options: Where the outbox is, and its limits.
        on_put: Called, in the store's thread, when messages were added.

    Raises:
        ConfigurationException: The database cannot be used.
    """

    def __init__(self, options: OutboxOptions, on_put: Callable[[], None]) -> None:
        self._options = options
        self._on_put = on_put
        self._database = _open(options)
        self._created = False
        # The fill level with the accepted messages that the next commit is going to write.
        self._usage = Usage(0, 0, None)
        self._accepted: list[_Put] = []
        self._usage_read = 0.0
        self._jobs: SimpleQueue[_Put | int | _Call | None] = SimpleQueue()
        self._sent: list[int] = []
        self._aside: dict[Topic, set[int]] = {}
        self._closed: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Name of the outbox for logs and error texts, without a password."""
        return self._database.name

    # For any thread

    def put(self, values: dict[str, Any]) -> "Future[None]":
        """Add a message; the future is done when the message is on disk.

        The future fails with OutboxFull or OutboxError.
        """
        future: Future[None] = Future()
        self._jobs.put(_Put(values, future))
        return future

    def delete(self, row_id: int) -> None:
        """Note that a message was sent; the thread deletes it soon."""
        self._jobs.put(row_id)

    def usage(self) -> "Future[Usage]":
        """Ask for the fill level of the outbox; this and the methods below fail with OutboxError."""
        return self._call(lambda: self._read_usage(0.0))

    def failures(self, most: int) -> "Future[list[Failure]]":
        """Ask for messages that could not be sent so far, oldest first."""

        def read() -> list[Failure]:
            rows = self._query(table.FAILURES, {"most": most})
            return [Failure(Topic(exchange, key), attempts, error) for exchange, key, attempts, error in rows]

        return self._call(read)

    def topics(self) -> "Future[list[Topic]]":
        """Ask for all topics that have messages, apart from those that were set aside."""

        def read() -> list[Topic]:
            topics = [Topic(*row) for row in self._query(table.TOPICS, {})]
            return [topic for topic in topics if topic not in self._aside or self._has_others(topic)]

        return self._call(read)

    def _has_others(self, topic: Topic) -> bool:
        aside = self._aside[topic]
        rows = self._query(table.IDS, {**topic._asdict(), "most": len(aside) + 1})
        return any(number not in aside for (number,) in rows)

    def rows(self, topic: Topic, most: int) -> "Future[list[Row]]":
        """Ask for the oldest messages of a topic."""

        def read() -> list[Row]:
            # Messages that were sent, but could not be deleted so far, must not be sent again.
            aside = self._aside.get(topic, set())
            most_read = most + len(self._sent) + len(aside)
            rows = self._query(table.ROWS, {**topic._asdict(), "most": most_read})
            return [
                Row(number, bool(mandatory), bytes(properties), bytes(body))
                for number, mandatory, properties, body in rows
                if number not in self._sent and number not in aside
            ][:most]

        return self._call(read)

    def failed(self, row_id: int, error: str) -> "Future[None]":
        """Note that a message could not be sent."""

        def note() -> None:
            with self._database.transaction():
                self._database.run(table.FAILED, {"id": row_id, "error": printable(error)})

        return self._call(note)

    def set_aside(self, topic: Topic, row_id: int) -> "Future[None]":
        """Skip a message when reading, as long as this process runs; it stays in the outbox."""
        return self._call(lambda: self._aside.setdefault(topic, set()).add(row_id))

    def check(self) -> "Future[None]":
        """Check that the database is still the one that other programs find."""
        return self._call(self._database.check)

    def lock(self) -> "Future[bool]":
        """Take the sender's lock, or check that we still hold it."""
        return self._call(self._database.lock)

    def unlock(self) -> "Future[None]":
        """Release the sender's lock, so that another process can send."""
        return self._call(self._database.unlock)

    def flushed(self) -> "Future[None]":
        """Return a future that is done when all messages given to :meth:`delete` are gone from the disk."""

        def check() -> None:
            if self._sent:
                raise DatabaseError("messages that were sent cannot be removed from it")

        return self._call(check)

    def close(self) -> "Future[None]":
        """Handle all requests so far and end; the future is done then."""
        self._jobs.put(None)
        return self._closed

    def _call(self, call: Callable[[], Result]) -> "Future[Result]":
        future: Future[Result] = Future()
        self._jobs.put(_Call(call, future))
        return future

    # In the store's thread

    def _run(self) -> None:
        over = False
        while not over:
            batch = [self._jobs.get()]
            while len(batch) < _GROUP and not self._jobs.empty():
                batch.append(self._jobs.get())
            puts: list[_Put] = []
            calls: list[_Call] = []
            for job in batch:
                if job is None:
                    over = True
                elif isinstance(job, int):
                    self._sent.append(job)
                elif isinstance(job, _Call):
                    calls.append(job)
                elif job.future.set_running_or_notify_cancel():
                    puts.append(job)
            self._write(puts)
            for call in calls:
                call.run()
        self._database.close()
        self._closed.set_result(None)

    def _write(self, puts: list[_Put]) -> None:
        """Insert and delete messages in one commit."""
        if not puts and not self._sent:
            return
        try:
            if puts:
                self._database.check()
            self._prepare()
            begun = time.monotonic()
            for put in puts:
                self._accept_or_refuse(put, begun)
            with self._database.transaction():
                if self._accepted:
                    self._database.run_many(table.INSERT, [put.values for put in self._accepted])
                if self._sent:
                    self._database.run_many(table.DELETE, [{"id": number} for number in self._sent])
            if self._accepted:
                # The file may have been deleted meanwhile; callers that get the error can react to it.
                self._database.check()
        except Exception as error:  # the caller gets it, even a fault in this library; the thread must go on
            self._usage_read = 0.0
            self._accepted.clear()
            for put in puts:
                if not put.future.done():
                    put.future.set_exception(self._explain(error))
            return
        self._sent.clear()
        self._database.shrink()
        accepted, self._accepted = self._accepted, []
        for put in accepted:
            put.future.set_result(None)
        if accepted:
            self._on_put()

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, DatabaseError):
            return OutboxError(f"the outbox {self.name} cannot be used: {error}")
        return error

    def _accept_or_refuse(self, put: _Put, begun: float) -> None:
        # If it seems full, look once more in each commit: another process may have sent messages meanwhile.
        why = self._why_full(put, _USAGE_AGE) and self._why_full(put, time.monotonic() - begun)
        if why is None:
            self._accepted.append(put)
            self._usage = _with(self._usage, put)
            return
        put.future.set_exception(
            OutboxFull(
                f"the outbox {self.name} is full: {why}; nothing more is taken until the broker has taken "
                "some of it (see `fedora-messaging outbox status`)"
            )
        )

    def _why_full(self, put: _Put, usage_age: float) -> str | None:
        usage, options = self._read_usage(usage_age), self._options
        if usage.messages >= options.max_messages:
            return f"it holds {usage.messages} messages (max_messages)"
        if usage.bytes + put.values["size"] > options.max_bytes:
            return f"it holds {usage.bytes} bytes of at most {options.max_bytes} (max_bytes)"
        if options.max_age is not None and usage.oldest is not None:
            age = time.time() - usage.oldest
            if age > options.max_age:
                return f"its oldest message has waited for {age:.0f} s (max_age)"
        return None

    def _read_usage(self, age: float) -> Usage:
        now = time.monotonic()
        if not self._usage_read or now - self._usage_read >= age:
            ((messages, size, oldest),) = self._query(table.USAGE, {})
            on_disk = Usage(messages, int(size), oldest)
            self._usage, self._usage_read = reduce(_with, self._accepted, on_disk), now
        return self._usage

    def _query(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        self._prepare()
        return self._database.run(statement, values)

    def _prepare(self) -> None:
        if self._created:
            return
        try:
            # A user without the right to create tables may use an existing one.
            self._database.run(table.PROBE)
        except DatabaseError:
            with self._database.transaction():
                for statement in table.CREATE[self._database.dialect]:
                    self._database.run(statement)
        self._created = True


def _with(usage: Usage, put: _Put) -> Usage:
    """Return the fill level with one message more."""
    oldest = put.values["created"] if usage.oldest is None else usage.oldest
    return Usage(usage.messages + 1, usage.bytes + put.values["size"], oldest)


def _open(options: OutboxOptions) -> Database:
    where = f'"path" in [outbox] is {options.path}' if options.path is not None else '"url" in [outbox]'
    try:
        if options.path is not None:
            return SqliteDatabase(options.path)
        try:
            from .sql import SqlDatabase
        except ImportError as error:
            raise ConfigurationException(
                '"url" in [outbox] needs SQLAlchemy: pip install "fedora-messaging[sql]"'
            ) from error
        return SqlDatabase(options.url or "")
    except DatabaseError as error:
        raise ConfigurationException(f"{where}, which cannot be used: {error}") from None
