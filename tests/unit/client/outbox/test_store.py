"""The store of an outbox, on SQLite: limits, order, what was sent, and a database in trouble."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import WAIT, eventually

from fedora_messaging.client.outbox import table
from fedora_messaging.client.outbox.store import OutboxStore
from fedora_messaging.client.outbox.table import Failure, Row, Topic, Usage
from fedora_messaging.client.publishing.outgoing import Encoded
from fedora_messaging.exceptions import ConfigurationException, OutboxError, OutboxFull
from fedora_messaging.options import OutboxOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

TOPIC = Topic("amq.topic", "a.b")
OTHER = Topic("", "queue")
#: Bytes of a message on TOPIC beside its body.
OVERHEAD = len("amq.topic" + "a.b" + "properties")


def values(body: bytes = b"body", topic: Topic = TOPIC, age: float = 0.0) -> dict[str, Any]:
    made = table.values_of(Encoded(*topic, b"method", b"properties", body, True))
    return {**made, "created": time.time() - age}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the outbox is."""
    return str(tmp_path / "outbox.db")


@pytest.fixture
def news() -> list[str]:
    """Names of the threads that told of messages."""
    return []


@pytest.fixture
def opened(path: str, news: list[str]) -> Iterator[Callable[..., OutboxStore]]:
    """Opens stores on the same file, with the limits that it is given."""
    stores: list[OutboxStore] = []

    def on_put() -> None:
        news.append(threading.current_thread().name)

    def open_one(**limits: Any) -> OutboxStore:
        stores.append(OutboxStore(OutboxOptions(path=path, **limits), on_put))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close().result(WAIT)


@pytest.fixture
def store(opened: Callable[..., OutboxStore]) -> OutboxStore:
    """A store with the limits of the defaults."""
    return opened()


def rows(store: OutboxStore, topic: Topic = TOPIC, most: int = 9) -> list[tuple[int, bytes]]:
    return [(row.id, row.body) for row in store.rows(topic, most).result(WAIT)]


def error_of(future: Future[Any]) -> str:
    error = future.exception(WAIT)
    assert isinstance(error, OutboxError), error
    return f"{type(error).__name__}: {error}"


def test_what_was_put_is_on_disk(store: OutboxStore, path: str, news: list[str]) -> None:
    assert store.name == path
    assert store.usage().result(WAIT) == Usage(0, 0, None)
    assert (store.topics().result(WAIT), rows(store), news) == ([], [], [])
    put = values()
    store.put(put).result(WAIT)
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute(table.ROWS, {**TOPIC._asdict(), "most": 9}).fetchall() == [
            (1, 1, b"properties", b"body")
        ]
    assert store.rows(TOPIC, 9).result(WAIT) == [Row(1, True, b"properties", b"body")]
    assert store.usage().result(WAIT) == Usage(1, OVERHEAD + 4, put["created"])
    # The store's thread tells, after the future of the message.
    assert news == ["outbox"]


def test_messages_of_a_topic_come_in_order(store: OutboxStore) -> None:
    bodies = [str(number).encode() for number in range(5)]
    for body in bodies:
        store.put(values(body))
        store.put(values(body, OTHER))
    assert sorted(store.topics().result(WAIT)) == [OTHER, TOPIC]
    assert rows(store) == [(2 * number + 1, body) for number, body in enumerate(bodies)]
    assert rows(store, OTHER, 2) == [(2, b"0"), (4, b"1")]


def test_sent_messages_are_deleted(store: OutboxStore, path: str) -> None:
    for body in (b"1", b"2", b"3"):
        store.put(values(body))
    assert store.flushed().result(WAIT) is None
    store.delete(2)
    store.delete(1)
    store.flushed().result(WAIT)
    assert rows(store) == [(3, b"3")]
    assert store.usage().result(WAIT)[:2] == (1, OVERHEAD + 1)
    store.delete(3)
    assert store.topics().result(WAIT) == []


def test_closing_handles_all_requests_before(opened: Callable[..., OutboxStore]) -> None:
    first = opened()
    futures = [first.put(values()) for _ in range(2000)]
    first.delete(1)
    first.close().result(WAIT)
    assert all(future.done() and future.exception() is None for future in futures)
    assert opened().usage().result(WAIT).messages == 1999


