"""Memory is counted while a queue holds a message, once for all queues."""

from __future__ import annotations

import pytest
from tests.unit.broker.core.support import new_vhost

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.memory import OVERHEAD, MemoryUse, declared_size
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.protocol.errors import ChannelError


def test_message_counts_once_while_any_queue_holds_it() -> None:
    memory = MemoryUse()
    message = new_message("", "k", b"\x08\x00\x00", b"x" * 100)
    seen = []
    for step in (memory.hold, memory.hold, memory.release, memory.release):
        step(message)
        seen.append((memory.bytes, message.holders))
    size = OVERHEAD + 3 + 100
    assert seen == [(size, 1), (size, 2), (size, 1), (0, 0)]


def test_messages_add_up() -> None:
    memory = MemoryUse()
    small, large = new_message("", "k", b"\0\0", b""), new_message("", "k", b"\0\0", b"x" * 10_000)
    memory.hold(small)
    memory.hold(large)
    assert memory.bytes == 2 * (OVERHEAD + 2) + 10_000
    memory.release(large)
    assert memory.bytes == OVERHEAD + 2


def test_message_that_no_queue_holds_any_more_may_come_again() -> None:
    memory = MemoryUse()
    message = new_message("", "k", b"\0\0", b"")
    for _ in range(2):
        memory.hold(message)
        assert memory.bytes == OVERHEAD + 2
        memory.release(message)
        assert memory.bytes == 0


# What clients declare


def test_arguments_take_more_than_their_bytes() -> None:
    assert declared_size({}) < declared_size({"a": 1}) < declared_size({"a": "x" * 1000})


def test_declarations_are_bounded() -> None:
    """A client that declares more and more gets an error, and takes no memory from the others."""
    vhost = new_vhost()
    memory = vhost.memory
    queue = vhost.declare_queue(QueueDeclaration("q"), None)
    before = memory.declared
    memory.declared_limit = before + 1000
    refusal = f"take {before} bytes of memory; more than {before + 1000} are not allowed"
    with pytest.raises(ChannelError, match=refusal):
        vhost.declare_queue(QueueDeclaration("r"), None)
    with pytest.raises(ChannelError, match=refusal):
        vhost.declare_exchange(ExchangeDeclaration("e"))
    with pytest.raises(ChannelError, match=refusal):
        vhost.bind("amq.topic", queue, "key", {})
    assert memory.declared == before
    vhost.declare_queue(QueueDeclaration("q"), None)
    vhost.remove_queue(queue)
    vhost.declare_queue(QueueDeclaration("r"), None)


def test_what_is_gone_takes_no_memory() -> None:
    vhost = new_vhost()
    before = vhost.memory.declared
    vhost.declare_exchange(ExchangeDeclaration("e", "fanout", arguments={"a": "b"}))
    queue = vhost.declare_queue(QueueDeclaration("q", arguments={"x-any": "b"}), None)
    vhost.bind("e", queue, "key", {"c": "d"})
    vhost.bind("e", vhost.exchange("amq.topic"), "", {})
    assert vhost.memory.declared > before
    vhost.delete_exchange("e", if_unused=False)
    vhost.delete_queue("q", None, if_unused=False, if_empty=False)
    assert vhost.memory.declared == before
