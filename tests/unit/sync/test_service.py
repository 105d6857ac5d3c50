"""The client of blocking programs: publishing, what it tells of its state, and its end."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import WAIT, eventually

from fedora_messaging.client.backoff import Backoff
from fedora_messaging.client.consuming.hooks import Hooks
from fedora_messaging.client.publishing.outgoing import Encoded, encode
from fedora_messaging.exceptions import (
    ConfigurationException,
    ConnectionException,
    ExchangeNotFound,
    OutboxFull,
    PublishTimeout,
)
from fedora_messaging.message import Message
from fedora_messaging.options import (
    BackoffOptions,
    ConnectionOptions,
    ConsumerOptions,
    OutboxOptions,
    QosOptions,
    QueueOptions,
    TLSOptions,
)
from fedora_messaging.sync.pending import PendingPublish, PendingRecord
from fedora_messaging.sync.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    from fedora_messaging.client.supervisor import Supervisor

NOBODY = ConnectionOptions("127.0.0.1", 1)


def encoded(exchange: str = "amq.topic") -> Encoded:
    return encode(Message(topic="nobody.listens"), exchange, False)


def test_publishing(service: Service) -> None:
    pending = service.publish(encoded())
    assert isinstance(pending, PendingPublish)
    pending.wait(WAIT)
    with pytest.raises(ExchangeNotFound):
        service.publish(encoded("nowhere")).wait(WAIT)
    snapshot = service.snapshot()
    assert (snapshot.connected, snapshot.published, snapshot.reconnects) == (True, 1, 0)


def test_publish_that_takes_too_long(lonely: Service) -> None:
    pending = lonely.publish(encoded())
    assert isinstance(pending, PendingPublish)
    eventually(lambda: lonely._supervisor.trouble)
    with pytest.raises(PublishTimeout) as caught:
        pending.wait(0.01)
    assert str(caught.value).startswith("Publishing timed out after waiting 0.01 seconds.")
    assert not caught.value.sent
    assert any("Connection refused" in note for note in caught.value.__notes__)
    # The loop forgets the body.
    eventually(lambda: pending.outgoing.body == b"")
    assert pending.outgoing.abandoned


def test_connecting_before_there_is_work(service: Service) -> None:
    assert not service.snapshot().connected
    service.connect()
    eventually(lambda: service.snapshot().connected)


def test_work_in_the_loop(service: Service) -> None:
    async def work(supervisor: Supervisor) -> tuple[bool, bool]:
        await supervisor.connection()
        return supervisor.connected, service.in_own_thread

    assert service.call(work).result(WAIT) == (True, True)
    assert not service.in_own_thread


def test_closing(service: Service) -> None:
    async def work(_supervisor: Supervisor) -> None:
        """Nothing to do."""

    service.publish(encoded()).wait(WAIT)
    assert (service.closing, service.closed) == (False, False)
    service.close()
    service.close()
    assert (service.closing, service.closed) == (True, True)
    assert not service.snapshot().connected
    with pytest.raises(ConnectionException) as caught:
        service.call(work)
    assert caught.value.reason == "the service is closed"


def test_closing_fails_publishes_that_wait(lonely: Service) -> None:
    pending = lonely.publish(encoded())
    lonely.close()
    with pytest.raises(ConnectionException):
        pending.wait(WAIT)


def test_closing_gives_a_callback_up_that_does_not_end(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    begun, release = threading.Event(), threading.Event()

    def callback(_message: Message) -> None:
        begun.set()
        release.wait(WAIT)

    consumers = service.consumers(
        callback,
        [(QueueOptions("hanging", durable=True), ())],
        QosOptions(),
        ConsumerOptions(stop_timeout=None),
        Hooks(),
    )
    consumers.start()
    service.publish(encode(Message(topic="hanging"), "", True)).wait(WAIT)
    assert begun.wait(WAIT)
    service.close(0.01)
    assert service.closed
    release.set()
    consumers.close()
    assert (
        caplog.messages.count(
            "A callback did not end within 0.01 seconds; its message will be delivered again"
        )
        == 1
    )


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize("options", [ConsumerOptions(), ConsumerOptions(concurrency=2)])
def test_threads_of_callbacks(service: Service, options: ConsumerOptions, is_coroutine: bool) -> None:
    """Coroutines run in a loop of their own, with a policy and without."""
    found: list[tuple[bool, str]] = []

    def callback(_message: Message) -> None:
        found.append((service.in_own_thread, threading.current_thread().name))

    async def coroutine(message: Message) -> None:
        callback(message)

    queue = f"threads.{options.concurrency}.{is_coroutine}"
    consumers = service.consumers(
        coroutine if is_coroutine else callback,
        [(QueueOptions(queue, durable=True), ())],
        QosOptions(),
        options,
        Hooks(),
    )
    consumers.start()
    service.publish(encode(Message(topic=queue), "", True)).wait(WAIT)
    eventually(lambda: found)
    consumers.request_stop()
    assert consumers.wait() is None
    consumers.close()
    ((in_own_thread, name),) = found
    assert in_own_thread is is_coroutine
    assert (name == "fedora-messaging callbacks") is is_coroutine


# State


def test_reason_for_not_being_ready(service: Service) -> None:
    assert service.snapshot().reason == "not connected"
    service.connect()
    eventually(lambda: service.snapshot().reason is None)
    consumers = service.consumers(
        lambda _message: 1 / 0,
        [(QueueOptions("ready", durable=True), ())],
        QosOptions(),
        ConsumerOptions(),
        Hooks(),
    )
    consumers.start()
    snapshot = service.snapshot()
    assert (snapshot.consuming, snapshot.reason) == (True, None)
    assert [one.queue for one in snapshot.queues] == ["ready"]
    service.publish(encode(Message(topic="ready"), "", True)).wait(WAIT)
    assert isinstance(consumers.wait(), ZeroDivisionError)
    consumers.close()
    snapshot = service.snapshot()
    assert (snapshot.consuming, snapshot.reason, snapshot.queues) == (False, "not consuming", ())
    # The counters of what has ended stay.
    assert (snapshot.consumed.received, snapshot.consumed.failed) == (1, 1)


def test_answers_unless_a_loop_is_blocked(lonely: Service) -> None:
    assert lonely.answers()
    release = threading.Event()

    async def block(_supervisor: Supervisor) -> None:
        begun.set()
        release.wait(WAIT)

    begun = threading.Event()
    lonely.call(block)
    assert begun.wait(WAIT)
    assert not lonely._loop_thread.answers(0.01)
    release.set()
    assert lonely.answers()


def test_delays_between_attempts() -> None:
    backoff = Backoff(BackoffOptions(initial=5))
    service = Service(NOBODY, backoff=backoff)
    assert service.backoff is backoff
    service.close()


def test_monitoring() -> None:
    service = Service(NOBODY)
    assert not service.monitored
    service.start_monitoring("127.0.0.1", 0, always_ready=False, stuck_after=5.0)
    assert service.monitored
    service.close()


# The outbox


def test_outbox_takes_messages(tmp_path: Path) -> None:
    path = str(tmp_path / "outbox.db")
    service = Service(NOBODY, outbox=OutboxOptions(path=path, max_messages=1))
    assert service.outbox is not None
    pending = service.publish(encoded())
    assert isinstance(pending, PendingRecord)
    pending.wait(WAIT)
    with pytest.raises(OutboxFull):
        service.publish(encoded()).wait(WAIT)
    eventually(lambda: service.outbox is not None and service.outbox.sending)
    snapshot = service.snapshot().outbox
    assert snapshot is not None
    assert (snapshot.messages, snapshot.sending) == (1, True)
    assert snapshot.oldest is not None
    assert 0 <= snapshot.oldest < WAIT
    service.close()
    assert service.snapshot().outbox is None


def test_outbox_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE fedora_messaging_outbox (id)")
    service = Service(NOBODY, outbox=OutboxOptions(path=str(path)))
    assert service.snapshot().outbox is None
    assert "What is in the outbox cannot be told: no such column: size" in caplog.messages
    service.close()


# Mistakes


def test_mistakes_are_told_before_a_thread_starts(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationException, match=r'"path" in \[outbox\] is '):
        Service(NOBODY, outbox=OutboxOptions(path=str(tmp_path)))
    with pytest.raises(ConfigurationException):
        Service(ConnectionOptions("127.0.0.1", 1, tls=TLSOptions(ca_cert=str(tmp_path / "nothing.pem"))))
    assert threading.active_count() == before


# Attributes of the Twisted service of version 3.9


class Face:
    """What another module makes of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.factory = "the factory"


