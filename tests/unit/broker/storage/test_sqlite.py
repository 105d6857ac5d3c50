"""The journal in SQLite."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import ignore

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.message import BrokerMessage, Past, new_entry, new_message
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.storage.sqlite import SqliteStore
from fedora_messaging.exceptions import EncodingError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fedora_messaging.broker.core.queue import Queue


class Untroubled:
    """Who would be told of trouble with the storage."""

    def storage_changed(self) -> None:
        raise AssertionError

    def storage_failed(self, why: str) -> None:
        raise AssertionError(why)


def test_queue_that_cannot_be_stored_takes_no_number(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    store = SqliteStore(tmp_path, loop, Untroubled())
    vhost = VirtualHost("/", lambda: 1000.0, store.journal_of("/"), ignore)
    with pytest.raises(EncodingError):
        vhost.declare_queue(QueueDeclaration("q", durable=True, arguments={"a": object()}), owner=None)
    with pytest.raises(EncodingError):
        vhost.declare_exchange(ExchangeDeclaration("e", "fanout", durable=True, arguments={"a": object()}))
    with pytest.raises(EncodingError):
        vhost.bind("amq.fanout", vhost.exchange("amq.topic"), "", {"a": object()})
    assert not store.backlog
    assert vhost.queues == {}
    assert vhost.declare_queue(QueueDeclaration("other", durable=True), owner=None).stored_id == 1
    store.close()
    loop.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that does not run."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


def persistent() -> BrokerMessage:
    return new_message("", "k", encode_properties(BasicProperties(delivery_mode=2)), b"body")


def new_vhost(store: SqliteStore) -> VirtualHost:
    return VirtualHost("/", lambda: 1000.0, store.journal_of("/"), ignore)


def declare(vhost: VirtualHost, name: str, **arguments: Any) -> Queue:
    return vhost.declare_queue(QueueDeclaration(name, durable=True, arguments=arguments), owner=None)


def restored(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> VirtualHost:
    """Return the virtual host as another start finds it."""
    store = SqliteStore(tmp_path, loop, Untroubled())
    vhost = new_vhost(store)
    store.load([vhost])
    store.close()
    return vhost


def test_message_that_leaves_one_queue_before_the_next_gets_it(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    """A consumer of the first queue may settle it at once, while the writer takes the changes so far."""
    store = SqliteStore(tmp_path, loop, Untroubled())
    vhost = new_vhost(store)
    first, second = declare(vhost, "first"), declare(vhost, "second")
    message = persistent()
    entry = new_entry(message, 1)
    vhost.journal.message_added(first, entry)
    store._write_once()
    vhost.journal.message_removed(first, entry)
    second.enqueue(message)
    store._write_once()
    store.close()
    after = restored(tmp_path, loop)
    assert [len(after.queues[name]) for name in ("first", "second")] == [0, 1]


def test_failures_of_a_dead_letter_are_stored(tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
    """A quorum queue goes on counting where the queue before it has stopped."""
    store = SqliteStore(tmp_path, loop, Untroubled())
    vhost = new_vhost(store)
    message = persistent()
    message.past = Past(failures=2)
    declare(vhost, "q", **{"x-queue-type": "quorum"}).enqueue(message)
    store._write_once()
    store.close()
    head = restored(tmp_path, loop).queues["q"].peek()
    assert head is not None
    assert head.returns == 2


def test_delivery_that_did_not_fail_does_not_count_after_a_restart(
    tmp_path: Path, loop: asyncio.AbstractEventLoop
) -> None:
    """It counts while it is out, because the broker may be killed; handed back, it has not failed."""
    store = SqliteStore(tmp_path, loop, Untroubled())
    vhost = new_vhost(store)
    queue = declare(vhost, "q", **{"x-queue-type": "quorum"})
    store.start()
    queue.enqueue(persistent())
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.release(entry, None)
    assert entry.returns == 0
    store.close()
    head = restored(tmp_path, loop).queues["q"].peek()
    assert head is not None
    assert head.returns == 0
