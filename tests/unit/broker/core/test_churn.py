"""Counting what comes and goes."""

from __future__ import annotations

from tests.unit.broker.core.support import declare, new_vhost

from fedora_messaging.broker.core.churn import NAMES, Churn, add


def test_a_repeated_declaration_makes_nothing_new() -> None:
    vhost = new_vhost()
    declare(vhost, "a")
    declare(vhost, "a")
    declare(vhost, "b")
    vhost.delete_queue("a", None, if_unused=False, if_empty=False)
    vhost.delete_queue("a", None, if_unused=False, if_empty=False)  # it is gone
    counted = {name: count for name, count in add(vhost.churn).items() if count}
    assert counted == {"queue_declared": 3, "queue_created": 2, "queue_deleted": 1}


def test_parts_are_added_up() -> None:
    one, other = Churn(), Churn()
    one.channel_created, other.channel_created = 1, 2
    assert add(one, other) == {**dict.fromkeys(NAMES, 0), "channel_created": 3}
    assert add() == dict.fromkeys(NAMES, 0)