def test_attributes_of_a_twisted_service() -> None:
    made: list[Service] = []

    def make(service: Service) -> Face:
        made.append(service)
        return Face(service)

    service: Any = Service(NOBODY, make_twisted_facade=make)
    assert made == []
    assert service.factory == service.factory == "the factory"
    assert made == [service]
    # Of those that Twisted services have, this one lacks one; others are none of a service.
    assert not hasattr(service, "_parameters")
    with pytest.raises(AttributeError, match="^'Service' object has no attribute 'service'$"):
        service.service  # noqa: B018
    service.close()


def test_without_twisted() -> None:
    def missing(_service: Service) -> Face:
        raise ImportError("Twisted is not installed")

    service: Any = Service(NOBODY, make_twisted_facade=missing)
    with pytest.raises(AttributeError, match="^Twisted is not installed$"):
        service.factory  # noqa: B018
    assert getattr(service, "factory", None) is None
    service.close()
    plain: Any = Service(NOBODY)
    with pytest.raises(AttributeError, match="^'Service' object has no attribute 'factory'$"):
        plain.factory  # noqa: B018
    plain.close()


def test_another_process_does_not_close_it(service: Service) -> None:
    assert service.pid == os.getpid()
    service.publish(encoded()).wait(WAIT)
    service.pid = 1
    service.close()
    assert not service.closing
    service.pid = os.getpid()
    service.publish(encoded()).wait(WAIT)
