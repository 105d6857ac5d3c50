"""Clients that do not finish their requests: they must not keep others from theirs."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.waiting import WAIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.management.client import Api

#: What a client has sent when it stops.
BEGINNINGS: Final = {
    "nothing": b"",
    "half of the first line": b"GET /api/who",
    "half of the headers": b"GET /api/whoami HTTP/1.1\r\nHost: x\r\nX-A: ",
}


@pytest.fixture
def opened(api: Api) -> Iterator[dict[str, socket.socket]]:
    """A connection for each beginning."""
    made = {}
    try:
        for kind, beginning in BEGINNINGS.items():
            made[kind] = socket.create_connection((api.url.host, api.url.port or 80), WAIT)
            made[kind].sendall(beginning)
        yield made
    finally:
        for connection in made.values():
            connection.close()


def _rest(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(4096):
            received += piece
    except ConnectionResetError:
        pass
    return received


def test_a_request_that_is_not_finished_is_given_up(opened: dict[str, socket.socket], api: Api) -> None:
    answers = {kind: _rest(connection) for kind, connection in opened.items()}
    assert answers["nothing"] == answers["half of the first line"] == b""
    assert answers["half of the headers"].startswith(b"HTTP/1.1 408 ")
    assert api.ask("GET", "whoami").status_code == 200


def test_a_client_that_goes_on_slowly_is_given_up(api: Api) -> None:
    with socket.create_connection((api.url.host, api.url.port or 80), WAIT) as connection:
        connection.sendall(BEGINNINGS["half of the headers"])
        for _ in range(int(40 * WAIT)):
            # Silence of a fortieth of a second, then one more byte of the header.
            if select.select([connection], [], [], 0.025)[0]:
                break
            connection.sendall(b"a")
        else:
            pytest.fail("the server waits for the rest of the header for ever")
        assert _rest(connection)[:13] in (b"HTTP/1.1 408 ", b"")
