"""What is known of a message in a dead-letter queue, whoever put it there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fedora_messaging.client.consuming.delivery import Raw
from fedora_messaging.client.consuming.history import HEADER, History
from fedora_messaging.client.policy.dead_letters import Letter
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

#: What a broker writes, but for the time.
DEATH = {"queue": "q", "exchange": "e", "routing-keys": ["a.b"], "count": 2, "reason": "expired", "time": 5}
OF_THE_BROKER = History("q", "e", "a.b", attempts=2, first=5, last=5, reason="expired")
OURS = History("work", "amq.topic", "t", attempts=5, first=1, last=2, reason="exhausted", error="OSError: no")


def letter(headers: dict[str, Any] | None) -> Letter:
    return Letter(delivered(encode_properties(BasicProperties(message_id="id-1", headers=headers))))


def delivered(properties: bytes) -> Raw:
    return Raw(0, 1, "dead", "", "dead", False, properties, b"{}")


def test_what_the_library_wrote_comes_first() -> None:
    found = letter({HEADER: OURS.as_table(), "x-death": [DEATH], "mine": 1})
    assert found.history == OURS
    assert found.properties.message_id == "id-1"
    assert (found.properties.headers or {})["mine"] == 1


def test_what_the_broker_wrote() -> None:
    assert letter({"x-death": [DEATH]}).history == OF_THE_BROKER
    # The first entry is the last death.
    assert letter({"x-death": [DEATH, {**DEATH, "queue": "earlier"}]}).history == OF_THE_BROKER
    assert letter({HEADER: {"queue": 5}, "x-death": [DEATH]}).history == OF_THE_BROKER
    since = datetime(2020, 1, 1, tzinfo=UTC)
    found = letter({"x-death": [{**DEATH, "time": since}]}).history
    assert found is not None
    assert (found.first, found.last) == (1_577_836_800, 1_577_836_800)


@pytest.mark.parametrize(
    "headers", [None, {}, {"x-death": []}, {"x-death": "q"}, {"x-death": ["q"]}, {HEADER: []}], ids=repr
)
def test_nothing_is_known(headers: dict[str, Any] | None) -> None:
    assert letter(headers).history is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"queue": 5}, {"queue": ""}),
        ({"exchange": None}, {"exchange": ""}),
        ({"reason": []}, {"reason": ""}),
        ({"routing-keys": []}, {"topic": ""}),
        ({"routing-keys": "a.b"}, {"topic": ""}),
        ({"routing-keys": [5]}, {"topic": ""}),
        ({"count": "many"}, {"attempts": 1}),
        ({"count": -1}, {"attempts": 1}),
        ({"time": "noon"}, {"first": 0, "last": 0}),
        ({"time": -5}, {"first": 0, "last": 0}),
    ],
    ids=repr,
)
def test_parts_that_cannot_be_read_are_left_empty(change: dict[str, Any], expected: dict[str, Any]) -> None:
    found = letter({"x-death": [{**DEATH, **change}]}).history
    assert found is not None
    assert found.as_table() == {**OF_THE_BROKER.as_table(), **expected}


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf")])
def test_p43_floats(value: float) -> None:
    for headers in ({"x-death": [{**DEATH, name: value}]} for name in DEATH):
        history = letter(headers).history
        assert history is not None
        assert value not in history.as_table().values()


def test_properties_that_cannot_be_decoded() -> None:
    broken = Letter(delivered(b"\x20\x00\xff\xff\xff\xff"))
    assert (broken.history, broken.properties) == (None, BasicProperties())
