"""The client's steps of the handshake, and every way in which they can fail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.protocol.machines import (
    START,
    TUNE,
    client_in,
    closing,
    drained,
    frame,
    recorded_client,
    sent,
)

from fedora_messaging.exceptions import EncodingError
from fedora_messaging.protocol.client_handshake import CLIENT_FRAME_MAX_FLOOR, ClientMachine
from fedora_messaging.protocol.connection import CHANNEL_MAX, Limits, Machine
from fedora_messaging.protocol.states import State
from fedora_messaging.wire import methods as m

# Versions


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


# Logging in


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


def test_start_ok_is_not_written_twice() -> None:
    client = drained(client_in(State.EXPECT_TUNE))
    client.receive_data(frame(0, START), 0)
    end = closing(client.events())
    assert end.reply_code == 503
    assert [type(method) for _, method in sent(client)] == [m.ConnectionClose]
    # And what was still to come is not looked at.
    client.receive_data(frame(0, TUNE), 0)
    assert client.events() == []


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


# Breaking off


@pytest.mark.parametrize("state", [State.EXPECT_TUNE, State.EXPECT_OPEN_OK])
def test_the_server_closes_during_the_handshake(state: State) -> None:
    client = client_in(state)
    client.receive_data(frame(0, m.ConnectionClose(320, "CONNECTION_FORCED - no", 0, 0)), 0)
    end = closing(client.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (320, "CONNECTION_FORCED - no", True)
    assert sent(client) == [(0, m.ConnectionCloseOk())]


# The owner's own mistakes


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
