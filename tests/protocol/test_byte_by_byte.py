"""Every conversation again in pieces: where the network cuts must not matter.

The conversations of all other tests in this directory that use a pair are fed byte by byte, too: see
``conftest.py``. Those here are fed in pieces of many sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzz.fuzz_codec import CONVERSATIONS, answer, fresh, talk
from tests.protocol import machines
from tests.protocol.machines import (
    PUBLISH,
    START,
    Pair,
    body,
    frame,
    header,
    recorded_client,
    recorded_server,
)

from fedora_messaging.protocol.connection import Limits, Machine
from fedora_messaging.protocol.states import Role
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import HEARTBEAT_FRAME, PROTOCOL_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 13, 64, 1000]
CAPABLE = {"capabilities": {"authentication_failure_close": True}}


def handshake() -> None:
    Pair().opened()


def refused_login() -> None:
    Pair({"password": "wrong", "client_properties": CAPABLE}).take()


def silently_refused_login() -> None:
    Pair({"password": "wrong"}).take()


def unknown_virtual_host() -> None:
    Pair({"vhost": "nope"}).take()


def unknown_mechanism() -> None:
    Pair({"mechanism": "EXTERNAL"}).take()


def tuning_refused() -> None:
    Pair({}, {"limits": Limits(frame_max=4096)}).take()


def foreign_client() -> None:
    recorded_server().receive_data(b"GET / HTTP/1.1\r\n\r\n", 0)


def newer_client() -> None:
    recorded_server().receive_data(b"AMQP\x00\x01\x00\x00" + bytes(20), 0)


def newer_server() -> None:
    recorded_client().receive_data(b"AMQP\x00\x01\x00\x00" + bytes(20), 0)


def almost_a_header_from_the_server() -> None:
    recorded_client().receive_data(b"AMQ\x00\x00\x00\x00\x00\x00", 0)


def publishing_and_consuming() -> None:
    pair = Pair().opened(1, 2)
    for method in (m.QueueDeclare("q"), m.BasicConsume("q", "c"), m.ConfirmSelect()):
        pair.client.send_method(1, method)
    pair.take()
    for reply in (m.QueueDeclareOk("q"), m.BasicConsumeOk("c"), m.ConfirmSelectOk()):
        pair.server.send_method(1, reply)
    for size in (0, 1, 300):
        pair.client.send_content(2, PUBLISH.encode(), b"\x08\x00\x05", bytes(size))
        deliver = m.BasicDeliver("c", size + 1, False, "e", "k").encode()
        pair.server.send_content(1, deliver, b"\x00\x00", b"\xce" * size)
        pair.server.send_method(1, m.BasicAck(size + 1, True))
    client, server = pair.take()
    assert (len(client), len(server)) == (9, 3)


def channels_closed_by_either_and_both() -> None:
    pair = Pair().opened(1, 2, 3)
    pair.client.close_channel(1)
    pair.server.close_channel(2, 404, "NOT_FOUND - x", m.QueueDeclare)
    pair.client.close_channel(3)
    pair.server.close_channel(3, 406, "PRECONDITION_FAILED - x")
    pair.take()
    pair.client.open_channel(3)
    pair.take()


def connection_closed_by_both() -> None:
    pair = Pair().opened(1)
    pair.client.close(200, "bye")
    pair.server.close(320, "shutdown")
    pair.take()


def body_too_large() -> None:
    pair = Pair({}, {"limits": Limits(channel_max=9, max_body=10)}).opened(1)
    pair.client.send_content(1, PUBLISH.encode(), b"\x00\x00", b"x" * 11)
    pair.client.send_method(1, m.BasicAck(1))
    _, server = pair.take()
    assert len(server) == 2


def odd_pieces_of_a_body() -> None:
    server = Pair().opened(1).server
    data = frame(1, PUBLISH) + header(1, 4) + body(1, b"") + body(1, b"a") + body(1, b"") + body(1, b"bcd")
    server.receive_data(data + HEARTBEAT_FRAME + frame(1, m.BasicAck(1)), 0)


def violation_in_the_middle() -> None:
    pair = Pair().opened(1)
    pair.server.receive_data(frame(1, m.BasicAck(1)) + frame(9, m.BasicAck(1)) + frame(1, m.BasicAck(2)), 0)
    pair.take()


def wrong_end_octet() -> None:
    server = recorded_server()
    server.receive_data(PROTOCOL_HEADER + frame(0, machines.START_OK)[:-1] + b"\x00" + bytes(50), 0)


def frame_too_large() -> None:
    client = recorded_client()
    client.receive_data(frame(0, START) + b"\x03\x00\x01\x7f\xff\xff\xff" + bytes(50), 0)


def garbage_while_closing() -> None:
    pair = Pair().opened(1)
    pair.client.close()
    pair.client.receive_data(frame(1, m.BasicAck(1)) + b"\xff" * 20, 0)


EACH = [
    handshake,
    refused_login,
    silently_refused_login,
    unknown_virtual_host,
    unknown_mechanism,
    tuning_refused,
    foreign_client,
    newer_client,
    newer_server,
    almost_a_header_from_the_server,
    publishing_and_consuming,
    channels_closed_by_either_and_both,
    connection_closed_by_both,
    body_too_large,
    odd_pieces_of_a_body,
    violation_in_the_middle,
    wrong_end_octet,
    frame_too_large,
    garbage_while_closing,
]


@pytest.mark.parametrize("conversation", EACH, ids=[conversation.__name__ for conversation in EACH])
def test_pieces_of_any_size_say_the_same(conversation: Callable[[], None]) -> None:
    conversation()
    assert any(recording.heard().events for recording in machines.recordings)
    for recording in machines.recordings:
        heard = recording.heard()
        for size in SIZES:
            assert recording.replay(size) == heard


@pytest.mark.parametrize("role", list(Role))
def test_a_long_conversation_in_pieces_of_any_size(role: Role) -> None:
    def heard(size: int) -> tuple[list[str], bytes]:
        machine = fresh(role)
        steps = []
        for step in CONVERSATIONS[role]:
            steps += [step[at : at + size] for at in range(0, len(step), size)]
        events, data = [], b""
        for now, step in enumerate(steps):
            events += talk_once(machine, step)
            data += machine.data_to_send(float(now))
        return events, data

    expected = heard(1 << 20)
    assert len(expected[0]) > 10
    for size in range(1, 40):
        assert heard(size) == expected


def talk_once(machine: Machine, step: bytes) -> list[str]:
    """Feed one piece; the owner's answers are the fuzzer's."""
    machine.receive_data(step, 0.0)
    happened = []
    while events := machine.events():
        for event in events:
            happened.append(repr(event))
            answer(machine, event)
    return happened


def test_the_fuzzers_conversations_end_orderly() -> None:
    for role, steps in CONVERSATIONS.items():
        machine = fresh(role)
        talk(machine, steps)
        assert machine.is_closed
