"""A broker in memory for tests of the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.support import Client, MemoryServer, SlowJournal

from fedora_messaging.broker import chores, session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def long_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine too, one turn of the loop is enough for all that a test sends at once."""
    for module in (session, chores):
        monkeypatch.setattr(module, "TURN", 3600)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs only when the test lets it."""
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def server(loop: asyncio.AbstractEventLoop) -> MemoryServer:
    """A server without sockets and storage."""
    return MemoryServer(loop)


@pytest.fixture
def client(server: MemoryServer) -> Client:
    """A client of that server with channel 1 open."""
    return Client(server).login()


@pytest.fixture
def journal() -> SlowJournal:
    """A journal that is done only when the test says so."""
    return SlowJournal()


@pytest.fixture
def slow_client(loop: asyncio.AbstractEventLoop, journal: SlowJournal) -> Client:
    """A client of a server with that journal; channel 1 is open."""
    return Client(MemoryServer(loop, journal)).login()
