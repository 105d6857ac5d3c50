"""Accepting connections."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from tests.support.descriptors import none_left

from fedora_messaging.broker import Broker
from fedora_messaging.broker import listener as listener_module

if TYPE_CHECKING:
    import pytest

WAIT = 30.0


def test_p39_broker_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It pauses, says so once, and serves the client that has waited."""
    pauses: list[float] = []
    monkeypatch.setattr(listener_module, "_PAUSE", 0.01)
    real = asyncio.sleep

    async def counted(seconds: float) -> None:
        pauses.append(seconds)
        await real(seconds)

    with Broker() as broker, socket.socket() as used:
        used.settimeout(WAIT)
        with none_left():
            monkeypatch.setattr(asyncio, "sleep", counted)
            used.connect(("127.0.0.1", broker.port))
            used.sendall(b"AMQP\0\0\x09\x01")
            deadline = time.monotonic() + WAIT
            while len(pauses) < 3:
                assert time.monotonic() < deadline, "the broker does not pause"
                time.sleep(0.01)
            monkeypatch.undo()
        # connection.start: class 10, method 10
        assert used.recv(4096)[7:11] == b"\0\x0a\0\x0a"
    told = [record.getMessage() for record in caplog.records if "Too many open files" in record.getMessage()]
    assert told == [
        "No connection can be accepted at the moment: Too many open files; raise the limit (ulimit -n)"
    ]
    assert not [record for record in caplog.records if record.name == "asyncio"]
