"""The disk of a broker is full or breaks, at each operation: nothing is confirmed that is not safe."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.faults.storage.disk import Crash, Disk, Point, write
from tests.faults.storage.restart import start
from tests.faults.storage.run import Crashes, choose, failure_of, hurried, record
from tests.faults.storage.vfs import (
    FULL,
    IOERR_FSYNC,
    IOERR_WRITE,
    Failure,
    Kind,
    Recording,
    recorded,
    why_not,
)
from tests.faults.storage.witness import Witness
from tests.protocol.machines import frame
from tests.support.servers import require
from tests.unit.broker.support import publish

from fedora_messaging.broker.server import BrokerError
from fedora_messaging.protocol.errors import INTERNAL_ERROR
from fedora_messaging.wire import methods as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fedora_messaging.broker.server import Server

LOG = "broker.sqlite-wal"
#: SQLite's code for a file whose content cannot be.
CORRUPT = 11


@pytest.fixture(autouse=True)
def files_can_be_recorded() -> None:
    reason = why_not()
    require(reason is None, "A layer below SQLite", str(reason))


class Brokers:
    """Brokers in one event loop that do not outlive a test."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: list[Server] = []

    def start(self, directory: Path) -> Server:
        """Start one.

        Raises:
            BrokerError: It refuses to start.
        """
        server = start(directory, self._loop)
        self._running.append(server)
        return server

    def stop(self, server: Server) -> None:
        """Stop one.

        Raises:
            BrokerError: Not everything was written.
        """
        self._running.remove(server)
        self._loop.run_until_complete(server.stop())

    def stop_all(self) -> None:
        for server in list(self._running):
            with suppress(BrokerError):
                self.stop(server)


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    with closing(asyncio.new_event_loop()) as loop:
        made = Brokers(loop)
        yield made
        made.stop_all()


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    """A recorded directory; the broker in it tries again at once what has failed."""
    place = tmp_path / "data"
    place.mkdir()
    made = Recording(place)
    with recorded(made), hurried():
        yield made


def confirming(server: Server) -> Witness:
    """A client that publishes with confirms."""
    witness = Witness(server).login(1)
    witness.ask(m.ConfirmSelect(), m.ConfirmSelectOk)
    return witness


def fill(recording: Recording, brokers: Brokers, bodies: list[bytes]) -> Server:
    """Start a broker, and have some messages stored."""
    server = brokers.start(recording.directory)
    witness = confirming(server)
    witness.ask(m.QueueDeclare("q", durable=True), m.QueueDeclareOk)
    for body in bodies:
        witness.feed(publish("", "q", body, delivery_mode=2))
        witness.wait_for(m.BasicAck)
    witness.leave()
    return server


def drained(server: Server) -> list[bytes]:
    """Return the messages of the queue ``q``, which stay."""
    witness = Witness(server).login(1)
    count = witness.ask(m.QueueDeclare("q", passive=True), m.QueueDeclareOk).method
    assert isinstance(count, m.QueueDeclareOk)
    witness.send(*[m.BasicGet("q")] * count.message_count)
    found = [heard.body for heard in witness.take()]
    witness.leave()
    return found


def fails_at(number: int) -> Callable[[int, Kind, str], Failure | None]:
    """Have one operation fail, each in a way that it can."""
    return lambda at, kind, _name: failure_of(kind, Random(number)) if at == number else None


def left_by(crash: Crash, recording: Recording, directory: Path) -> Path:
    """Make the directory as a crash leaves it that comes now."""
    disk = Disk(recording.operations, Random(0))
    disk.advance(recording.now)
    place = directory / crash.name
    place.mkdir()
    write(disk.after(Point(recording.now, crash, 0)), place)
    return place


