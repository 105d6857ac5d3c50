"""Counting logins."""

from __future__ import annotations

from fedora_messaging.broker.attempts import Attempts, LoginCounter


def test_protocols_are_counted_apart_until_the_reset() -> None:
    counter = LoginCounter()
    assert list(counter) == []
    for protocol, succeeded in (("http", True), ("amqp091", False), ("http", False), ("http", True)):
        counter.count(protocol, succeeded)
    assert list(counter) == [
        Attempts("http", failed=1, succeeded=2),
        Attempts("amqp091", failed=1, succeeded=0),
    ]
    counter.reset()
    assert list(counter) == []
