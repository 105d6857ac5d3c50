"""Accepting connections."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.support.descriptors import none_left

from fedora_messaging.broker import Broker
from fedora_messaging.broker import listener as listener_module
from fedora_messaging.broker.listener import Listener
from fedora_messaging.broker.server import BrokerError, Server

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 30.0


def test_p39_broker_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It pauses, says so once, and serves the client that has waited."""
    pauses: list[socket.socket] = []
    monkeypatch.setattr(listener_module, "_PAUSE", 0.01)
    real = Listener._resume

    def counted(self: Listener, listening: socket.socket) -> None:
        pauses.append(listening)
        real(self, listening)

    monkeypatch.setattr(Listener, "_resume", counted)
    with Broker() as broker, socket.socket() as used:
        used.settimeout(WAIT)
        with none_left():
            used.connect(("127.0.0.1", broker.port))
            used.sendall(b"AMQP\0\0\x09\x01")
            deadline = time.monotonic() + WAIT
            while len(pauses) < 3:
                assert time.monotonic() < deadline, "the broker does not pause"
                time.sleep(0.01)
        # connection.start: class 10, method 10
        assert used.recv(4096)[7:11] == b"\0\x0a\0\x0a"
    told = [record.getMessage() for record in caplog.records if "Too many open files" in record.getMessage()]
    assert told == [
        "No connection can be accepted at the moment: Too many open files; raise the limit (ulimit -n)"
    ]
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("turns", range(4))
def test_connection_that_comes_while_the_listener_closes_is_closed(turns: int) -> None:
    """However far its acceptance has come, the client reads the end, and no socket is left open."""

    async def main() -> None:
        server = Server()
        await server.start(port=0)
        with socket.socket() as client:
            client.settimeout(WAIT)
            client.connect(("127.0.0.1", server.port))
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(main())
        gc.collect()
    assert [str(one.message) for one in caught] == []


async def start(path: Path) -> Server:
    server = Server()
    await server.start(port=0, unix_path=str(path))
    return server


def refusal(path: Path) -> str:
    """Why a broker cannot listen on a Unix socket."""
    with pytest.raises(BrokerError) as caught:
        asyncio.run(start(path))
    return str(caught.value)


def test_unix_socket_in_use_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "broker"

    async def main() -> None:
        server = await start(path)
        with pytest.raises(BrokerError) as caught:
            await start(path)
        assert str(caught.value) == (
            f"{path} is in use already: stop what listens there, or choose another path."
        )
        await server.stop()
        # What the first has left is used again.
        await (await start(path)).stop()

    asyncio.run(main())


def test_path_of_a_unix_socket_that_cannot_be_used(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "broker"
    assert refusal(missing) == f"Cannot listen on {missing}: No such file or directory"
    assert refusal(tmp_path) == f"Cannot listen on {tmp_path}: there is something else than a socket"
    long = tmp_path / ("x" * 200)
    assert refusal(long) == f"Cannot listen on {long}: AF_UNIX path too long"
