"""Connections that have not logged in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.broker.support import Client, MemoryServer
from tests.unit.client.support import event_loop

from fedora_messaging.broker import strangers as module
from fedora_messaging.broker.strangers import Strangers
from fedora_messaging.wire import frames as f
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.broker.support import Told

CAPABLE: dict[str, Any] = {"capabilities": {"authentication_failure_close": True}}


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    """The clock."""
    return Time()


@pytest.fixture
def strangers(time: Time) -> Strangers:
    """The connections, none yet."""
    return Strangers(time)


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """A broker in a loop that never waits."""
    loop = event_loop()
    yield MemoryServer(loop)
    loop.close()


def guess(server: MemoryServer) -> tuple[Client, list[Told]]:
    """Log in with a wrong password; what the broker says at once."""
    client = Client(server)
    client.feed(f.PROTOCOL_HEADER)
    return client, client.send(m.ConnectionStartOk(CAPABLE, "PLAIN", b"\0guest\0no", "en_US"), channel=0)


def test_first_refusals_are_told_at_once(strangers: Strangers) -> None:
    assert [strangers.delay_of_refusal("192.0.2.1") for _ in range(12)] == [0.0] * 10 + [3.0] * 2
    assert strangers.delay_of_refusal("192.0.2.2") == 0.0


def test_refusals_are_forgotten_after_a_minute(strangers: Strangers, time: Time) -> None:
    for _ in range(10):
        strangers.delay_of_refusal(None)
    time.now = 59.9
    assert strangers.delay_of_refusal(None) == 3.0
    time.now = 60.0
    assert [strangers.delay_of_refusal(None) for _ in range(11)] == [0.0] * 10 + [3.0]


def test_addresses_that_are_remembered_are_bounded(strangers: Strangers) -> None:
    for _ in range(10):
        strangers.delay_of_refusal("first")
    for number in range(1024):
        strangers.delay_of_refusal(f"other {number}")
    assert len(strangers._refused) == 1024
    assert strangers.delay_of_refusal("first") == 0.0


def test_client_that_guesses_waits_for_its_refusal(server: MemoryServer) -> None:
    for _ in range(10):
        client, told = guess(server)
        assert isinstance(told[0].method, m.ConnectionClose)
    client, told = guess(server)
    assert told == []
    server.loop.run_until_complete(asyncio.sleep(3))
    (late,) = client.told()
    assert isinstance(late.method, m.ConnectionClose)
    assert late.method.reply_code == 403


def test_right_password_is_not_delayed(server: MemoryServer) -> None:
    for _ in range(20):
        guess(server)
    Client(server).login()


def test_oldest_of_too_many_is_cut(
    server: MemoryServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    known = Client(server).login()
    clients = [Client(server) for _ in range(5)]
    assert [client.pipe.is_closing() for client in clients] == [True, True, False, False, False]
    assert not known.pipe.is_closing()
    text = (
        "4 connections have not logged in: the oldest, from a Unix socket, is cut, and so are others while "
        "there are so many"
    )
    assert caplog.messages == [text]
    clients[-1].login()
    clients[-2].pipe.close()
    assert len(server.strangers._waiting) == 1
    # The next flood is told again.
    for _ in range(3):
        Client(server)
    assert caplog.messages == [text, text]
