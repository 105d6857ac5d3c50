"""The recorder acknowledges what is on disk, whatever happens to the archive or the connection meanwhile."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.client.support import message, run
from tests.support.postgresql import PostgresServer, find_postgresql
from tests.support.servers import require
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging.archive.archive import Archive
from fedora_messaging.archive.database import ArchiveError
from fedora_messaging.archive.location import open_archive
from fedora_messaging.archive.query import Query
from fedora_messaging.archive.recorder import Recorder
from fedora_messaging.archive.sqlite import SqliteDatabase
from fedora_messaging.client.backoff import Backoff
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.config import DEFAULTS
from fedora_messaging.exceptions import BadDeclaration
from fedora_messaging.message import Message, loads, register
from fedora_messaging.options import BackoffOptions, BindingOptions, QueueOptions
from fedora_messaging.settings.to_options import connection_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.proxy import Proxy

    from fedora_messaging.archive.database import Writer

ALL = Query(limit=10_000, newest_first=False)


class Unsteady(SqliteDatabase):
    """A database that fails when it is told to, before or after it has written.

    Attributes:
        failures: How many transactions fail from now on.
        failed: How many have failed.
        may_commit: Transactions wait for this before they end.
        begun: Set when one has begun.
    """

    def __init__(self, path: str) -> None:
        self.failures = 0
        self.failed = 0
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.begun = threading.Event()
        super().__init__(path)

    @contextmanager
    def writing(self) -> Iterator[Writer]:  # type: ignore[override]
        with super().writing() as writer:
            self.begun.set()
            yield writer
            assert self.may_commit.wait(WAIT)
            if self.failures > 0:
                self.failures -= 1
                self.failed += 1
                raise ArchiveError("The archive is on holiday")


@pytest.fixture
def database(tmp_path: Path) -> Unsteady:
    return Unsteady(str(tmp_path / "archive.db"))


@pytest.fixture
def archive(database: Unsteady) -> Iterator[Archive]:
    with closing(Archive(database)) as made:
        yield made


def quick() -> Backoff:
    """Delays that a test can wait for."""
    return Backoff(BackoffOptions(initial=0.01, maximum=0.05))


@asynccontextmanager
async def recording(
    url: str, archive: Archive, queue: str, *topics: str, **attributes: Any
) -> AsyncIterator[Recorder]:
    """A recorder that records meanwhile, and is cancelled at the end unless it has ended."""
    supervisor = Supervisor(connection_options(DEFAULTS, url))
    bindings = [BindingOptions("amq.topic", topic) for topic in topics]
    made = Recorder(
        supervisor, archive, QueueOptions(name=queue, durable=True), bindings, backoff=quick(), **attributes
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
        if task.done():
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await supervisor.close()


def publish(admin: Admin, queue: str, *numbers: int) -> list[str]:
    """Publish messages with ids; return these."""
    for number in numbers:
        one = message(queue, number)
        properties = pika.BasicProperties(
            message_id=f"id-{number}", headers=one._headers, content_encoding="utf-8", delivery_mode=2
        )
        admin.channel.basic_publish("amq.topic", one.topic, one._encoded_body, properties)
    return [f"id-{number}" for number in numbers]


def stored(archive: Archive) -> list[str]:
    return [one.id for one in archive.stored_after(0, most=10_000)]


def test_stored_and_then_acknowledged(broker: Broker, admin: Admin, archive: Archive, name: str) -> None:
    """The recorder declares and binds its queue, and tells how many it has stored."""
    told: list[int] = []

    async def main() -> None:
        async with recording(broker.url, archive, name, f"{name}.#", told=told.append) as made:
            await soon(lambda: is_bound(admin, name))
            expected = publish(admin, name, *range(1200))
            await soon(lambda: len(stored(archive)) == 1200)
            assert stored(archive) == expected
            await made.stop()
        assert (sum(told), max(told) <= 500) == (1200, True)

    run(main())
    eventually(lambda: admin.consumers(name) == 0)
    assert admin.ready(name) == 0
    found = archive.get("id-7")
    assert found is not None
    (again,) = loads(found.record)
    assert (again.topic, again.body, again.queue) == (f"{name}.test", {"number": 7}, name)


def is_bound(admin: Admin, queue: str) -> bool:
    with suppress(pika.exceptions.AMQPChannelError):
        return admin.consumers(queue) == 1
    return False


def test_nothing_is_acknowledged_before_it_is_on_disk(
    broker: Broker, admin: Admin, archive: Archive, database: Unsteady, queue: str
) -> None:
    """The transaction is at its end but not committed when the recorder is cancelled: all goes back."""
    database.may_commit.clear()
    expected = publish(admin, queue, *range(5))

    async def main() -> None:
        async with recording(broker.url, archive, queue):
            await soon(database.begun.is_set)
            await soon(lambda: admin.ready(queue) == 0)
            database.failures = 1
        # The loop waits for its threads at the end.
        database.may_commit.set()

    try:
        run(main())
    finally:
        database.may_commit.set()
    eventually(lambda: admin.ready(queue) == 5)
    assert stored(archive) == []
    record_all(broker, admin, archive, queue, 5)
    assert stored(archive) == expected


def test_what_is_being_stored_when_it_stops_is_acknowledged(
    broker: Broker, admin: Admin, archive: Archive, database: Unsteady, queue: str
) -> None:
    database.may_commit.clear()
    database.begun.clear()
    expected = publish(admin, queue, *range(5))

    async def main() -> None:
        async with recording(broker.url, archive, queue) as made:
            await soon(database.begun.is_set)
            stopping = asyncio.create_task(made.stop())
            await asyncio.sleep(0)
            assert not stopping.done()
            database.may_commit.set()
            await stopping

    try:
        run(main())
    finally:
        database.may_commit.set()
    eventually(lambda: admin.consumers(queue) == 0)
    got = stored(archive)
    assert got == expected[: len(got)] != []
    assert admin.ready(queue) == len(expected) - len(got)


def record_all(broker: Broker, admin: Admin, archive: Archive, queue: str, count: int) -> None:
    """Record until so many are stored; nothing is left in the queue."""

    async def main() -> None:
        async with recording(broker.url, archive, queue) as made:
            await soon(lambda: len(stored(archive)) == count)
            await made.stop()

    run(main())
    eventually(lambda: admin.consumers(queue) == 0)
    assert admin.ready(queue) == 0


def test_an_archive_that_fails_for_a_while(
    broker: Broker,
    admin: Admin,
    archive: Archive,
    database: Unsteady,
    queue: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Messages wait, in the order in which they came; nobody sees them twice."""
    database.failures = 5
    expected = publish(admin, queue, *range(700))
    record_all(broker, admin, archive, queue, 700)
    assert database.failed == 5
    assert stored(archive) == expected
    assert "The archive is on holiday" in caplog.text


