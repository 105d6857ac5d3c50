"""Settings as the layers below the configuration get them: shown without secrets, and unchangeable."""

from __future__ import annotations

from typing import Any

import pytest

from fedora_messaging.limits import FRAME_MAX, FRAME_MAX_FLOOR
from fedora_messaging.options import (
    ConnectionOptions,
    ConsumerOptions,
    DedupeOptions,
    OutboxOptions,
    RetryOptions,
    TLSOptions,
)


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        (ConnectionOptions(), "amqp://localhost:5672"),
        (ConnectionOptions(host="192.0.2.1", port=1), "amqp://192.0.2.1:1"),
        (ConnectionOptions(host="::1"), "amqp://[::1]:5672"),
        (ConnectionOptions(host="::1", tls=TLSOptions(), port=5671), "amqps://[::1]:5671"),
        (ConnectionOptions(host="bus.example", tls=TLSOptions("ca.pem")), "amqps://bus.example:5672"),
        (ConnectionOptions(unix_path="/run/b"), "unix:/run/b"),
        (ConnectionOptions(host="ignored", tls=TLSOptions(), unix_path="/run/b"), "unix:/run/b"),
        (ConnectionOptions(username="bird", password="canary", vhost="bus"), "amqp://localhost:5672"),
    ],
)
def test_addresses_for_people(connection: ConnectionOptions, address: str) -> None:
    assert connection.address == address


def test_passwords_are_not_in_what_is_printed() -> None:
    """Nor is what the client says of itself, which an application may have filled with anything."""
    node = ConnectionOptions(host="second", password="canary")
    connection = ConnectionOptions(
        password="canary", client_properties={"contact": "canary"}, alternatives=(node,)
    )
    shown = repr(connection)
    assert "canary" not in shown
    assert "host='second'" in shown
    assert repr(OutboxOptions(url="postgresql://u:canary@db/bus")) == (
        "OutboxOptions(path=None, max_messages=100000, max_bytes=1000000000, max_age=None)"
    )


def test_passwords_count_when_options_are_compared() -> None:
    assert ConnectionOptions(password="one") != ConnectionOptions(password="two")
    assert ConnectionOptions(password="one") == ConnectionOptions(password="one")


def test_options_cannot_be_changed() -> None:
    options = ConsumerOptions()
    with pytest.raises(AttributeError):
        options.concurrency = 2  # type: ignore[misc]
    assert options.concurrency == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"concurrency": 2}, True),
        ({"ordering_key": len}, True),
        ({"timeout": 5.0}, True),
        # A zero is a setting, too.
        ({"timeout": 0.0}, True),
        ({"retry": RetryOptions()}, True),
        ({"dead_letter": "dead"}, True),
        ({"dedupe": DedupeOptions(60.0, "seen.db")}, True),
        # These do not change what becomes of a message whose callback fails.
        ({"arguments": {"x-priority": 1}, "resubscribe": True, "stop_timeout": None, "watchdog": 0.0}, False),
    ],
)
def test_has_policy(changes: dict[str, Any], expected: bool) -> None:
    assert ConsumerOptions(**changes).has_policy is expected


def test_frames_that_newer_rabbitmqs_take() -> None:
    assert ConnectionOptions().frame_max == FRAME_MAX == 131_072
    assert FRAME_MAX_FLOOR == 8192
