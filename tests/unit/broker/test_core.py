"""Corners of the broker's core that no client can reach at will."""

from typing import Any

import pytest

from fedora_messaging.broker.core.exchanges import TopicExchange
from fedora_messaging.broker.core.journal import NoJournal
from fedora_messaging.broker.core.message import Message
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.core.ready import PriorityReadyList
from fedora_messaging.broker.core.vhost import VirtualHost
from fedora_messaging.wire.methods import QueueDeclare


def ignore(*_arguments: Any) -> None:
    """Stand for a scheduler that never calls."""


@pytest.fixture
def vhost() -> VirtualHost:
    return VirtualHost("/", lambda: 1000.0, NoJournal(), ignore)


def message(key: str = "k") -> Message:
    return Message("", key, b"\0\0", b"body")


def declare(vhost: VirtualHost, name: str) -> Queue:
    return vhost.declare_queue(QueueDeclare(name), owner=None)


def test_remembered_routes_are_bounded(vhost: VirtualHost) -> None:
    exchange = TopicExchange("t")
    queue = declare(vhost, "q")
    exchange.bind(queue, "#", {})
    for number in range(5000):
        assert list(exchange.destinations(f"key.{number}", message())) == [queue]
    assert len(exchange._cache) <= 4096


def test_empty_priority_list_has_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        PriorityReadyList(3).pop()


def test_queue_is_removed_once(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    vhost.remove_queue(queue)
    vhost.remove_queue(queue)
    assert vhost.queues == {}


def test_message_refused_after_its_queue_is_gone_is_forgotten(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    queue.publish(message())
    entry = queue.get(no_ack=False)
    assert entry is not None
    vhost.remove_queue(queue)
    queue.refuse(entry, None)
    assert queue.unacked == 0


def test_p01_message_whose_headers_do_not_decode_is_dead_lettered_as_it_is(vhost: VirtualHost) -> None:
    dead = declare(vhost, "dead")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    queue = vhost.declare_queue(QueueDeclare("q", arguments=arguments), owner=None)
    broken = b"\x20\x00\x00\x00\x00\x03\x01aZ"
    queue.publish(Message("", "q", broken, b"body"))
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.refuse(entry, None)
    refused = dead.get(no_ack=True)
    assert refused is not None
    assert (refused.message.properties, refused.message.body) == (broken, b"body")
