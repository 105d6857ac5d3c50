"""Long work is done in portions, and every client has its turn in between.

The clock of these tests advances by one millisecond whenever somebody looks at it, so a turn has a few steps.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest
from tests.unit.broker.support import Client, MemoryServer, publish

from fedora_messaging.broker import chores, session
from fedora_messaging.broker.chores import Chores
from fedora_messaging.broker.core.declarations import QueueDeclaration
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.broker.support import Told

    from fedora_messaging.broker.core.queue import Queue

#: More steps than a few turns have.
MANY = 300


@pytest.fixture(autouse=True)
def ticking_clock(long_turns: None, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the clock advance by a millisecond at each look, and turns five milliseconds long."""
    ticks = count()
    monkeypatch.setattr(loop, "time", lambda: next(ticks) / 1000)
    for module in (chores, session):
        monkeypatch.setattr(module, "TURN", 0.005)


@pytest.fixture
def queue(server: MemoryServer) -> Queue:
    """Queue q of the server."""
    return server.vhosts["/"].declare_queue(QueueDeclaration("q"), owner=None)


def names(told: list[Told]) -> list[str]:
    return [one.method.name for one in told]


def until_quiet(client: Client) -> list[Told]:
    """Return all that the broker says from now on."""
    told: list[Told] = []
    silent = 0
    while silent < 5:
        said = client.told()
        silent = 0 if said else silent + 1
        told += said
    return told


def fill(client: Client, messages: int = MANY) -> None:
    """Publish numbered messages to q."""
    client.feed(b"".join(publish("", "q", b"%d" % number) for number in range(messages)))
    until_quiet(client)
    assert len(client.session.vhost.queues["q"]) == messages


def bodies(told: list[Told]) -> list[int]:
    return [int(one.body) for one in told if isinstance(one.method, m.BasicDeliver)]


# Chores


def steps(done: list[str], name: str, number: int) -> Iterator[None]:
    for _ in range(number):
        done.append(name)
        yield