def test_it_ends_although_the_archive_cannot_be_used(
    broker: Broker, admin: Admin, archive: Archive, database: Unsteady, queue: str
) -> None:
    """Otherwise a signal would not end the command while the disk is full. The messages stay in the queue."""
    database.failures = 1_000_000
    expected = publish(admin, queue, *range(3))

    async def main() -> None:
        supervisor = Supervisor(connection_options(DEFAULTS, broker.url))
        made = Recorder(supervisor, archive, QueueOptions(name=queue, durable=True), [], backoff=quick())
        task = asyncio.create_task(made.run())
        await soon(lambda: database.failed > 2)
        await made.stop()
        async with asyncio.timeout(WAIT):
            await task
        await supervisor.close()

    run(main())
    assert stored(archive) == []
    database.failures = 0
    record_all(broker, admin, archive, queue, 3)
    assert sorted(stored(archive)) == sorted(expected)


def test_connection_lost_while_storing(
    broker: Broker, admin: Admin, archive: Archive, database: Unsteady, queue: str, proxy: Proxy
) -> None:
    """What was stored but not acknowledged comes again, and is known."""
    database.may_commit.clear()
    expected = publish(admin, queue, *range(30))

    async def main() -> None:
        async with recording(proxy.url(), archive, queue) as made:
            await soon(database.begun.is_set)
            await asyncio.to_thread(proxy.cut)
            database.may_commit.set()
            expected.extend(publish(admin, queue, *range(30, 40)))
            await soon(lambda: len(stored(archive)) == 40)
            await soon(lambda: admin.ready(queue) == 0 and admin.consumers(queue) == 1)
            await made.stop()

    try:
        run(main())
    finally:
        database.may_commit.set()
    eventually(lambda: admin.consumers(queue) == 0)
    assert admin.ready(queue) == 0
    assert stored(archive) == expected


