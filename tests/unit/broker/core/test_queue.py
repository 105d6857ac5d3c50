"""A queue: what becomes of messages that were out, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare, message, new_vhost
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.message import BrokerMessage
from fedora_messaging.broker.core.profile import RABBITMQ_3, RABBITMQ_4, Profile
from fedora_messaging.wire.frames import room_for_properties
from fedora_messaging.wire.properties import decode_properties

if TYPE_CHECKING:
    from fedora_messaging.broker.core.message import Entry
    from fedora_messaging.broker.core.queue import Queue
    from fedora_messaging.broker.core.vhost import VirtualHost


def test_message_refused_after_its_queue_is_gone_is_forgotten(vhost: VirtualHost) -> None:
    queue = declare(vhost, "q")
    queue.enqueue(message())
    entry = queue.get(no_ack=False)
    assert entry is not None
    vhost.remove_queue(queue)
    queue.refuse(entry, None)
    assert queue.unacked == 0


def test_p01_quorum_queue_returns_a_message_whose_headers_do_not_decode(vhost: VirtualHost) -> None:
    declaration = QueueDeclaration("q", durable=True, arguments={"x-queue-type": "quorum"})
    queue = vhost.declare_queue(declaration, owner=None)
    broken = BrokerMessage("", "q", b"\x20\x00" + sized(b"\x01aZ"), b"x")
    queue.enqueue(broken)
    entry = queue.get(no_ack=False)
    assert entry is not None
    queue.requeue(entry, None)
    assert queue.get(no_ack=True) is entry
    assert queue.properties(entry, room_for_properties(131072)) == broken.properties


ROOM = room_for_properties(131072)


def quorum(profile: Profile, limit: int = 1) -> Queue:
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": limit,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    vhost = new_vhost(profile)
    declare(vhost, "dead")
    return vhost.declare_queue(QueueDeclaration("q", durable=True, arguments=arguments), owner=None)


def take(queue: Queue) -> Entry:
    entry = queue.get(no_ack=False)
    assert entry is not None
    return entry


def counts(queue: Queue, entry: Entry) -> dict[str, int]:
    return decode_properties(queue.properties(entry, ROOM)).headers or {}


def test_failed_deliveries_are_counted() -> None:
    """RabbitMQ 4 also tells how often a message was delivered."""
    found = []
    for profile in (RABBITMQ_3, RABBITMQ_4):
        queue = quorum(profile, limit=5)
        queue.enqueue(message())
        assert counts(queue, take(queue)) == {}
        queue = quorum(profile, limit=5)
        queue.enqueue(message())
        for _ in range(2):
            queue.requeue(take(queue), None)
        found.append(counts(queue, take(queue)))
    assert found == [{"x-delivery-count": 2}, {"x-acquired-count": 2, "x-delivery-count": 2}]


def test_deliveries_that_were_given_back_are_counted_apart() -> None:
    queue = quorum(RABBITMQ_4)
    queue.enqueue(message())
    for _ in range(3):
        queue.release(take(queue), None)
    entry = take(queue)
    assert entry.redelivered
    assert counts(queue, entry) == {"x-acquired-count": 3}
    queue.requeue(entry, None)
    assert counts(queue, take(queue)) == {"x-acquired-count": 4, "x-delivery-count": 1}


@pytest.mark.parametrize(("profile", "is_dead"), [(RABBITMQ_3, True), (RABBITMQ_4, False)])
def test_message_that_is_given_back_again_and_again(profile: Profile, is_dead: bool) -> None:
    """In RabbitMQ 3 that counts as a failure."""
    queue = quorum(profile)
    queue.enqueue(message())
    for _ in range(2):
        queue.release(take(queue), None)
    assert (queue.get(no_ack=True) is None) is is_dead


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_classic_queue_counts_nothing(profile: Profile) -> None:
    queue = declare(new_vhost(profile), "q")
    queue.enqueue(message())
    queue.requeue(take(queue), None)
    assert counts(queue, take(queue)) == {}


@pytest.mark.parametrize("profile", [RABBITMQ_3, RABBITMQ_4])
def test_count_without_room_is_left_out(profile: Profile) -> None:
    queue = quorum(profile)
    queue.enqueue(message())
    queue.requeue(take(queue), None)
    entry = take(queue)
    size = len(queue.properties(entry, ROOM))
    assert len(queue.properties(entry, size)) == size
    assert queue.properties(entry, size - 1) == entry.message.properties
