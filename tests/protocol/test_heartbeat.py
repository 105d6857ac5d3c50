"""Heartbeats: when to send one, and when to give the peer up."""

from __future__ import annotations

import pytest
from tests.protocol.machines import (
    PUBLISH,
    Pair,
    client_in,
    closing,
    cut,
    frame,
    machine_in,
    open_channel,
    server_in,
    tune_ok,
)

from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.heartbeat import Beat, Heartbeat
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import HEARTBEAT, HEARTBEAT_FRAME


def beating(role: Role, interval: int, now: float = 100.0) -> Machine:
    """An open machine that has agreed on an interval at ``now``."""
    if role is Role.CLIENT:
        client = client_in(State.EXPECT_TUNE)
        client.receive_data(frame(0, m.ConnectionTune(0, 0, interval)), now)
        client.receive_data(frame(0, m.ConnectionOpenOk()), now)
        return drained_at(client, now)
    server = server_in(State.EXPECT_TUNE_OK)
    answer = tune_ok(server)
    answer.heartbeat = interval
    server.receive_data(frame(0, answer) + frame(0, m.ConnectionOpen("/")), now)
    server.accept_open()
    return drained_at(server, now)


def drained_at(machine: Machine, now: float) -> Machine:
    machine.events()
    machine.data_to_send(now)
    return machine


EACH_ROLE = pytest.mark.parametrize("role", list(Role))


# The timer alone


def test_sends_after_half_an_interval_of_its_own_silence() -> None:
    beat = Heartbeat(10, 100.0)
    assert beat.next_deadline() == 105.0
    assert beat.poll(104.9) is Beat.NOTHING
    assert beat.poll(105.0) is Beat.SEND
    beat.sent(105.0)
    beat.received(105.0)
    assert beat.poll(109.9) is Beat.NOTHING
    assert beat.next_deadline() == 110.0


def test_gives_up_after_two_silent_intervals() -> None:
    beat = Heartbeat(10, 100.0)
    beat.sent(118.0)
    assert beat.next_deadline() == 120.0
    assert beat.poll(119.9) is Beat.NOTHING
    assert beat.poll(120.0) is Beat.DEAD
    beat.received(119.0)
    assert beat.next_deadline() == 123.0


def test_being_dead_is_more_than_having_to_send() -> None:
    assert Heartbeat(10, 100.0).poll(1000.0) is Beat.DEAD


def test_zero_switches_both_off() -> None:
    beat = Heartbeat(0, 100.0)
    assert beat.next_deadline() is None
    assert beat.poll(1e9) is Beat.NOTHING


def test_silence_of_who_is_not_read_means_nothing() -> None:
    beat = Heartbeat(10, 100.0)
    beat.listen(False, 101.0)
    assert beat.next_deadline() == 105.0
    assert beat.poll(1000.0) is Beat.SEND
    beat.sent(1000.0)
    beat.listen(True, 1001.0)
    assert beat.poll(1001.0) is Beat.NOTHING
    assert beat.poll(1021.0) is Beat.DEAD


# In a connection


@EACH_ROLE
def test_a_heartbeat_leaves_when_nothing_else_did(role: Role) -> None:
    machine = beating(role, 10)
    assert machine.heartbeat == 10
    assert machine.next_deadline() == 105.0
    machine.handle_timeout(104.0)
    assert machine.data_to_send(104.0) == b""
    machine.handle_timeout(105.0)
    assert machine.data_to_send(105.0) == HEARTBEAT_FRAME
    assert machine.next_deadline() == 110.0


@EACH_ROLE
def test_anything_sent_counts(role: Role) -> None:
    machine = beating(role, 10)
    machine.close()
    assert machine.data_to_send(104.0) != b""
    assert machine.next_deadline() == 109.0
    machine.handle_timeout(105.0)
    assert machine.data_to_send(105.0) == b""


@EACH_ROLE
def test_nothing_to_send_does_not_count(role: Role) -> None:
    machine = beating(role, 10)
    assert machine.data_to_send(104.0) == b""
    assert machine.next_deadline() == 105.0


