"""The journal in SQLite."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import ignore

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.broker.storage.sqlite import SqliteStore
from fedora_messaging.exceptions import EncodingError

if TYPE_CHECKING:
    from pathlib import Path


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
