"""A queue: what becomes of messages that were out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.broker.core.support import declare, message
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.broker.core.message import BrokerMessage
from fedora_messaging.wire.frames import room_for_properties

if TYPE_CHECKING:
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