def test_message_that_was_given_up_is_not_stored(store: OutboxStore, path: str) -> None:
    store.put(values(b"1")).result(WAIT)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        waiting = store.put(values(b"2"))
        eventually(waiting.running)
        given_up, other = store.put(values(b"3")), store.put(values(b"4"))
        assert given_up.cancel()
        # It is too late for a message that the thread is storing.
        assert not waiting.cancel()
        database.execute("ROLLBACK")
    other.result(WAIT)
    assert rows(store) == [(1, b"1"), (2, b"2"), (3, b"4")]


# Limits


def test_at_most_so_many_messages(opened: Callable[..., OutboxStore], path: str, news: list[str]) -> None:
    store = opened(max_messages=2)
    store.put(values()).result(WAIT)
    store.put(values()).result(WAIT)
    assert error_of(store.put(values())) == (
        f"OutboxFull: the outbox {path} is full: it holds 2 messages (max_messages); nothing more is taken "
        "until the broker has taken some of it (see `fedora-messaging outbox status`)"
    )
    assert news == ["outbox", "outbox"]
    store.delete(1)
    store.flushed().result(WAIT)
    store.put(values(b"next")).result(WAIT)
    assert [body for _number, body in rows(store)] == [b"body", b"next"]


def test_at_most_so_many_bytes(opened: Callable[..., OutboxStore]) -> None:
    size = OVERHEAD + 10
    store = opened(max_bytes=2 * size)
    store.put(values(b"x" * 10)).result(WAIT)
    assert f"it holds {size} bytes of at most {2 * size} (max_bytes)" in error_of(
        store.put(values(b"x" * 11))
    )
    # A message that just fits is taken.
    store.put(values(b"x" * 10)).result(WAIT)
    assert f"it holds {2 * size} bytes" in error_of(store.put(values(b"")))


def test_outbox_whose_messages_are_too_old(opened: Callable[..., OutboxStore]) -> None:
    store = opened(max_age=3600)
    store.put(values(age=4000)).result(WAIT)
    assert "its oldest message has waited for 4000 s (max_age)" in error_of(store.put(values()))
    store.delete(1)
    store.flushed().result(WAIT)
    store.put(values(age=3500)).result(WAIT)
    store.put(values()).result(WAIT)
    # Without the limit, messages may be of any age.
    opened().put(values(age=1e9)).result(WAIT)


def test_full_outbox_looks_again_before_it_refuses(opened: Callable[..., OutboxStore]) -> None:
    """Another process may have sent messages since this one last looked."""
    store, sender = opened(max_messages=1), opened()
    store.put(values()).result(WAIT)
    sender.delete(1)
    sender.flushed().result(WAIT)
    store.put(values(b"next")).result(WAIT)
    assert rows(store) == [(2, b"next")]


# Failures


def test_failures_are_noted(store: OutboxStore) -> None:
    for topic in (TOPIC, OTHER, TOPIC):
        store.put(values(topic=topic))
    assert store.failures(9).result(WAIT) == []
    for number, error in ((3, "first"), (3, "second\x1b[2J"), (2, "third")):
        store.failed(number, error).result(WAIT)
    failures = store.failures(9).result(WAIT)
    assert failures == [Failure(OTHER, 1, "third"), Failure(TOPIC, 2, "second\\x1b[2J")]
    assert store.failures(1).result(WAIT) == failures[:1]
    # They are still to be sent.
    assert [number for number, _body in rows(store)] == [1, 3]


def test_messages_that_were_set_aside_are_skipped(
    store: OutboxStore, opened: Callable[..., OutboxStore]
) -> None:
    for body in (b"1", b"2", b"3"):
        store.put(values(body))
    store.set_aside(TOPIC, 1).result(WAIT)
    assert rows(store) == [(2, b"2"), (3, b"3")]
    assert rows(store, most=1) == [(2, b"2")]
    assert store.topics().result(WAIT) == [TOPIC]
    store.delete(2)
    store.delete(3)
    assert store.topics().result(WAIT) == []
    # It stays in the outbox, and another process begins anew.
    assert store.usage().result(WAIT).messages == 1
    assert rows(opened()) == [(1, b"1")]
    # A message that comes later is not skipped.
    store.put(values(b"4"))
    assert store.topics().result(WAIT) == [TOPIC]
    assert rows(store) == [(4, b"4")]


def test_one_store_has_the_lock(store: OutboxStore, opened: Callable[..., OutboxStore]) -> None:
    other = opened()
    assert store.lock().result(WAIT)
    assert not other.lock().result(WAIT)
    store.unlock().result(WAIT)
    assert other.lock().result(WAIT)
    other.close().result(WAIT)
    assert store.lock().result(WAIT)


