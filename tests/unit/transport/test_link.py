"""Links write piece by piece to a socket that takes only so much, and nothing while they are mute."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from tests.protocol.machines import cut, frame, with_channel
from tests.support.pipes import NarrowPipe
from tests.unit.client.support import event_loop

from fedora_messaging.protocol.states import Role, State
from fedora_messaging.transport.link import Link
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import BODY, HEARTBEAT, HEARTBEAT_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.protocol.machines import Seen

    from fedora_messaging.protocol.connection import Machine
    from fedora_messaging.protocol.events import Event

DELIVER = m.BasicDeliver("c", 1, False, "e", "k").encode()


class Watching:
    """An owner that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.writable: list[bool] = []

    def on_connected(self, link: Link) -> None:
        """Do nothing."""

    def on_events(self, events: list[Event]) -> None:
        """Note events."""
        self.events += events

    def on_writable(self, writable: bool) -> None:
        """Note the state of the socket."""
        self.writable.append(writable)

    def on_lost(self, error: Exception | None) -> None:
        """Do nothing."""


class End:
    """A link between a machine with an open channel and a narrow pipe."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.machine: Machine = with_channel(Role.SERVER)
        # As if the handshake had agreed on it.
        self.machine._agreed(2047, 131072, 10)
        self.owner = Watching()
        self.link = Link(self.machine, self.owner, loop)
        self.pipe = NarrowPipe(self.link)
        self.link.connection_made(self.pipe)

    def deliver(self, payload: bytes) -> None:
        """Send a content, and let the link write it."""
        self.machine.send_content(1, DELIVER, b"\0\0", payload)
        self.link.flush_soon()
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Let time pass, which the peer fills with heartbeats."""
        for _ in range(int(seconds)):
            self.loop.run_until_complete(asyncio.sleep(1))
            self.link.data_received(HEARTBEAT_FRAME)
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that does not wait."""
    made = event_loop()
    yield made
    made.close()


@pytest.fixture
def end(loop: asyncio.AbstractEventLoop) -> End:
    """A link to a peer that does not read yet."""
    return End(loop)


def bodies(seen: list[Seen]) -> bytes:
    return b"".join(one.payload for one in seen if one.kind == BODY)


def numbers(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


# Piece by piece


def test_large_body_is_not_copied_while_the_peer_does_not_read(end: End) -> None:
    payload = bytes(16_000_000)
    tracemalloc.start()
    try:
        end.deliver(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(end.pipe.buffer) < 1_200_000
    assert peak < 6_000_000
    assert end.link.written == len(end.pipe.buffer)
    assert end.machine.has_more
    assert end.link.writable is False


def test_everything_arrives_in_order_when_the_peer_reads(end: End) -> None:
    first, second = numbers(5_000_000), numbers(3_000_000)
    end.deliver(first)
    end.deliver(b"small")
    end.deliver(second)
    end.machine.send_method(1, m.ChannelFlowOk(True))
    end.link.flush_soon()
    end.wait(0)
    seen = cut(end.pipe.take_all())
    assert bodies(seen) == first + b"small" + second
    assert seen[-1].method == m.ChannelFlowOk(True)
    assert end.pipe.largest < 1_300_000
    assert not end.machine.has_more
    assert end.link.writable is True


def test_the_owner_learns_last_what_is_so(end: End) -> None:
    """While more waits, the buffer is full again as soon as there was room in it."""
    end.deliver(bytes(3_000_000))
    end.pipe.take(len(end.pipe.buffer))
    assert end.link.writable is False
    assert end.owner.writable[-1] is False
    end.pipe.take_all()
    assert end.link.writable is True
    assert end.owner.writable[-1] is True


def test_what_is_added_behind_a_body_is_owed(end: End) -> None:
    """But not the body itself: its peer may be about to read it."""
    end.deliver(bytes(4_000_000))
    assert end.link.owed == 0
    for count in (1, 2, 3):
        end.machine.send_method(1, m.ChannelFlowOk(True))
        assert end.link.owed == count * len(frame(1, m.ChannelFlowOk(True)))
    end.deliver(bytes(1_000_000))
    assert 1_000_000 < end.link.owed < 1_001_000
    end.pipe.take(len(end.pipe.buffer))
    assert end.machine.has_more
    assert 1_000_000 < end.link.owed < 1_001_000
    end.pipe.take_all()
    assert end.link.owed == 0


def test_body_that_fits_leaves_at_once(end: End) -> None:
    payload = numbers(900_000)
    end.deliver(payload)
    assert not end.machine.has_more
    assert bodies(cut(end.pipe.take_all())) == payload


@pytest.mark.timeout(20)
def test_one_heartbeat_at_most_waits_behind_a_body(end: End) -> None:
    payload = numbers(4_000_000)
    end.deliver(payload)
    end.wait(60)
    assert end.machine.state is State.OPEN
    seen = cut(end.pipe.take_all())
    assert bodies(seen) == payload
    assert [one.kind for one in seen].count(HEARTBEAT) <= 1
    end.wait(12)
    assert HEARTBEAT_FRAME in end.pipe.take_all()


def test_close_follows_the_body(end: End) -> None:
    payload = numbers(4_000_000)
    end.deliver(payload)
    end.machine.close(320, "enough")
    end.link.close_within(30)
    assert not end.pipe.is_over
    seen = cut(end.pipe.take_all())
    assert bodies(seen) == payload
    assert seen[-1].method == m.ConnectionClose(320, "CONNECTION_FORCED - enough", 0, 0)
    end.link.data_received(frame(0, m.ConnectionCloseOk()))
    assert end.pipe.is_over


def test_peer_that_never_reads_is_cut_off(end: End) -> None:
    end.deliver(bytes(4_000_000))
    end.machine.close(320, "enough")
    end.link.close_within(30)
    end.wait(29)
    assert not end.pipe.is_over
    end.wait(2)
    assert end.pipe.is_over
    assert not end.pipe.buffer


def test_answer_to_the_close_of_the_peer_follows_the_body(end: End) -> None:
    payload = numbers(4_000_000)
    end.deliver(payload)
    end.link.data_received(frame(0, m.ConnectionClose(200, "", 0, 0)))
    seen = cut(end.pipe.take_all())
    assert bodies(seen) == payload
    assert seen[-1].method == m.ConnectionCloseOk()
    assert end.pipe.is_over


# Mute


def test_mute_link_writes_nothing_until_it_may(end: End) -> None:
    end.link.mute(True)
    end.deliver(b"one")
    end.link.flush()
    end.wait(60)
    end.deliver(b"two")
    assert end.pipe.buffer == b""
    assert end.link.written == 0
    end.link.mute(False)
    seen = cut(end.pipe.take_all())
    assert bodies(seen) == b"onetwo"
    assert [one.kind for one in seen].count(HEARTBEAT) <= 1


def test_heartbeats_go_on_after_a_mute_time(end: End) -> None:
    end.wait(6)
    assert end.pipe.take_all() == HEARTBEAT_FRAME
    end.link.mute(True)
    end.wait(60)
    end.link.mute(False)
    assert end.pipe.take_all() == HEARTBEAT_FRAME
    end.wait(6)
    assert end.pipe.take_all() == HEARTBEAT_FRAME


def test_mute_in_the_middle_of_a_body(end: End) -> None:
    payload = numbers(4_000_000)
    end.deliver(payload)
    end.link.mute(True)
    begin = end.pipe.take_all()
    assert len(begin) < 1_200_000
    assert end.machine.has_more
    end.link.mute(False)
    assert bodies(cut(begin + end.pipe.take_all())) == payload


def test_mute_link_ends_the_connection_when_it_may_speak_again(end: End) -> None:
    end.link.mute(True)
    end.link.data_received(frame(0, m.ConnectionClose(200, "", 0, 0)))
    assert end.machine.is_closed
    assert not end.pipe.is_over
    end.link.mute(False)
    assert end.pipe.is_over
    assert cut(end.pipe.take_all())[-1].method == m.ConnectionCloseOk()


def test_mute_without_a_socket() -> None:
    loop = event_loop()
    link = Link(with_channel(Role.SERVER), Watching(), loop)
    link.mute(True)
    link.mute(False)
    assert link.written == 0
    loop.close()
