"""Totals of messages."""

from __future__ import annotations

from tests.unit.web.management.support import new_server

from fedora_messaging.broker.core.counters import Counters
from fedora_messaging.web.management.rates import Rates
from fedora_messaging.web.management.statistics import (
    deliveries,
    messages,
    publishing,
    stats_item,
    totals_of,
)


def counted(**values: int) -> Counters:
    counters = Counters()
    for name, value in values.items():
        setattr(counters, name, value)
    return counters


def test_groups_are_whole_or_missing() -> None:
    assert publishing(Counters()) == {}
    assert deliveries(Counters()) == {}
    assert publishing(counted(drop_unroutable=1)) == {
        "publish": 0,
        "confirm": 0,
        "return_unroutable": 0,
        "drop_unroutable": 1,
    }


def test_deliver_get_is_the_sum_of_all_ways_to_a_client() -> None:
    shown = deliveries(counted(deliver=1, deliver_no_ack=2, get=4, get_no_ack=8, redeliver=16, get_empty=32))
    assert (shown["deliver_get"], shown["redeliver"], shown["get_empty"]) == (15, 16, 32)


def test_what_is_gone_is_counted() -> None:
    server = new_server()
    vhost = server.vhosts["/"]
    vhost.past.publish = 3
    vhost.past.ack = 2
    totals = totals_of(server, vhost)
    assert (totals.publish, totals.ack, totals.get) == (3, 2, 0)


def test_no_queues_have_no_messages() -> None:
    assert messages([]) == {"messages": 0, "messages_ready": 0, "messages_unacknowledged": 0}


def test_the_key_is_missing_before_the_first_event() -> None:
    rates = Rates(lambda: 0.0)
    assert stats_item(rates, rates, {}) == {}
    assert stats_item(rates, rates, {"get": 1}) == {"message_stats": {"get": 1, "get_details": {"rate": 0.0}}}
