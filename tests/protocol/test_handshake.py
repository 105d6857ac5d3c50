"""From the protocol header to the open connection, with both ends of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.protocol.machines import (
    Pair,
    closing,
    cut,
    machine_in,
    recorded_client,
    recorded_server,
)

from fedora_messaging.protocol import sasl
from fedora_messaging.protocol.events import (
    LoginRequested,
    OpenRequested,
)
from fedora_messaging.protocol.states import Role, State
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.frames import PROTOCOL_HEADER

ALL_MECHANISMS = (sasl.PLAIN, sasl.AMQPLAIN, sasl.EXTERNAL, sasl.ANONYMOUS)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


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


def test_the_client_hears_that_the_server_hung_up() -> None:
    pair = Pair({"password": "wrong"})
    pair.take()
    pair.client.peer_vanished("connection reset")
    end = closing(pair.client.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (0, "connection reset", False)


def test_unknown_virtual_host() -> None:
    pair = Pair({"vhost": "nope"})
    client, server = pair.take()
    end = closing(client)
    assert (end.reply_code, end.reply_text, end.by_peer) == (530, "NOT_ALLOWED - vhost nope not found", True)
    assert closing(server).by_peer is False
    assert pair.client.is_closed
    assert pair.server.is_closed


@pytest.mark.parametrize(
    ("role", "state"), [(Role.CLIENT, State.EXPECT_START), (Role.SERVER, State.EXPECT_HEADER)]
)
def test_closing_before_the_peer_has_spoken_needs_no_answer(role: Role, state: State) -> None:
    machine = machine_in(role, state)
    machine.close(320, "stop")
    end = closing(machine.events())
    assert (end.reply_code, end.reply_text, end.by_peer) == (320, "CONNECTION_FORCED - stop", False)
    assert machine.data_to_send(0) == b""
