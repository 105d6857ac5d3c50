"""The server's steps of the handshake, every way in which they can fail, and its notices."""

from __future__ import annotations

from typing import Any

import pytest
from tests.protocol.machines import (
    START_OK,
    TUNE_OK,
    Pair,
    closing,
    frame,
    recorded_server,
    sent,
    server_in,
)

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.connection import Limits
from fedora_messaging.protocol.events import (
    MethodReceived,
)
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import FRAME_MIN, PROTOCOL_HEADER

CAPABLE = {"capabilities": {"authentication_failure_close": True}}


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


# Versions


@pytest.mark.parametrize(
    "hello",
    [
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x01\x01\x08\x00",
        b"AMQP\x03\x01\x00\x00",
        b"AMQP\x00\x00\x09\x00",
        b"GET / HT",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\x00",
        b"A\x00",
        PROTOCOL_HEADER[:7] + b"\x00",
    ],
)
def test_the_server_answers_a_foreign_header_with_its_own(hello: bytes) -> None:
    server = recorded_server()
    server.receive_data(hello + b"more that nobody reads", 0)
    end = closing(server.events())
    assert (end.reply_code, end.by_peer) == (0, True)
    assert server.data_to_send(0) == PROTOCOL_HEADER
    server.receive_data(PROTOCOL_HEADER, 0)
    assert server.events() == []


def test_the_server_waits_for_the_whole_header() -> None:
    server = recorded_server()
    for byte in PROTOCOL_HEADER[:-1]:
        server.receive_data(bytes((byte,)), 0)
        assert server.state is State.EXPECT_HEADER
        assert server.data_to_send(0) == b""
    server.receive_data(PROTOCOL_HEADER[-1:], 0)
    assert [type(method) for _, method in sent(server)] == [m.ConnectionStart]


def test_the_server_reads_what_follows_the_header() -> None:
    server = recorded_server()
    server.receive_data(PROTOCOL_HEADER + frame(0, START_OK), 0)
    assert names(server.events()) == ["LoginRequested"]


# Logging in


@pytest.mark.parametrize("mechanism", [sasl.PLAIN, sasl.AMQPLAIN])
def test_a_capable_client_is_told_of_a_refused_login(mechanism: str) -> None:
    pair = Pair({"mechanism": mechanism, "password": "wrong", "client_properties": CAPABLE})
    client, server = pair.take()
    end = closing(client)
    text = (
        f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
    )
    assert (end.reply_code, end.reply_text, end.by_peer) == (403, f"ACCESS_REFUSED - {text}", True)
    assert pair.server.closes_on_refusal
    end = closing(server)
    assert (end.reply_code, end.by_peer) == (403, False)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"capabilities": {}},
        {"capabilities": {"authentication_failure_close": False}},
        {"capabilities": {"authentication_failure_close": "yes"}},
        {"capabilities": "authentication_failure_close"},
    ],
)
def test_other_clients_hear_nothing_of_a_refused_login(properties: dict[str, Any]) -> None:
    pair = Pair({"password": "wrong", "client_properties": properties})
    client, server = pair.take()
    assert client == []
    assert not pair.server.closes_on_refusal
    end = closing(server)
    assert (end.reply_code, end.by_peer) == (0, False)
    assert "Login was refused using authentication mechanism PLAIN" in end.reply_text
    assert pair.server.is_closed


def test_the_server_does_not_know_the_mechanism() -> None:
    server = server_in(State.EXPECT_START_OK)
    server.receive_data(frame(0, m.ConnectionStartOk({}, "KERBEROS", b"", "en_US")), 0)
    end = closing(server.events())
    assert (end.reply_code, end.by_peer) == (0, False)
    assert "'KERBEROS'" in end.reply_text
    assert server.data_to_send(0) == b""


# Tuning


def test_the_server_takes_lower_values() -> None:
    server = server_in(State.EXPECT_TUNE_OK)
    server.receive_data(frame(0, m.ConnectionTuneOk(1, FRAME_MIN, 0)), 0)
    assert server.events() == []
    assert (server.channel_max, server.frame_max, server.heartbeat) == (1, FRAME_MIN, 0)
    assert server.next_deadline() is None


