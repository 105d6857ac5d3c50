"""Where a consumer of a stream goes on reading when it subscribes again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fedora_messaging.client.consuming.stream_position import StreamPosition, is_stream, offset_of
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties


def at(offset: Any) -> bytes:
    return encode_properties(BasicProperties(headers={"x-stream-offset": offset}))


def test_positions() -> None:
    position = StreamPosition({"x-priority": 5})
    assert position.arguments() == {"x-priority": 5}
    again = position.arguments()
    assert isinstance(again["x-stream-offset"], datetime)
    assert again["x-stream-offset"] <= datetime.now(UTC)


def test_positions_named_by_the_program_stay_until_something_has_come() -> None:
    position = StreamPosition({"x-stream-offset": "first"})
    for _ in range(3):
        assert position.arguments() == {"x-stream-offset": "first"}


def test_goes_on_behind_what_is_settled() -> None:
    position = StreamPosition({"x-stream-offset": "first", "x-priority": 5})
    position.arguments()
    for tag in (1, 2, 3):
        position.arrived(tag, at(100 + tag))
        position.settled(tag)
    assert position.arguments() == {"x-stream-offset": 104, "x-priority": 5}
    # Nothing came since.
    assert position.arguments() == {"x-stream-offset": 104, "x-priority": 5}


def test_goes_on_at_the_oldest_that_is_not_settled() -> None:
    position = StreamPosition({})
    position.arguments()
    for tag in (1, 2, 3):
        position.arrived(tag, at(100 + tag))
    position.settled(1)
    position.settled(3)
    assert position.arguments() == {"x-stream-offset": 102}
    # What was not settled comes again, with another tag.
    position.arrived(1, at(102))
    position.settled(1)
    assert position.arguments() == {"x-stream-offset": 103}


def test_deliveries_without_an_offset_move_nothing() -> None:
    position = StreamPosition({"x-stream-offset": 50})
    position.arrived(1, encode_properties(BasicProperties()))
    position.arrived(2, at("last"))
    assert position.arguments() == {"x-stream-offset": 50}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (at(0), 0),
        (at(2**40), 2**40),
        (at("first"), None),
        (encode_properties(BasicProperties(headers={"other": 1})), None),
        (encode_properties(BasicProperties()), None),
        (b"\x20\x00\xff\xff\xff\xff", None),
    ],
    ids=["first", "large", "text", "other header", "no headers", "broken"],
)
def test_offset_of_a_delivery(properties: bytes, expected: int | None) -> None:
    assert offset_of(properties) == expected


def test_what_is_said_to_be_a_stream() -> None:
    assert is_stream({"x-queue-type": "stream"}, {})
    assert is_stream({}, {"x-stream-offset": "next"})
    assert not is_stream({"x-queue-type": "quorum"}, {"x-priority": 1})