def run_turns(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(100):
        loop.run_until_complete(asyncio.sleep(0))


def test_short_work_is_done_at_once(loop: asyncio.AbstractEventLoop) -> None:
    done: list[str] = []
    Chores(loop).run(steps(done, "a", 3))
    assert done == ["a"] * 3


def test_long_works_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    done: list[str] = []
    made = Chores(loop)
    for name in "ab":
        made.run(steps(done, name, 20))
    assert 2 <= len(done) < 20
    run_turns(loop)
    assert (done.count("a"), done.count("b")) == (20, 20)
    assert done[-20:].count("a") < 20 > done[-20:].count("b")


def test_work_is_finished_when_the_broker_stops(loop: asyncio.AbstractEventLoop) -> None:
    done: list[str] = []
    made = Chores(loop)
    made.run(steps(done, "a", 100))
    made.finish()
    assert len(done) == 100
    run_turns(loop)


def test_failure_of_one_work_does_not_touch_others(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    made = Chores(loop)

    def failing() -> Iterator[None]:
        yield from steps(done, "a", 10)
        raise LookupError

    made.run(failing())
    made.run(steps(done, "b", 20))
    with caplog.at_level(logging.ERROR):
        made.finish()
    assert done.count("b") == 20
    assert "Internal error" in caplog.text


# Methods with much work


def test_others_have_their_turn_during_a_purge(server: MemoryServer, client: Client, queue: Queue) -> None:
    """The message that comes meanwhile stays, and no byte is left of the others."""
    other = Client(server).login()
    fill(client)
    assert client.send(m.QueuePurge("q")) == []
    other.feed(publish("", "q", b"7"))
    assert names(other.send(m.BasicGet("q"))) == ["basic.get-ok"]
    assert [one.method for one in until_quiet(client)] == [m.QueuePurgeOk(MANY)]
    other.send(m.BasicAck(1))
    assert (len(queue), queue.ready_bytes, server.memory.bytes) == (0, 0, 0)


def test_messages_come_back_in_order_although_others_publish_meanwhile(
    server: MemoryServer, client: Client, queue: Queue
) -> None:
    other = Client(server).login()
    fill(client)
    client.send(m.BasicConsume("q", "t"))
    until_quiet(client)
    assert queue.unacked == MANY
    assert client.send(m.BasicNack(0, True, True)) == []
    other.feed(publish("", "q", b"%d" % MANY))
    assert names(other.send(m.QueueDeclare("q", passive=True))) == ["queue.declare-ok"]
    assert 0 < queue.unacked < MANY
    assert bodies(until_quiet(client)) == list(range(MANY + 1))


def test_commit_lets_others_in_and_is_answered_at_its_end(
    server: MemoryServer, client: Client, queue: Queue
) -> None:
    other = Client(server).login()
    client.send(m.TxSelect())
    client.feed(b"".join(publish("", "q", b"%d" % number) for number in range(MANY)))
    until_quiet(client)
    assert client.send(m.TxCommit()) == []
    assert names(other.send(m.QueueDeclare("q", passive=True))) == ["queue.declare-ok"]
    assert 0 < len(queue) < MANY
    assert names(until_quiet(client)) == ["tx.commit-ok"]
    assert len(queue) == MANY


def test_commit_is_whole_although_the_client_leaves(
    server: MemoryServer, client: Client, queue: Queue
) -> None:
    """The messages after the socket's end are neither lost nor told to anybody."""
    client.send(m.TxSelect())
    client.feed(publish("", "q") * MANY + publish("", "none", mandatory=True))
    until_quiet(client)
    client.send(m.TxCommit())
    assert 0 < len(queue) < MANY
    client.session.abort()
    until_quiet(client)
    assert len(queue) == MANY


def test_messages_of_a_client_that_leaves_come_back_in_portions(
    server: MemoryServer, client: Client, queue: Queue
) -> None:
    other = Client(server).login()
    fill(client)
    client.send(m.BasicConsume("q", "t"))
    until_quiet(client)
    client.session.abort()
    assert 0 < len(queue) < MANY
    told = other.send(m.BasicConsume("q", "other")) + until_quiet(other)
    assert bodies(told) == list(range(MANY))


def test_queue_is_trimmed_in_portions(server: MemoryServer, client: Client, queue: Queue) -> None:
    """A policy may ask for the end of any number of messages at once."""
    fill(client)
    queue.reconfigure(replace(queue.arguments, max_length=10))
    assert 10 < len(queue) < MANY
    until_quiet(client)
    assert len(queue) == 10


def test_error_in_the_middle_of_the_work_closes_the_channel(
    client: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)

    def forget(entry: object) -> None:
        raise LookupError

    monkeypatch.setattr(queue, "forget", forget)
    assert names(client.send(m.QueuePurge("q"))) == ["connection.close"]


def test_queue_delivers_after_an_error_in_the_middle_of_the_work(
    server: MemoryServer, client: Client, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Client(server).login()
    fill(client)
    client.send(m.BasicConsume("q", "t"))
    until_quiet(client)

    def settle(*_: object) -> None:
        raise LookupError

    with monkeypatch.context() as patched:
        patched.setattr(queue, "settle", settle)
        assert names(client.send(m.BasicAck(0, True))) == ["connection.close"]
    told = other.send(m.BasicConsume("q", "other")) + other.feed(publish("", "q", b"7"))
    assert bodies(told + until_quiet(other))[-1:] == [7]


def test_exclusive_queues_go_in_portions(server: MemoryServer, client: Client) -> None:
    other = Client(server).login()
    for number in range(MANY):
        client.send(m.QueueDeclare(f"q{number}", exclusive=True))
    client.session.abort()
    assert names(other.send(m.QueueDeclare("mine"))) == ["queue.declare-ok"]
    assert 1 < len(server.vhosts["/"].queues) < MANY
    until_quiet(other)
    for _ in range(MANY):
        other.told()
    assert list(server.vhosts["/"].queues) == ["mine"]


def test_chores_of_chores_take_turns_with_the_others(loop: asyncio.AbstractEventLoop) -> None:
    """However many there are, one turn of the loop has one portion of them, and what that begins."""
    done: list[str] = []
    made = Chores(loop)

    def bringing() -> Iterator[None]:
        for _ in range(20):
            made.run(steps(done, "b", 8))
            yield

    made.run(bringing())
    for _ in range(10):
        loop.run_until_complete(asyncio.sleep(0))
    before = len(done)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(done) - before <= 12
    made.finish()
    assert len(done) == 160


def test_queue_is_not_deaf_while_an_alarm_holds_up_who_gives_messages_back(
    server: MemoryServer, client: Client, queue: Queue
) -> None:
    """Otherwise nobody could empty it, and the alarm would not end."""
    other = Client(server).login()
    fill(client)
    client.send(m.BasicConsume("q", "t"))
    until_quiet(client)
    client.send(m.BasicCancel("t"))
    client.send(m.BasicNack(0, True, True))
    assert 0 < queue.unacked < MANY
    server.faults.block()
    assert client.session.blocked is not None
    told = other.send(m.BasicConsume("q", "other")) + until_quiet(other)
    assert bodies(told) == list(range(MANY))
