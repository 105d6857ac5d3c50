"""From the protocol header to the open connection, and every way in which that can fail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.protocol.machines import (
    START,
    START_OK,
    TUNE,
    TUNE_OK,
    Pair,
    client_in,
    closing,
    cut,
    drained,
    frame,
    machine_in,
    recorded_client,
    recorded_server,
    sent,
    server_in,
)

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.client_handshake import CLIENT_FRAME_MAX_FLOOR, ClientMachine
from fedora_messaging.protocol.connection import CHANNEL_MAX, Limits, Machine
from fedora_messaging.protocol.events import (
    ConnectionEnded,
    ConnectionOpened,
    LoginRequested,
    MethodReceived,
    OpenRequested,
)
from fedora_messaging.protocol.server_handshake import ServerMachine
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import FRAME_MIN, PROTOCOL_HEADER

CAPABLE = {"capabilities": {"authentication_failure_close": True}}
ALL_MECHANISMS = (sasl.PLAIN, sasl.AMQPLAIN, sasl.EXTERNAL, sasl.ANONYMOUS)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


# The ordinary way


def test_both_ends_open() -> None:
    pair = Pair(
        {"client_properties": {"product": "client"}, "vhost": "/"},
        {"server_properties": {"product": "server", "version": "1.2.3"}},
    )
    client, server = pair.take()
    assert names(client) == ["ConnectionOpened"]
    assert names(server) == ["LoginRequested", "OpenRequested", "ConnectionOpened"]
    login, opening = server[:2]
    assert isinstance(login, LoginRequested)
    assert isinstance(opening, OpenRequested)
    assert (login.mechanism, login.response) == ("PLAIN", b"\0guest\0guest")
    assert login.client_properties == pair.server.client_properties == {"product": "client"}
    assert pair.client.server_properties == {"product": "server", "version": "1.2.3"}
    assert opening.vhost == "/"
    assert pair.client.state is pair.server.state is State.OPEN
    assert not pair.client.is_closed


def test_what_travels() -> None:
    client = recorded_client(locale="de_DE", client_properties={"n": 1}, vhost="v")
    server = recorded_server(mechanisms=(sasl.PLAIN, sasl.EXTERNAL), server_properties={"m": 2})
    hello = client.data_to_send(0)
    assert hello == PROTOCOL_HEADER
    server.receive_data(hello, 0)
    start = server.data_to_send(0)
    assert [seen.method for seen in cut(start)] == [
        m.ConnectionStart(0, 9, {"m": 2}, b"PLAIN EXTERNAL", b"en_US")
    ]
    client.receive_data(start, 0)
    start_ok = client.data_to_send(0)
    assert [seen.method for seen in cut(start_ok)] == [
        m.ConnectionStartOk({"n": 1}, "PLAIN", b"\0guest\0guest", "de_DE")
    ]
    server.receive_data(start_ok, 0)
    server.accept_login()
    tune = server.data_to_send(0)
    assert [seen.method for seen in cut(tune)] == [m.ConnectionTune(2047, 131072, 60)]
    client.receive_data(tune, 0)
    # tune-ok and open leave together: nothing has to be waited for.
    tune_ok = client.data_to_send(0)
    assert [seen.method for seen in cut(tune_ok)] == [
        m.ConnectionTuneOk(2047, 131072, 60),
        m.ConnectionOpen("v"),
    ]
    server.receive_data(tune_ok, 0)
    server.accept_open()
    open_ok = server.data_to_send(0)
    assert [seen.method for seen in cut(open_ok)] == [m.ConnectionOpenOk()]
    client.receive_data(open_ok, 0)
    assert names(client.events()) == ["ConnectionOpened"]
    assert client.data_to_send(0) == server.data_to_send(0) == b""


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
def test_every_mechanism(mechanism: str) -> None:
    pair = Pair({"mechanism": mechanism}, {"mechanisms": ALL_MECHANISMS})
    client, server = pair.take()
    assert names(client) == ["ConnectionOpened"]
    assert isinstance(server[0], LoginRequested)
    assert server[0].mechanism == mechanism
    assert server[0].response == sasl.initial_response(mechanism, "guest", "guest")


def test_update_secret() -> None:
    pair = Pair().opened()
    # The client library has no need of it, but others have.
    pair.server.receive_data(frame(0, m.ConnectionUpdateSecret(b"new", "because")), 0)
    _, server = pair.take()
    assert repr(server) == repr([MethodReceived(0, m.ConnectionUpdateSecret(b"new", "because"))])
    pair.server.accept_secret()
    client, _ = pair.take()
    assert repr(client) == repr([MethodReceived(0, m.ConnectionUpdateSecretOk())])


# Login refused


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


def test_the_client_hears_that_the_server_hung_up() -> None:
    pair = Pair({"password": "wrong"})
    pair.take()
    pair.client.peer_vanished("connection reset")
    end = closing(pair.client.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (0, "connection reset", False)


def test_the_server_does_not_know_the_mechanism() -> None:
    server = server_in(State.EXPECT_START_OK)
    server.receive_data(frame(0, m.ConnectionStartOk({}, "KERBEROS", b"", "en_US")), 0)
    end = closing(server.events())
    assert (end.reply_code, end.by_peer) == (0, False)
    assert "'KERBEROS'" in end.reply_text
    assert server.data_to_send(0) == b""


@pytest.mark.parametrize("offered", [b"", b"AMQPLAIN", b"PLAINER EXPLAIN", b"\xff PLAI\xc3N"])
def test_the_client_does_not_find_its_mechanism(offered: bytes) -> None:
    client = client_in(State.EXPECT_START)
    client.receive_data(frame(0, m.ConnectionStart(0, 9, {}, offered, b"en_US")), 0)
    end = closing(client.events())
    assert (end.reply_code, end.by_peer) == (530, False)
    assert "does not offer mechanism PLAIN" in end.reply_text
    assert ("none" in end.reply_text) == (offered == b"")


def test_the_client_has_no_answer_to_a_challenge() -> None:
    client = client_in(State.EXPECT_TUNE)
    client.receive_data(frame(0, m.ConnectionSecure(b"who?")), 0)
    assert closing(client.events()).reply_code == 502
    assert [type(method) for _, method in sent(client)] == [m.ConnectionClose]


# Virtual host refused


def test_unknown_virtual_host() -> None:
    pair = Pair({"vhost": "nope"})
    client, server = pair.take()
    end = closing(client)
    assert (end.reply_code, end.reply_text, end.by_peer) == (530, "NOT_ALLOWED - vhost nope not found", True)
    assert closing(server).by_peer is False
    assert pair.client.is_closed
    assert pair.server.is_closed


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


@pytest.mark.parametrize("version", [b"\x00\x01\x00\x00", b"\x01\x01\x00\x0a", b"\x00\x00\x09\x01"])
def test_the_client_understands_a_server_that_answers_with_a_header(version: bytes) -> None:
    client = recorded_client()
    client.data_to_send(0)
    client.receive_data(b"AMQP" + version + b"whatever", 0)
    end = closing(client.events())
    offered = ".".join(str(byte) for byte in version)
    assert (end.reply_code, end.by_peer) == (0, True)
    assert end.reply_text.endswith(f"offers protocol {offered}")
    assert client.data_to_send(0) == b""


def test_the_client_waits_for_the_whole_answer() -> None:
    client = recorded_client()
    client.receive_data(b"AMQP\x00\x01\x00", 0)
    assert client.events() == []
    client.peer_vanished("reset")
    assert closing(client.events()).reply_text == "reset"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46\x00\x00"]
)
def test_the_client_is_answered_by_something_else(answer: bytes) -> None:
    client = recorded_client()
    client.receive_data(answer, 0)
    end = closing(client.events())
    assert (end.reply_code, end.by_peer) == (501, False)


@pytest.mark.parametrize("version", [(8, 0), (0, 10)])
def test_the_client_refuses_a_start_of_another_version(version: tuple[int, int]) -> None:
    client = client_in(State.EXPECT_START)
    client.receive_data(frame(0, m.ConnectionStart(*version, {}, b"PLAIN", b"en_US")), 0)
    assert client.is_closed
    closing(client.events())


# Tuning


def tuned(tune: m.ConnectionTune, limits: Limits | None = None) -> tuple[Machine, m.ConnectionTuneOk]:
    client = client_in(State.EXPECT_TUNE, limits)
    client.receive_data(frame(0, tune), 0)
    (_, answer), (_, opening) = sent(client)
    assert isinstance(answer, m.ConnectionTuneOk)
    assert opening == m.ConnectionOpen("/")
    assert client.events() == []
    assert (client.channel_max, client.frame_max, client.heartbeat) == (
        answer.channel_max,
        answer.frame_max,
        answer.heartbeat,
    )
    return client, answer


@pytest.mark.parametrize(
    ("proposed", "limit", "agreed"),
    [(2047, 65535, 2047), (2047, 100, 100), (0, 65535, CHANNEL_MAX), (0, 10, 10), (1, 2047, 1)],
)
def test_the_client_takes_the_lower_channel_max(proposed: int, limit: int, agreed: int) -> None:
    _, answer = tuned(m.ConnectionTune(proposed, 131072, 60), Limits(channel_max=limit))
    assert answer.channel_max == agreed


@pytest.mark.parametrize(
    ("proposed", "limit", "agreed"),
    [
        (131072, 131072, 131072),
        (131072, 65536, 65536),
        (65536, 131072, 65536),
        (0, 131072, 131072),
        (0, 65536, 65536),
        (2**32 - 1, 131072, 131072),
    ],
)
def test_the_client_takes_the_lower_frame_max(proposed: int, limit: int, agreed: int) -> None:
    _, answer = tuned(m.ConnectionTune(2047, proposed, 60), Limits(frame_max=limit))
    assert answer.frame_max == agreed


@pytest.mark.parametrize(
    ("proposed", "limit", "agreed"),
    [(60, None, 60), (0, None, 0), (60, 30, 30), (30, 60, 30), (0, 30, 30), (60, 0, 0), (0, 0, 0)],
)
def test_the_client_takes_the_lower_heartbeat(proposed: int, limit: int | None, agreed: int) -> None:
    _, answer = tuned(m.ConnectionTune(2047, 131072, proposed), Limits(heartbeat=limit))
    assert answer.heartbeat == agreed


def test_p29_frame_max_of_8192_is_accepted_and_offered() -> None:
    assert CLIENT_FRAME_MAX_FLOOR == 8192
    _, answer = tuned(m.ConnectionTune(2047, 8192, 60))
    assert answer.frame_max == 8192


@pytest.mark.parametrize("frame_max", [1, 7, 8, 9, 4095, 4096, 8191])
def test_p18_p29_the_client_refuses_a_frame_max_below_8192(frame_max: int) -> None:
    client = client_in(State.EXPECT_TUNE)
    client.receive_data(frame(0, m.ConnectionTune(2047, frame_max, 60)), 0)
    end = closing(client.events())
    assert (end.reply_code, end.by_peer) == (530, False)
    ((_, close),) = sent(client)
    assert isinstance(close, m.ConnectionClose)
    assert (close.reply_code, close.class_id, close.method_id) == (530, *m.ConnectionTune.key)


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


@pytest.mark.parametrize("state", [State.EXPECT_TUNE, State.EXPECT_OPEN_OK])
def test_the_server_closes_during_the_handshake(state: State) -> None:
    client = client_in(state)
    client.receive_data(frame(0, m.ConnectionClose(320, "CONNECTION_FORCED - no", 0, 0)), 0)
    end = closing(client.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (320, "CONNECTION_FORCED - no", True)
    assert sent(client) == [(0, m.ConnectionCloseOk())]


@pytest.mark.parametrize("state", [State.EXPECT_TUNE_OK, State.EXPECT_OPEN, State.OPENING])
def test_the_client_closes_during_the_handshake(state: State) -> None:
    server = server_in(state)
    server.receive_data(frame(0, m.ConnectionClose(200, "bye", 0, 0)), 0)
    end = closing(server.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (200, "bye", True)
    assert sent(server) == [(0, m.ConnectionCloseOk())]


@pytest.mark.parametrize(
    ("role", "state"), [(Role.CLIENT, State.EXPECT_START), (Role.SERVER, State.EXPECT_HEADER)]
)
def test_closing_before_the_peer_has_spoken_needs_no_answer(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    machine.close(320, "stop")
    end = closing(machine.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (320, "CONNECTION_FORCED - stop", False)
    assert machine.data_to_send(0) == b""


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
        {"vhost": "v" * 256},
        {"locale": "l" * 256},
        {"username": "\ud800"},
        {"password": "\ud800", "mechanism": "PLAIN"},
        {"client_properties": {"n": object()}},
        {"client_properties": {"n" * 256: 1}},
        {"limits": Limits(heartbeat=70000)},
    ],
)
def test_a_clients_settings_that_cannot_be_sent_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(EncodingError):
        ClientMachine(now=0, **options)


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


def test_a_user_name_from_the_environment_that_is_not_utf_8_is_sent_as_it_is() -> None:
    username = b"\xff\xfe".decode("utf-8", "surrogateescape")
    response = sasl.initial_response(sasl.PLAIN, username, "p")
    assert sasl.parse_response(sasl.PLAIN, response) == (username, "p")


def test_start_ok_is_not_written_twice() -> None:
    client = drained(client_in(State.EXPECT_TUNE))
    client.receive_data(frame(0, START), 0)
    end = closing(client.events())
    assert end.reply_code == 503
    assert [type(method) for _, method in sent(client)] == [m.ConnectionClose]
    # And what was still to come is not looked at.
    client.receive_data(frame(0, TUNE), 0)
    assert client.events() == []


def test_events_say_what_they_are() -> None:
    assert repr(ConnectionOpened()) == "ConnectionOpened()"
    assert repr(ConnectionEnded(200, "bye", True)) == (
        "ConnectionEnded(by_peer=True, reply_code=200, reply_text='bye')"
    )