# Trouble with the database


def test_messages_that_cannot_be_deleted_are_not_read_again(store: OutboxStore, path: str) -> None:
    for body in (b"1", b"2"):
        store.put(values(body)).result(WAIT)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            f"CREATE TRIGGER canary BEFORE DELETE ON {table.NAME} BEGIN SELECT RAISE(ABORT, 'canary'); END"
        )
        store.delete(1)
        assert error_of(store.flushed()) == ("OutboxError: messages that were sent cannot be removed from it")
        assert rows(store, most=1) == [(2, b"2")]
        # Nothing is stored in the same commit; its caller learns why.
        assert error_of(store.put(values(b"3"))) == (f"OutboxError: the outbox {path} cannot be used: canary")
        database.execute("DROP TRIGGER canary")
    assert store.flushed().result(WAIT) is None
    store.put(values(b"4")).result(WAIT)
    assert [body for _number, body in rows(store)] == [b"2", b"4"]


def test_table_that_others_have_changed(store: OutboxStore, path: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE {table.NAME} (id)")
    assert error_of(store.usage()) == "OutboxError: no such column: size"
    assert error_of(store.put(values())) == (
        f"OutboxError: the outbox {path} cannot be used: no such column: size"
    )
    # The thread goes on.
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"DROP TABLE {table.NAME}")
    assert error_of(store.usage()) == f"OutboxError: no such table: {table.NAME}"


def test_file_that_was_deleted_takes_nothing(store: OutboxStore, tmp_path: Path, path: str) -> None:
    store.put(values(b"1")).result(WAIT)
    (tmp_path / "outbox.db").unlink()
    began = f"OutboxError: the outbox {path} cannot be used: {path} was deleted, renamed or replaced"
    assert error_of(store.put(values(b"2"))).startswith(began)
    assert error_of(store.check()).startswith(f"OutboxError: {path} was deleted, renamed or replaced")
    # This process can still send what it holds.
    assert rows(store) == [(1, b"1")]


def test_fault_in_a_request_does_not_end_the_thread(store: OutboxStore) -> None:
    assert error_of(store.put({"size": 1, "created": 1.0})).startswith(
        f"OutboxError: the outbox {store.name} cannot be used: "
    )
    with pytest.raises(KeyError):
        store.put({}).result(WAIT)
    store.put(values()).result(WAIT)
    assert rows(store) == [(1, b"body")]


@pytest.mark.parametrize("kind", ["folder", "below a file", "no database"])
def test_path_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "text"
    file.write_text("This is no database. " * 1000)
    wrong = {"folder": tmp_path, "below a file": file / "outbox.db", "no database": file}[kind]
    with pytest.raises(ConfigurationException) as caught:
        OutboxStore(OutboxOptions(path=str(wrong)), lambda: None)
    expected = f'Configuration error: "path" in [outbox] is {wrong}, which cannot be used: '
    reason = {"folder": "unable to open database file", "no database": "file is not a database"}
    assert str(caught.value).startswith(expected + reason.get(kind, ""))


def test_url_that_cannot_be_used() -> None:
    with pytest.raises(ConfigurationException) as caught:
        OutboxStore(OutboxOptions(url="sqlite:///canary-file.db"), lambda: None)
    assert str(caught.value) == (
        'Configuration error: "url" in [outbox], which cannot be used: '
        "sqlite is not supported; give an SQLite file as path"
    )


def test_limit_within_a_group(opened: Callable[..., OutboxStore]) -> None:
    """Messages that share a commit are counted one by one."""
    store = opened(max_messages=3)
    futures = [store.put(values(str(number).encode())) for number in range(50)]
    outcomes = [future.exception(WAIT) for future in futures]
    assert [outcome is None for outcome in outcomes] == [True] * 3 + [False] * 47
    assert all(isinstance(outcome, OutboxFull) for outcome in outcomes[3:])
    assert [body for _number, body in rows(store)] == [b"0", b"1", b"2"]


def test_size_limit_within_a_group(opened: Callable[..., OutboxStore]) -> None:
    size = values(b"0")["size"]
    store = opened(max_bytes=3 * size)
    outcomes = [future.exception(WAIT) for future in [store.put(values(b"0")) for _ in range(50)]]
    assert [outcome is None for outcome in outcomes] == [True] * 3 + [False] * 47