def test_the_server_proposes_what_it_was_given() -> None:
    server = server_in(State.AUTHENTICATING, Limits(channel_max=5, frame_max=9000, heartbeat=None))
    server.accept_login()
    assert sent(server) == [(0, m.ConnectionTune(5, 9000, 0))]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            m.ConnectionTuneOk(0, 131072, 60),
            "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
        ),
        (
            m.ConnectionTuneOk(2048, 131072, 60),
            "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            m.ConnectionTuneOk(2047, 131073, 60),
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (m.ConnectionTuneOk(2047, 0, 60), "negotiated frame_max = 0"),
        (
            m.ConnectionTuneOk(2047, 4095, 60),
            "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
        (m.ConnectionTuneOk(2047, 1, 60), "negotiated frame_max = 1 is lower"),
    ],
)
def test_p18_the_server_refuses_values_outside_of_its_limits(answer: m.ConnectionTuneOk, text: str) -> None:
    server = server_in(State.EXPECT_TUNE_OK)
    server.receive_data(frame(0, answer), 0)
    end = closing(server.events())
    assert end.reply_code == 530
    assert end.reply_text.startswith(f"NOT_ALLOWED - {text}")
    ((_, close),) = sent(server)
    assert isinstance(close, m.ConnectionClose)
    assert (close.reply_code, close.class_id, close.method_id) == (530, *m.ConnectionTuneOk.key)


# Breaking off


@pytest.mark.parametrize("state", [State.EXPECT_TUNE_OK, State.EXPECT_OPEN, State.OPENING])
def test_the_client_closes_during_the_handshake(state: State) -> None:
    server = server_in(state)
    server.receive_data(frame(0, m.ConnectionClose(200, "bye", 0, 0)), 0)
    end = closing(server.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (200, "bye", True)
    assert sent(server) == [(0, m.ConnectionCloseOk())]


# An owner gets its events some time after they happened: the peer may be gone by then.


@pytest.mark.parametrize("answer", ["accept_login", "refuse_login"])
def test_answers_to_a_login_do_nothing_when_the_client_broke_off_meanwhile(answer: str) -> None:
    server = server_in(State.EXPECT_START_OK)
    server.receive_data(frame(0, START_OK) + frame(0, TUNE_OK), 0)
    assert names(server.events()) == ["LoginRequested", "ConnectionEnded"]
    server.data_to_send(0)
    arguments = ("PLAIN",) if answer == "refuse_login" else ()
    getattr(server, answer)(*arguments)
    assert (server.events(), server.data_to_send(0)) == ([], b"")


def test_answers_to_an_open_do_nothing_when_the_client_broke_off_meanwhile() -> None:
    server = server_in(State.EXPECT_OPEN)
    server.receive_data(frame(0, m.ConnectionOpen("/")) + frame(0, m.ConnectionOpen("/")), 0)
    assert names(server.events()) == ["OpenRequested", "ConnectionEnded"]
    server.data_to_send(0)
    server.accept_open()
    assert (server.events(), server.data_to_send(0)) == ([], b"")


def test_answers_to_a_new_secret_do_nothing_when_the_client_broke_off_meanwhile() -> None:
    server = server_in(State.OPEN)
    server.receive_data(
        frame(0, m.ConnectionUpdateSecret(b"s")) + frame(0, m.ConnectionClose(200, "", 0, 0)), 0
    )
    assert names(server.events()) == ["MethodReceived", "ConnectionEnded"]
    server.data_to_send(0)
    server.accept_secret()
    assert (server.events(), server.data_to_send(0)) == ([], b"")


# The owner's own mistakes


@pytest.mark.parametrize("call", ["accept_login", "refuse_login", "accept_open", "accept_secret"])
def test_answers_that_nobody_asked_for(call: str) -> None:
    server = server_in(State.EXPECT_START_OK)
    arguments = ("PLAIN",) if call == "refuse_login" else ()
    with pytest.raises(RuntimeError, match="not in state .* but EXPECT_START_OK"):
        getattr(server, call)(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"server_properties": {"n": object()}},
        {"server_properties": {"n" * 256: 1}},
    ],
)
def test_a_servers_settings_that_cannot_be_sent_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(EncodingError):
        ServerMachine(now=0, **options)


# Notices


def test_update_secret() -> None:
    pair = Pair().opened()
    # The client library has no need of it, but others have.
    pair.server.receive_data(frame(0, m.ConnectionUpdateSecret(b"new", "because")), 0)
    _, server = pair.take()
    assert repr(server) == repr([MethodReceived(0, m.ConnectionUpdateSecret(b"new", "because"))])
    pair.server.accept_secret()
    client, _ = pair.take()
    assert repr(client) == repr([MethodReceived(0, m.ConnectionUpdateSecretOk())])


def test_client_is_told() -> None:
    pair = Pair().opened(1)
    pair.server.block("low on memory")
    pair.server.unblock()
    told, _ = pair.take()
    methods = [event.method for event in told if isinstance(event, MethodReceived)]
    assert [type(method) for method in methods] == [m.ConnectionBlocked, m.ConnectionUnblocked]
    assert isinstance(methods[0], m.ConnectionBlocked)
    assert methods[0].reason == "low on memory"


def test_client_that_has_gone_is_not_told() -> None:
    for state in (State.CLOSING, State.CLOSED):
        machine = server_in(state)
        machine.data_to_send(0.0)
        machine.block("low on memory")
        machine.unblock()
        assert machine.data_to_send(0.0) == b""
