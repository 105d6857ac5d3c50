"""Memory is counted while a queue holds a message, once for all queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import new_vhost

from fedora_messaging.broker.core.declarations import ExchangeDeclaration, QueueDeclaration
from fedora_messaging.broker.core.memory import OVERHEAD, MemoryUse, declared_size
from fedora_messaging.broker.core.message import new_message
from fedora_messaging.protocol.errors import ChannelError

if TYPE_CHECKING:
    from fedora_messaging.broker.core.queue import Queue
    from fedora_messaging.broker.core.vhost import VirtualHost


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


# Bodies that wait elsewhere


class MemoryPages:
    """Pages in memory; ``works`` says whether messages can be put there.

    Attributes:
        bodies: The bodies that were put.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.works = True
        self._all = b""

    def put(self, *parts: bytes) -> tuple[MemoryPages, int] | None:
        if not self.works:
            return None
        self.bodies.append(parts[0])
        place = len(self._all)
        self._all += b"".join(parts)
        return self, place

    def read(self, place: int, size: int) -> bytes:
        assert place + size <= len(self._all)
        return self._all[place : place + size]


def paging(vhost: VirtualHost, limit: int) -> MemoryPages:
    pages = MemoryPages()
    vhost.memory.pages, vhost.memory.bodies_limit = pages, limit
    return pages


def publish(vhost: VirtualHost, *bodies: bytes, exchange: str = "", key: str = "q") -> None:
    for body in bodies:
        vhost.enqueue(vhost.exchange(exchange), new_message(exchange, key, b"\0\0", body))


def taken(queue: Queue) -> list[bytes]:
    found = []
    while (entry := queue.get(no_ack=True)) is not None:
        found.append(entry.message.body)
    return found


BODIES = [bytes([number]) * 200 for number in range(10)]


def test_bodies_above_the_limit_wait_elsewhere_and_come_back_in_order() -> None:
    vhost = new_vhost()
    queue = vhost.declare_queue(QueueDeclaration("q"), None)
    pages = paging(vhost, 606)
    publish(vhost, *BODIES)
    assert pages.bodies == BODIES[3:]
    assert (vhost.memory.bodies, queue.ready_bytes) == (606, 2000)
    assert vhost.memory.bytes == 606 + 10 * OVERHEAD
    assert taken(queue) == BODIES
    assert (vhost.memory.bodies, vhost.memory.bytes, queue.ready_bytes) == (0, 0, 0)
    publish(vhost, *BODIES[:3])
    assert pages.bodies == BODIES[3:]


def test_body_that_many_queues_hold_is_paged_out_once() -> None:
    vhost = new_vhost()
    queues = [vhost.declare_queue(QueueDeclaration(name), None) for name in ("a", "b", "c")]
    for queue in queues:
        vhost.bind("amq.fanout", queue, "", {})
    pages = paging(vhost, 0)
    publish(vhost, *BODIES, exchange="amq.fanout")
    assert pages.bodies == BODIES
    assert [taken(queue) for queue in queues] == [BODIES] * 3
    assert (vhost.memory.bodies, vhost.memory.bytes) == (0, 0)


def test_body_is_paged_out_once_while_others_take_the_room() -> None:
    """Each queue that adds it asks for room again."""
    vhost = new_vhost()
    pages = paging(vhost, 0)
    message, other = (new_message("", "k", b"\0\0", body) for body in BODIES[:2])
    for one in (message, message, other):
        vhost.memory.hold(one)
    for _ in range(2):
        vhost.memory.make_room(message)
    assert pages.bodies == BODIES[:1]
    assert vhost.memory.bodies == len(BODIES[1]) + 2


def test_small_body_stays() -> None:
    vhost = new_vhost()
    queue = vhost.declare_queue(QueueDeclaration("q"), None)
    pages = paging(vhost, 0)
    publish(vhost, b"x" * 127, b"x" * 128)
    assert pages.bodies == [b"x" * 128]
    assert taken(queue) == [b"x" * 127, b"x" * 128]


def test_body_stays_if_it_cannot_go_elsewhere() -> None:
    vhost = new_vhost()
    queue = vhost.declare_queue(QueueDeclaration("q"), None)
    pages = paging(vhost, 0)
    pages.works = False
    publish(vhost, *BODIES)
    assert vhost.memory.bodies == 2020
    assert taken(queue) == BODIES


def test_dead_letter_of_a_body_elsewhere_keeps_it() -> None:
    vhost = new_vhost()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    queue = vhost.declare_queue(QueueDeclaration("q", arguments=arguments), None)
    dead = vhost.declare_queue(QueueDeclaration("dead"), None)
    paging(vhost, 0)
    publish(vhost, *BODIES)
    for _ in BODIES:
        entry = queue.get(no_ack=False)
        assert entry is not None
        queue.refuse(entry, None)
    assert taken(dead) == BODIES
    assert (vhost.memory.bodies, vhost.memory.bytes) == (0, 0)


def test_stream_keeps_its_bodies_elsewhere() -> None:
    vhost = new_vhost()
    vhost.declare_queue(QueueDeclaration("q", durable=True, arguments={"x-queue-type": "stream"}), None)
    pages = paging(vhost, 404)
    publish(vhost, *BODIES)
    assert pages.bodies == BODIES[2:]


def test_message_that_has_left_already_is_not_counted_again() -> None:
    """A queue asks for room after it has delivered what it could, which may be the message itself."""
    vhost = new_vhost()
    pages = paging(vhost, -1)
    message = new_message("", "k", b"\0\0", BODIES[0])
    vhost.memory.hold(message)
    vhost.memory.release(message)
    vhost.memory.make_room(message)
    assert (vhost.memory.bodies, vhost.memory.bytes, pages.bodies) == (0, 0, [])