@EACH_ROLE
def test_any_byte_of_the_peer_counts(role: Role) -> None:
    machine = beating(role, 10)
    machine.receive_data(HEARTBEAT_FRAME[:1], 119.0)
    machine.handle_timeout(120.0)
    assert not machine.is_closed
    machine.handle_timeout(138.9)
    assert not machine.is_closed
    machine.handle_timeout(139.0)
    assert machine.is_closed


@EACH_ROLE
def test_a_peer_that_is_not_read_is_kept(role: Role) -> None:
    machine = beating(role, 10)
    machine.listen(False, 110.0)
    machine.handle_timeout(1000.0)
    assert machine.data_to_send(1000.0) == HEARTBEAT_FRAME
    machine.listen(True, 1000.0)
    machine.handle_timeout(1020.0)
    assert machine.is_closed


@EACH_ROLE
@pytest.mark.parametrize("closing_already", [False, True])
def test_a_silent_peer_is_dropped_without_a_word(role: Role, closing_already: bool) -> None:
    machine = beating(role, 10)
    if closing_already:
        machine.close()
    machine.handle_timeout(120.0)
    end = closing(machine.events())
    assert (end.reply_code, end.by_peer) == (0, False)
    assert end.reply_text == "no data from the peer for 20 seconds: missed heartbeats"
    assert machine.data_to_send(120.0) == b""
    assert machine.next_deadline() is None


@EACH_ROLE
@pytest.mark.parametrize("now", [105.0, 120.0, 1000.0])
def test_nothing_is_due_after_the_end(role: Role, now: float) -> None:
    machine = beating(role, 10)
    machine.peer_vanished("gone")
    machine.events()
    assert machine.next_deadline() is None
    machine.handle_timeout(now)
    assert (machine.events(), machine.data_to_send(now)) == ([], b"")


@EACH_ROLE
def test_an_interval_of_0_is_off(role: Role) -> None:
    machine = beating(role, 0)
    assert machine.next_deadline() is None
    machine.handle_timeout(1e9)
    assert (machine.events(), machine.data_to_send(1e9)) == ([], b"")


@EACH_ROLE
def test_nothing_is_due_before_an_interval_is_agreed_on(role: Role) -> None:
    state = State.EXPECT_START if role is Role.CLIENT else State.EXPECT_HEADER
    machine = machine_in(role, state)
    assert machine.next_deadline() is None
    machine.handle_timeout(1e9)
    assert not machine.is_closed


def test_two_machines_keep_each_other_alive() -> None:
    pair = Pair({"limits": Limits(heartbeat=4)}).opened(1)
    for tick in range(1, 100):
        pair.now = float(tick)
        pair.client.handle_timeout(pair.now)
        pair.server.handle_timeout(pair.now)
        assert pair.take() == ([], [])
    assert pair.client.state is pair.server.state is State.OPEN
    # Then the line goes dead.
    for tick in range(100, 110):
        pair.client.handle_timeout(float(tick))
        pair.client.data_to_send(float(tick))
    closing(pair.client.events())


@EACH_ROLE
def test_a_heartbeat_that_cannot_leave_is_not_followed_by_others(role: Role) -> None:
    """While the peer's network takes nothing, they would pile up, and the timer would never rest."""
    machine = open_channel(beating(role, 10))
    machine.data_to_send(100.0)
    machine.listen(False, 100.0)
    machine.send_content(1, PUBLISH.encode(), b"\0\0", bytes(1_000_000))
    before = machine.data_to_send(100.0, 300_000)
    for now in (105.0, 110.0, 115.0):
        machine.handle_timeout(now)
        deadline = machine.next_deadline()
        assert deadline is not None
        assert deadline > now
    frames = cut(before + machine.data_to_send(116.0))
    assert [seen.kind for seen in frames].count(HEARTBEAT) <= 1
    machine.handle_timeout(121.0)
    assert machine.data_to_send(121.0) == HEARTBEAT_FRAME
