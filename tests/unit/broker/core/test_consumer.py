"""Which consumer of a queue gets the next message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.core.support import declare

from fedora_messaging.broker.core.consumer import BrokerConsumer, ConsumerSet

if TYPE_CHECKING:
    from fedora_messaging.broker.core.message import Entry
    from fedora_messaging.broker.core.vhost import VirtualHost


class Channel:
    """Takes messages while it is told to."""

    room = 1000

    def __init__(self) -> None:
        self.open = True

    def can_take(self) -> bool:
        return self.open

    def deliver(self, consumer: BrokerConsumer, entry: Entry, properties: bytes) -> None:
        raise AssertionError

    def refuse(self, name: str, size: int) -> None:
        raise AssertionError

    def consumer_cancelled(self, consumer: BrokerConsumer) -> None:
        raise AssertionError


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.mark.parametrize(
    ("prefetch", "unacked", "no_ack", "takes"),
    [
        (0, 10**6, False, True),
        (1, 0, False, True),
        (1, 1, False, False),
        (2, 3, False, False),
        (1, 1, True, True),
    ],
)
def test_prefetch(
    vhost: VirtualHost, channel: Channel, prefetch: int, unacked: int, no_ack: bool, takes: bool
) -> None:
    consumer = BrokerConsumer("c", declare(vhost, "q"), channel, prefetch=prefetch, no_ack=no_ack)
    consumer.unacked = unacked
    assert consumer.can_take() is takes
    channel.open = False
    assert consumer.can_take() is False


class Consumers:
    """A set whose consumers have names, priorities and a channel each."""

    def __init__(self, vhost: VirtualHost, single_active: bool = False, *, by_priority: bool = False) -> None:
        self.set = ConsumerSet(single_active, by_priority=by_priority)
        self.made: dict[str, BrokerConsumer] = {}
        self.channels: dict[str, Channel] = {}
        self._queue = declare(vhost, "q")

    def add(self, tag: str, priority: int = 0) -> None:
        self.channels[tag] = Channel()
        self.made[tag] = BrokerConsumer(tag, self._queue, self.channels[tag], priority=priority)
        self.set.add(self.made[tag])

    def close(self, *tags: str) -> None:
        """Have consumers take nothing any more."""
        for tag in tags:
            self.channels[tag].open = False

    def open(self, *tags: str) -> None:
        """Have consumers take messages again, and tell the set."""
        for tag in tags:
            self.channels[tag].open = True
            self.set.recall(self.made[tag])

    def turns(self, count: int) -> str:
        """Return the names, a letter each, of those who come next."""
        return "".join("-" if (one := self.set.next()) is None else one.tag for _ in range(count))


@pytest.fixture
def consumers(vhost: VirtualHost) -> Consumers:
    return Consumers(vhost)


@pytest.fixture
def single(vhost: VirtualHost) -> Consumers:
    return Consumers(vhost, single_active=True)


def test_nobody(consumers: Consumers, single: Consumers) -> None:
    assert (consumers.turns(1), single.turns(1), len(consumers.set)) == ("-", "-", 0)


def test_equals_take_turns(consumers: Consumers) -> None:
    for tag in "abc":
        consumers.add(tag)
    assert consumers.turns(7) == "abcabca"
    assert len(consumers.set) == 3


def test_who_cannot_take_is_passed_over_and_keeps_the_turn(consumers: Consumers) -> None:
    for tag in "abc":
        consumers.add(tag)
    consumers.close("a")
    assert consumers.turns(3) == "bcb"
    consumers.open("a")
    consumers.open("a")
    assert consumers.turns(3) == "acb"
    consumers.close("a", "b", "c")
    assert consumers.turns(1) == "-"
    consumers.open("b", "c", "a")
    assert consumers.turns(4) == "acba"
    for channel in consumers.channels.values():
        channel.open = False
    assert consumers.turns(2) == "--"


def test_higher_priority_goes_first_while_it_can(consumers: Consumers) -> None:
    for tag, priority in {"a": 0, "b": 5, "c": -1, "d": 5}.items():
        consumers.add(tag, priority)
    assert consumers.turns(3) == "bdb"
    consumers.close("b", "d")
    assert consumers.turns(2) == "aa"
    consumers.close("a")
    assert consumers.turns(2) == "cc"
    consumers.open("d")
    assert consumers.turns(2) == "dd"
    consumers.open("b", "a")
    assert consumers.turns(3) == "bdb"


def test_who_left_gets_nothing(consumers: Consumers) -> None:
    for tag in "abc":
        consumers.add(tag)
    consumers.set.remove(consumers.made["b"])
    assert consumers.turns(4) == "acac"
    consumers.set.recall(consumers.made["b"])
    assert consumers.turns(2) == "ac"
    with pytest.raises(KeyError):
        consumers.set.remove(consumers.made["b"])


def test_consumers_may_leave_while_all_are_looked_at(consumers: Consumers) -> None:
    for tag in "abc":
        consumers.add(tag)
    for one in consumers.set:
        consumers.set.remove(one)
    assert len(consumers.set) == 0


def test_single_active_consumer_gets_everything(single: Consumers) -> None:
    for tag in "abc":
        single.add(tag)
    assert single.turns(3) == "aaa"
    single.channels["a"].open = False
    assert single.turns(2) == "--"
    single.set.remove(single.made["a"])
    assert single.turns(2) == "bb"


def test_active_consumer_stays_active_whatever_the_priority_of_others(single: Consumers) -> None:
    for tag, priority in {"a": 0, "b": 1, "c": 9, "d": 1}.items():
        single.add(tag, priority)
    assert single.turns(2) == "aa"
    for left, follows in (("a", "c"), ("c", "b"), ("b", "d")):
        single.set.remove(single.made[left])
        assert single.turns(2) == follows * 2


def test_consumer_acknowledges_and_shares_the_queue_unless_it_says_otherwise(
    vhost: VirtualHost, channel: Channel
) -> None:
    plain = BrokerConsumer("c", declare(vhost, "q"), channel)
    assert (plain.no_ack, plain.exclusive, plain.prefetch, plain.priority) == (False, False, 0, 0)
    assert (plain.unacked, plain.arguments) == (0, {})


def test_arguments_are_the_consumers_own(vhost: VirtualHost, channel: Channel) -> None:
    given = {"x-priority": 1}
    consumer = BrokerConsumer("c", declare(vhost, "q"), channel, arguments=given)
    given["x-priority"] = 2
    assert consumer.arguments == {"x-priority": 1}


def test_more_important_one_becomes_active_when_nothing_is_out(vhost: VirtualHost) -> None:
    consumers = Consumers(vhost, single_active=True, by_priority=True)
    for tag, priority in (("a", 0), ("b", 0), ("c", 5), ("d", 5), ("e", 9)):
        consumers.add(tag, priority)
    consumers.made["a"].unacked = 1
    assert consumers.turns(2) == "--"
    consumers.set.remove(consumers.made["e"])
    consumers.made["a"].unacked = 0
    assert consumers.turns(3) == "ccc"
    consumers.set.remove(consumers.made["c"])
    assert consumers.turns(2) == "dd"
    for tag in "dba":
        consumers.set.remove(consumers.made[tag])
    assert consumers.turns(1) == "-"
