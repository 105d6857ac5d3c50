"""A transaction holds back publishes and acknowledgements, and gives each once."""

from __future__ import annotations

from tests.unit.broker.core.support import declare, message, new_vhost

from fedora_messaging.broker.core.message import new_entry
from fedora_messaging.broker.core.queue import Queue
from fedora_messaging.broker.transaction import Transaction
from fedora_messaging.broker.unacked import Unacked


def test_publishes_keep_their_order_and_are_given_once() -> None:
    vhost = new_vhost()
    exchange = vhost.exchanges["amq.topic"]
    transaction = Transaction(vhost.memory)
    given = [(exchange, message("a"), False, ("q",)), (vhost.exchanges[""], message("b"), True, ())]
    for publish in given:
        transaction.hold(*publish)
    assert list(transaction.take_publishes()) == given
    assert list(transaction.take_publishes()) == []
    transaction.hold(*given[0])
    assert list(transaction.take_publishes()) == given[:1]


def test_publishes_that_are_held_back_take_memory() -> None:
    """Otherwise a client could fill the memory without an alarm."""
    vhost = new_vhost()
    transaction = Transaction(vhost.memory)
    transaction.hold(vhost.exchanges[""], message("a"), False, ())
    assert vhost.memory.bytes > len(message("a").body)
    assert list(transaction.take_publishes())
    assert vhost.memory.bytes == 0


def test_acknowledgements_are_apart_from_publishes() -> None:
    vhost = new_vhost()
    queue = declare(vhost, "q")
    first, second = ({tag: Unacked(new_entry(message(), tag), queue, None)} for tag in (1, 2))
    transaction = Transaction(vhost.memory)
    transaction.hold_acks(second, Queue.settle)
    transaction.hold(vhost.exchanges[""], message(), False, ())
    transaction.hold_acks(first, Queue.refuse)
    assert transaction.take_acks() == [(second, Queue.settle), (first, Queue.refuse)]
    assert transaction.take_acks() == []
    assert len(list(transaction.take_publishes())) == 1