@pytest.mark.parametrize("has_data", [False, True])
def test_start_that_fails_at_any_operation(tmp_path: Path, brokers: Brokers, has_data: bool) -> None:
    """It is refused in one sentence or succeeds, and the next start finds all that there was."""
    before = tmp_path / "before"
    before.mkdir()
    if has_data:
        with recorded(recording := Recording(before)):
            # As a kill leaves it: with a log.
            server = fill(recording, brokers, [b"confirmed", b"in the log"])
            before = left_by(Crash.KILL, recording, tmp_path)
            brokers.stop(server)
    refused = 0
    number = -1
    failed = True
    while failed:
        number += 1
        place = tmp_path / "data"
        shutil.copytree(before, place)
        recording = Recording(place, fails_at(number))
        with recorded(recording):
            try:
                server = brokers.start(place)
            except BrokerError as error:
                refused += 1
                assert str(place) in str(error)
                assert "cannot be" in str(error)
            else:
                # What it writes after the start may fail as well.
                with suppress(BrokerError):
                    brokers.stop(server)
            failed = recording.failures > 0
            recording.fail = lambda *_: None
            server = brokers.start(place)
            if has_data:
                assert drained(server) == [b"confirmed", b"in the log"]
            brokers.stop(server)
        shutil.rmtree(place)
    assert refused > (20 if not has_data else 3)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param((Kind.WRITE, Failure(FULL)), id="full"),
        pytest.param((Kind.WRITE, Failure(FULL, 1000)), id="full in the middle of a write"),
        pytest.param((Kind.WRITE, Failure(IOERR_WRITE)), id="error of a write"),
        pytest.param((Kind.SYNC, Failure(IOERR_FSYNC)), id="error of a sync"),
    ],
)
def test_nothing_is_answered_while_the_disk_fails(
    recording: Recording,
    brokers: Brokers,
    tmp_path: Path,
    failure: tuple[Kind, Failure],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever waits for the disk waits until it works again; consumers go on."""
    kind, how = failure
    server = fill(recording, brokers, [b"1", b"2"])
    publisher, consumer, declarer, committer = (
        confirming(server),
        *(Witness(server).login(1) for _ in range(3)),
    )
    committer.ask(m.TxSelect(), m.TxSelectOk)
    recording.fail = lambda _number, tried, _name: how if tried is kind else None
    publisher.feed(publish("", "q", b"3", delivery_mode=2))
    declarer.send(m.QueueDeclare("late", durable=True))
    committer.feed(publish("", "q", b"4", delivery_mode=2) + frame(1, m.TxCommit()))
    publisher.wait_for(m.ConnectionBlocked, channel=0)
    committer.wait_for(m.ConnectionBlocked, channel=0)
    assert server.alarms.reason == "low on disk"
    heard = consumer.ask(m.BasicGet("q"), m.BasicGetOk)
    assert heard.body == b"1"
    tries = recording.failures
    consumer.wait_until(lambda: recording.failures > tries + 3)
    assert [publisher.take(), declarer.take(), committer.take()] == [[], [], []]
    for crash in (Crash.KILL, Crash.POWER):
        with recorded(Recording(left := left_by(crash, recording, tmp_path))):
            after = brokers.start(left)
            assert drained(after)[:2] == [b"1", b"2"]
            brokers.stop(after)
    recording.fail = lambda *_: None
    publisher.wait_for(m.BasicAck)
    declarer.wait_for(m.QueueDeclareOk)
    committer.wait_for(m.TxCommitOk)
    publisher.wait_for(m.ConnectionUnblocked, channel=0)
    assert server.alarms.reason is None
    (place,) = tmp_path.glob("data")
    shutil.rmtree(tmp_path / Crash.KILL.name)
    with recorded(Recording(left := left_by(Crash.KILL, recording, tmp_path))):
        after = brokers.start(left)
        assert drained(after) == [b"1", b"2", b"3", b"4"]
        assert "late" in after.vhosts["/"].queues
        brokers.stop(after)
    logged = [record.message for record in caplog.records if str(place) in record.message]
    assert [line.split(": ")[0].removeprefix(f"{place}/") for line in logged] == [
        "broker.sqlite cannot be written",
        "broker.sqlite can be written again",
    ]
    for witness in (publisher, consumer, declarer, committer):
        witness.leave()
    brokers.stop(server)


def test_alarm_ends_though_nothing_is_left_to_write(recording: Recording, brokers: Brokers) -> None:
    """A consumer has taken what could not be written; without an end of the alarm nobody could publish."""
    server = fill(recording, brokers, [])
    publisher, consumer = Witness(server).login(1), Witness(server).login(1)
    recording.fail = lambda _number, kind, _name: Failure(FULL) if kind is Kind.WRITE else None
    publisher.feed(publish("", "q", b"1", delivery_mode=2))
    publisher.wait_for(m.ConnectionBlocked, channel=0)
    consumer.ask(m.BasicGet("q", no_ack=True), m.BasicGetOk)
    recording.fail = lambda *_: None
    publisher.wait_for(m.ConnectionUnblocked, channel=0)


def test_what_was_acknowledged_does_not_come_back_from_a_commit_that_failed(
    recording: Recording, brokers: Brokers, tmp_path: Path
) -> None:
    """When a sync fails, the log has the whole commit: a kill makes it valid, unless that is overwritten."""
    server = fill(recording, brokers, [b"1"])
    publisher, consumer = Witness(server).login(1), Witness(server).login(1)
    recording.fail = lambda _number, kind, _name: Failure(IOERR_FSYNC) if kind is Kind.SYNC else None
    publisher.feed(publish("", "q", b"2", delivery_mode=2))
    publisher.wait_for(m.ConnectionBlocked, channel=0)
    consumer.ask(m.BasicGet("q"), m.BasicGetOk)
    got = consumer.ask(m.BasicGet("q"), m.BasicGetOk)
    assert got.body == b"2"
    assert isinstance(got.method, m.BasicGetOk)
    consumer.send(
        m.BasicAck(got.method.delivery_tag), m.ExchangeDeclare("amq.fanout", "fanout", durable=True)
    )
    recording.fail = lambda *_: None
    consumer.wait_for(m.ExchangeDeclareOk)
    with recorded(Recording(left := left_by(Crash.KILL, recording, tmp_path))):
        assert drained(brokers.start(left)) == [b"1"]


def test_damage_while_the_broker_works_ends_every_connection(recording: Recording, brokers: Brokers) -> None:
    """Nobody who waits for the disk is told that it is done."""
    server = fill(recording, brokers, [b"1"])
    publisher, declarer = confirming(server), Witness(server).login(1)
    recording.fail = lambda _number, kind, _name: Failure(CORRUPT) if kind is Kind.WRITE else None
    publisher.feed(publish("", "q", b"2", delivery_mode=2))
    declarer.send(m.QueueDeclare("late", durable=True))
    for witness in (publisher, declarer):
        closed = witness.wait_for(m.ConnectionClose, channel=0).method
        assert isinstance(closed, m.ConnectionClose)
        assert closed.reply_code == INTERNAL_ERROR
        assert "is damaged" in closed.reply_text
        assert witness.take() == []
        witness.leave()
    with pytest.raises(BrokerError, match="is damaged"):
        brokers.stop(server)
    recording.fail = lambda *_: None
    server = brokers.start(recording.directory)
    assert drained(server) == [b"1"]
    brokers.stop(server)


@pytest.mark.parametrize("number", range(8))
def test_stop_that_fails_loses_nothing_that_was_confirmed(
    recording: Recording, brokers: Brokers, number: int
) -> None:
    """At each operation of a stop. The next start needs nobody's help."""
    server = fill(recording, brokers, [b"1", b"2"])
    recording.fail = fails_at(recording.attempts + number)
    brokers.stop(server)
    assert recording.failures
    server = brokers.start(recording.directory)
    assert drained(server) == [b"1", b"2"]
    brokers.stop(server)


def test_everything_confirmed_survives_a_crash_when_the_disk_fails_now_and_then(tmp_path: Path) -> None:
    place = tmp_path / "recorded"
    place.mkdir()
    story = record(place, seed=6, lives=(100,), fails=True)
    assert story.recording.failures > 10
    assert not story.traffic.complaints
    findings = [*Crashes(story, tmp_path).at(choose(Random(1), story.recording.now, 60))]
    assert not findings, "\n".join(map(str, findings))
