"""Deliveries that are here: their number is bounded by the prefetch, and their age is known."""

from __future__ import annotations

import pytest

from fedora_messaging.client.consuming.in_flight import InFlight
from fedora_messaging.protocol.errors import ConnectionError as PeerConnectionError
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

PLAIN = encode_properties(BasicProperties())
OF_A_STREAM = encode_properties(BasicProperties(headers={"x-stream-offset": 7}))


def arrive(here: InFlight, tag: int, properties: bytes = PLAIN, redelivered: bool = False) -> None:
    here.check(m.BasicDeliver("c", tag, redelivered, "", "q"), properties)
    here.arrived(tag, 0.0)


def test_p18_prefetch_is_counted_by_what_is_unsettled() -> None:
    here = InFlight(2)
    for tag in range(1, 50):
        arrive(here, tag)
        if tag > 1:
            here.settled(tag - 1, 0.0)
    arrive(here, 50)
    with pytest.raises(PeerConnectionError, match="more deliveries than the prefetch of 2 without") as caught:
        arrive(here, 51)
    assert (caught.value.reply_code, len(here)) == (530, 2)


def test_p18_new_leader_of_a_quorum_queue_delivers_again_what_is_here() -> None:
    here = InFlight(2)
    for tag in range(1, 21):
        arrive(here, tag, redelivered=True)
    with pytest.raises(PeerConnectionError, match="prefetch of 2"):
        arrive(here, 21, redelivered=True)


def test_p18_stream_sends_a_whole_chunk() -> None:
    here = InFlight(2)
    for tag in range(65536 + 1):
        here.arrived(tag, 0.0)
    with pytest.raises(PeerConnectionError, match="prefetch of 2"):
        arrive(here, 70_000)
    arrive(here, 70_000, OF_A_STREAM)
    with pytest.raises(PeerConnectionError, match="prefetch of 2"):
        arrive(here, 70_001, OF_A_STREAM)


def test_prefetch_of_zero_is_no_limit() -> None:
    here = InFlight(0)
    for tag in range(1, 1000):
        arrive(here, tag)
    assert len(here) == 999


def test_p18_tag_is_not_used_again_before_it_is_settled() -> None:
    here = InFlight(10)
    arrive(here, 7)
    with pytest.raises(PeerConnectionError, match="delivery tag 7 was used again before it was settled"):
        arrive(here, 7)
    here.settled(7, 1.0)
    arrive(here, 7)
    assert len(here) == 1


def test_oldest_delivery_and_progress() -> None:
    here = InFlight(10)
    assert (here.oldest, here.progress) == (None, 0.0)
    here.arrived(1, 10.0)
    here.arrived(2, 11.0)
    # Only the first one is progress: before it there was nothing to do.
    assert (here.oldest, here.progress) == (10.0, 10.0)
    here.settled(1, 12.0)
    assert (here.oldest, here.progress) == (11.0, 12.0)
    here.settled(2, 13.0)
    assert (here.oldest, here.progress) == (None, 13.0)
    here.arrived(3, 20.0)
    assert (here.oldest, here.progress) == (20.0, 20.0)
