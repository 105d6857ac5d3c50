"""A virtual host: what fails changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.core.support import declare, message

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.exceptions import EncodingError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue


def test_queue_is_removed_once(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    vhost.remove_queue(queue)
    vhost.remove_queue(queue)
    assert vhost.queues == {}


class RefusingJournal(NoJournal):
    """A journal that cannot keep anything."""

    def queue_added(self, queue: Queue) -> None:
        raise EncodingError("no")

    def exchange_added(self, exchange: Any) -> None:
        raise EncodingError("no")


def test_declaration_that_cannot_be_stored_leaves_nothing_behind() -> None:
    scheduled: list[Any] = []
    vhost = VirtualHost("/", lambda: 1000.0, RefusingJournal(), lambda *call: scheduled.append(call))
    exchanges = dict(vhost.exchanges)
    with pytest.raises(EncodingError):
        vhost.declare_queue(QueueDeclaration("q", durable=True, arguments={"x-expires": 1}), owner=None)
    with pytest.raises(EncodingError):
        vhost.declare_exchange(ExchangeDeclaration("e", "fanout", durable=True))
    assert (vhost.queues, vhost.exchanges, scheduled) == ({}, exchanges, [])
    assert vhost.enqueue(vhost.exchanges[""], message("q")) == (False, False, False)
    # A queue of this name, declared later, has nothing to do with the first.
    queue = declare(vhost, "q")
    assert vhost.enqueue(vhost.exchanges[""], message("q")) == (True, False, False)
    assert len(queue) == 1
