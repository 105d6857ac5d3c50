"""Memory is counted while a queue holds a message, once for all queues."""

from __future__ import annotations

from fedora_messaging.broker.core.memory import OVERHEAD, MemoryUse
from fedora_messaging.broker.core.message import BrokerMessage


def test_message_counts_once_while_any_queue_holds_it() -> None:
    memory = MemoryUse()
    message = BrokerMessage("", "k", b"\x08\x00\x00", b"x" * 100)
    seen = []
    for step in (memory.hold, memory.hold, memory.release, memory.release):
        step(message)
        seen.append((memory.bytes, message.holders))
    size = OVERHEAD + 3 + 100
    assert seen == [(size, 1), (size, 2), (size, 1), (0, 0)]


def test_messages_add_up() -> None:
    memory = MemoryUse()
    small, large = BrokerMessage("", "k", b"\0\0", b""), BrokerMessage("", "k", b"\0\0", b"x" * 10_000)
    memory.hold(small)
    memory.hold(large)
    assert memory.bytes == 2 * (OVERHEAD + 2) + 10_000
    memory.release(large)
    assert memory.bytes == OVERHEAD + 2


def test_message_that_no_queue_holds_any_more_may_come_again() -> None:
    memory = MemoryUse()
    message = BrokerMessage("", "k", b"\0\0", b"")
    for _ in range(2):
        memory.hold(message)
        assert memory.bytes == OVERHEAD + 2
        memory.release(message)
        assert memory.bytes == 0