#: Bodies and properties that are no message, and what the archive says of them.
UNREADABLE: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no JSON": (b"\x00\xff", {}, "decode"),
    "not JSON": (b"hello", {}, "Expecting value"),
    "an array": (b"[1]", {}, "no JSON object"),
    "empty": (b"", {}, "Expecting value"),
    "unknown encoding": (b"{}", {"content_encoding": "klingon"}, "klingon"),
    "deep": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", {}, "nested deeper"),
}


def test_what_is_no_message_is_kept_too(broker: Broker, admin: Admin, archive: Archive, queue: str) -> None:
    for name, (body, properties, _) in UNREADABLE.items():
        admin.publish(queue, body, pika.BasicProperties(message_id=name, **properties))
    good = publish(admin, queue, 1)
    record_all(broker, admin, archive, queue, len(UNREADABLE) + 1)
    assert stored(archive) == [*UNREADABLE, *good]
    for name, (_, _, why) in UNREADABLE.items():
        found = archive.get(name)
        assert found is not None
        assert why in found.summary
        assert not found.is_message


def test_odd_messages_do_not_stop_it(broker: Broker, admin: Admin, archive: Archive, queue: str) -> None:
    """They are messages all the same, though a publisher of this library would not have sent them."""
    headers: list[dict[str, Any]] = [
        {"fedora_messaging_severity": 2**40},
        {"fedora_messaging_severity": True},
        {"fedora_messaging_severity": "high"},
        {"fedora_messaging_schema": "archive.raises"},
        {"fedora_messaging_schema": "not.installed"},
        {"fedora_messaging_schema": 5},
        {"sent-at": "9999-12-31T23:59:59-23:59"},
        {"sent-at": 5},
        {},
    ]
    for number, each in enumerate(headers):
        properties = pika.BasicProperties(message_id=str(number), headers=each)
        admin.publish(queue, b'{"text": "kernel"}', properties)
    record_all(broker, admin, archive, queue, len(headers))
    assert archive.count(Query(text="kernel")) == len(headers)
    assert all(one.is_message for one in archive.find(ALL))


@register("archive.raises")
class Raises(Message):
    """Its code is wrong."""

    @property
    def summary(self) -> str:
        raise LookupError("a summary")

    @property
    def usernames(self) -> list[str]:
        raise LookupError("users")


def test_a_queue_that_cannot_be_declared(broker: Broker, admin: Admin, archive: Archive, name: str) -> None:
    admin.channel.queue_declare(name, durable=True, arguments={"x-max-length": 5})

    async def main() -> None:
        supervisor = Supervisor(connection_options(DEFAULTS, broker.url))
        made = Recorder(supervisor, archive, QueueOptions(name=name, durable=True), [])
        try:
            await made.run()
        finally:
            await supervisor.close()

    with pytest.raises(BadDeclaration):
        run(main())


def test_postgresql_that_is_down_for_a_while(broker: Broker, admin: Admin, queue: str) -> None:
    """It is stopped and started again while messages come."""
    require(find_postgresql() is not None, "PostgreSQL", "install the package postgresql (it need not run)")
    with PostgresServer() as server, closing(open_archive(server.url)) as archive:
        expected = publish(admin, queue, *range(50))

        async def main() -> None:
            async with recording(broker.url, archive, queue) as made:
                await soon(lambda: len(stored(archive)) == 50)
                await asyncio.to_thread(server.kill)
                expected.extend(publish(admin, queue, *range(50, 100)))
                await soon(lambda: admin.ready(queue) == 0)
                await asyncio.to_thread(server.start)
                await soon(lambda: len(stored(archive)) == 100)
                await made.stop()

        run(main())
        assert stored(archive) == expected
    eventually(lambda: admin.consumers(queue) == 0)
    assert admin.ready(queue) == 0
