"""``fedora-messaging broker --data`` as a process whose disk fails it."""

from __future__ import annotations

import resource
import signal
import sqlite3
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

import pika
import pytest
from pika.exceptions import ConnectionClosedByBroker, StreamLostError
from tests.support.admin import close_quietly
from tests.support.processes import Process, start_broker
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.processes import Processes

PERSISTENT = pika.BasicProperties(delivery_mode=2)
BIG = bytes(100_000)
_CHURNED: list[dict[str, object]] = [
    {},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"},
    {"x-queue-type": "quorum"},
]


_open: list[pika.BlockingConnection] = []


def connect(port: int) -> pika.BlockingConnection:
    """Connect until the end of the test."""
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))
    _open.append(connection)
    return connection


@pytest.fixture(autouse=True)
def connections_are_closed(processes: Processes) -> Iterator[None]:
    """Close what a test leaves open, before its processes end."""
    yield
    while _open:
        close_quietly(_open.pop())


@contextmanager
def limited(process: Process, what: int, soft: int) -> Iterator[None]:
    """Allow a process less meanwhile, as a full disk or a full table of descriptors does."""
    before = resource.prlimit(process.pid, what)
    resource.prlimit(process.pid, what, (soft, before[1]))
    try:
        yield
    finally:
        if process.running:
            resource.prlimit(process.pid, what, before)


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


class Publisher:
    """Publishes persistent messages, and notes what it is told of them."""

    def __init__(self, port: int, queue: str = "q", arguments: dict[str, object] | None = None) -> None:
        self.connection = connect(port)
        self.told: list[str] = []
        self.connection.add_on_connection_blocked_callback(lambda _c, f: self.told.append(f.method.reason))
        self.connection.add_on_connection_unblocked_callback(lambda _c, _f: self.told.append("over"))
        self.channel = self.connection.channel()
        self.queue = queue
        self.channel.queue_declare(queue, durable=True, arguments=arguments)
        self.confirmed = 0
        implementation = self.channel._impl
        implementation.confirm_delivery(self._on_confirm)
        self.published = 0
        self.spin()

    def _on_confirm(self, frame: pika.frame.Method[pika.spec.Basic.Ack]) -> None:
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        self.confirmed = max(self.confirmed, frame.method.delivery_tag)

    def publish(self, body: bytes) -> None:
        """Publish without waiting for the confirm."""
        self.write(body)
        self.spin()

    def write(self, body: bytes) -> None:
        """Publish with the next :meth:`spin`."""
        self.published += 1
        self.channel._impl.basic_publish("", self.queue, body, PERSISTENT)

    def spin(self) -> None:
        self.connection.process_data_events(0.01)

    def until(self, condition: Callable[[], bool]) -> None:
        """Do what connections do until something is so."""

        def is_so() -> bool:
            self.spin()
            return condition()

        eventually(is_so)

    def all_confirmed(self) -> bool:
        return self.confirmed == self.published


def drain(channel: BlockingChannel, queue: str = "q") -> list[bytes]:
    found = []
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


def test_full_disk_blocks_publishers_until_there_is_room(processes: Processes, tmp_path: Path) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    publisher.publish(b"before")
    publisher.until(publisher.all_confirmed)
    consumer = connect(port)
    with limited(broker, resource.RLIMIT_FSIZE, 65_536):
        publisher.publish(BIG)
        publisher.until(lambda: publisher.told == ["low on disk"])
        publisher.publish(b"during")
        broker.wait_for("cannot be written")
        # Consumers go on, and what they take needs no room any more.
        channel = consumer.channel()
        assert drain(channel) == [b"before", BIG]
        assert publisher.confirmed == 1
    publisher.until(publisher.all_confirmed)
    assert publisher.told == ["low on disk", "over"]
    broker.wait_for("can be written again")
    publisher.publish(b"after")
    publisher.until(publisher.all_confirmed)
    broker.kill()
    broker, port = start_broker(processes, "--data", data)
    with connect(port) as connection:
        assert drain(connection.channel()) == [b"during", b"after"]
    assert broker.terminate().status == 0


def test_durable_declaration_on_a_full_disk_is_answered_when_there_is_room(processes: Processes) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    connection = connect(port)
    channel = connection.channel()
    answered: list[object] = []
    with limited(broker, resource.RLIMIT_FSIZE, 0):
        channel._impl.queue_declare("late", durable=True, callback=answered.append)
        eventually(lambda: connection.process_data_events(0.01) or broker.wait_for("cannot be written"))
        with connect(port) as other:
            other.channel().queue_declare("in memory", exclusive=True)
        assert answered == []
    eventually(lambda: connection.process_data_events(0.01) or answered)
    broker.kill()
    _, port = start_broker(processes, "--data", data)
    with connect(port) as again:
        again.channel().queue_declare("late", passive=True)


def test_stop_while_the_disk_is_full_says_that_something_was_not_written(processes: Processes) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    publisher.publish(b"before")
    publisher.until(publisher.all_confirmed)
    with limited(broker, resource.RLIMIT_FSIZE, 0):
        publisher.publish(BIG)
        publisher.until(lambda: publisher.told == ["low on disk"])
        broker.signal(signal.SIGTERM)
        with pytest.raises((ConnectionClosedByBroker, StreamLostError)):
            publisher.connection.process_data_events(30)
        ended = broker.end()
    assert ended.status == 1
    assert "Traceback" not in ended.output
    assert "last changes could not be written" in ended.stderr[-1]
    _, port = start_broker(processes, "--data", data)
    with connect(port) as connection:
        assert drain(connection.channel()) == [b"before"]


def test_no_file_descriptors_left(processes: Processes) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    with limited(broker, resource.RLIMIT_NOFILE, 0):
        for _ in range(100):
            publisher.publish(BIG)
        publisher.until(publisher.all_confirmed)
    broker.kill()
    broker, port = start_broker(processes, "--data", data)
    assert connect(port).channel().queue_declare("q", passive=True).method.message_count == 100
    assert broker.terminate().status == 0


@pytest.mark.parametrize("kept", [0, 25])
@pytest.mark.parametrize("way", ["acknowledged", "purged", "deleted", "restarted"])
def test_data_file_gives_back_room_that_messages_have_left(processes: Processes, way: str, kept: int) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port, "q")
    kept_back = Publisher(port, "kept")
    for number in range(250):
        publisher.publish(BIG)
        if kept and number % 10 == 0:
            kept_back.publish(BIG)
    publisher.until(publisher.all_confirmed)
    kept_back.until(kept_back.all_confirmed)
    assert size_of(data) > 25_000_000
    if way == "restarted":
        publisher.connection.close()
        kept_back.connection.close()
        assert broker.terminate().status == 0
        # As a broker leaves it that is killed between the deletion and the shrinking.
        _spoil("DELETE FROM queue_message WHERE queue_id = (SELECT id FROM queue WHERE name = 'q')")(
            data / "broker.sqlite"
        )
        broker, port = start_broker(processes, "--data", data)
    elif way == "acknowledged":
        assert len(drain(publisher.channel)) == 250
    elif way == "purged":
        publisher.channel.queue_purge("q")
    else:
        publisher.channel.queue_delete("q")
    eventually(lambda: size_of(data) < 12_000_000)
    broker.kill()
    _, port = start_broker(processes, "--data", data)
    assert drain(connect(port).channel(), "kept") == [BIG] * kept


@pytest.mark.parametrize("seed", range(2))
def test_nothing_confirmed_is_lost_while_writing_fails_now_and_then(processes: Processes, seed: int) -> None:
    """Messages are published, acknowledged, requeued and dead-lettered meanwhile."""
    random = Random(seed)
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publishers = [Publisher(port, f"q{number}", arguments) for number, arguments in enumerate(_CHURNED)]
    publishers[0].channel.queue_declare("dead", durable=True)
    channel = connect(port).channel()
    taken: list[set[bytes]] = [set() for _ in publishers]
    for _ in range(6):
        # From nothing at all up to what some of the commits need.
        with limited(broker, resource.RLIMIT_FSIZE, random.choice([0, 10_000, size_of(data) + 20_000])):
            for _ in range(20):
                publisher, gone = random.choice([*zip(publishers, taken, strict=True)])
                for _ in range(random.randrange(4)):
                    publisher.write(b"%d " % publisher.published + bytes(random.choice([0, 500, 9000])))
                publisher.spin()
                method, _, body = channel.basic_get(publisher.queue)
                if method is None:
                    continue
                if random.random() < 0.5:
                    gone.add(body)
                    channel.basic_ack(method.delivery_tag)
                elif random.random() < 0.5:
                    channel.basic_reject(method.delivery_tag, requeue=True)
                elif publisher.queue == "q1":  # into the queue "dead"
                    channel.basic_reject(method.delivery_tag, requeue=False)
        for publisher in publishers:
            publisher.until(publisher.all_confirmed)
    broker.kill()
    _, port = start_broker(processes, "--data", data)
    channel = connect(port).channel()
    dead = drain(channel, "dead")
    for publisher, gone in zip(publishers, taken, strict=True):
        found = drain(channel, publisher.queue)
        if publisher.queue == "q1":
            found += dead
        numbers = [int(body.split()[0]) for body in found]
        missing = set(range(publisher.published)) - {int(body.split()[0]) for body in gone} - set(numbers)
        assert not missing


def fill(processes: Processes, data: Path) -> None:
    """Have a broker write two megabytes, and end in good order."""
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    for _ in range(20):
        publisher.publish(BIG)
    publisher.until(publisher.all_confirmed)
    publisher.connection.close()
    assert broker.terminate().status == 0


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _overwrite_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8192:-8192] = b"\xa5" * (len(content) - 16384)
    file.write_bytes(content)


def _spoil(statement: str) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        connection = sqlite3.connect(file)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return spoil


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_cut, id="cut"),
        pytest.param(_overwrite_the_middle, id="overwritten"),
        pytest.param(_spoil("UPDATE queue SET arguments = x'00000002'"), id="arguments"),
        pytest.param(_spoil("UPDATE message SET properties = 'text'"), id="properties"),
        pytest.param(_spoil("UPDATE queue_message SET position = 'text' WHERE position = 1"), id="position"),
        pytest.param(_spoil("DELETE FROM meta"), id="layout"),
        pytest.param(_spoil("DROP TABLE binding"), id="table"),
    ],
)
def test_damaged_file_is_told_in_one_line(processes: Processes, damage: Callable[[Path], None]) -> None:
    data = processes.directory / "data"
    fill(processes, data)
    damage(data / "broker.sqlite")
    ended = processes.run("broker", "--port", "0", "--data", data)
    assert ended.status == 1
    assert "broker.sqlite is damaged" in ended.one_error()


def test_data_file_of_another_program_is_left_alone(processes: Processes) -> None:
    data = processes.directory / "data"
    data.mkdir()
    file = data / "broker.sqlite"
    _spoil("CREATE TABLE theirs (a)")(file)
    ended = processes.run("broker", "--port", "0", "--data", data)
    assert ended.status == 1
    assert "no data file of a broker" in ended.one_error()
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    connection.close()


def test_data_file_of_a_newer_version_is_left_alone(processes: Processes) -> None:
    """Whoever goes back to an older release is told so, and loses nothing."""
    data = processes.directory / "data"
    fill(processes, data)
    file = data / "broker.sqlite"
    _spoil("UPDATE meta SET value = 99 WHERE key = 'version'")(file)
    for _ in range(2):
        ended = processes.run("broker", "--port", "0", "--data", data)
        assert ended.status == 1
        assert "was written by a newer version (layout 99" in ended.one_error()
        assert "use that version, or another data directory" in ended.one_error()
    connection = sqlite3.connect(file)
    (before,) = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    (messages,) = connection.execute("SELECT count(*) FROM queue_message").fetchone()
    connection.close()
    assert (before, messages) == (99, 20)


def test_damaged_file_that_was_mended_is_used_again(processes: Processes) -> None:
    """What is said of it stays true: no log is missing after a start that found damage."""
    data = processes.directory / "data"
    fill(processes, data)
    file = data / "broker.sqlite"
    good = file.read_bytes()
    _spoil("DROP TABLE binding")(file)
    for _ in range(2):
        ended = processes.run("broker", "--port", "0", "--data", data)
        assert "broker.sqlite is damaged" in ended.one_error()
    file.write_bytes(good)
    _, port = start_broker(processes, "--data", data)
    assert len(drain(connect(port).channel())) == 20


def test_file_that_is_damaged_while_it_is_used_ends_the_broker(processes: Processes) -> None:
    data = processes.directory / "data"
    fill(processes, data)
    broker, port = start_broker(processes, "--data", data)
    connection = connect(port)
    _spoil_in_place(data / "broker.sqlite")
    channel = connection.channel()
    with pytest.raises((ConnectionClosedByBroker, StreamLostError)):
        drain(channel)
        connection.process_data_events(30)
    assert "broker.sqlite is damaged" in error_at_the_end(broker)


def error_at_the_end(broker: Process) -> str:
    """What a broker says that has ended by itself: once in the log, once as its error."""
    ended = broker.end()
    assert ended.status == 1
    (line,) = [line for line in ended.stdout if "WARNING" not in line and "AMQP ready" not in line]
    assert "CRITICAL] The broker ends. " in line
    return ended.one_error()


def _spoil_in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xa5" * (file.stat().st_size - 4096))


@pytest.mark.parametrize("name", ["broker.sqlite", "broker.sqlite-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_file_that_is_taken_away_ends_the_broker(processes: Processes, name: str, replaced: bool) -> None:
    """What is written to it is not found by the next start."""
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    publisher.publish(b"confirmed")
    publisher.until(publisher.all_confirmed)
    connection = connect(port)
    file = data / name
    file.rename(data / "renamed")
    if replaced:
        file.write_bytes(b"")
    with pytest.raises((ConnectionClosedByBroker, StreamLostError)):
        connection.process_data_events(30)
    assert "was deleted or replaced" in error_at_the_end(broker)
    # Put back, the file has everything.
    (data / "renamed").rename(file)
    _, port = start_broker(processes, "--data", data)
    assert drain(connect(port).channel()) == [b"confirmed"]


def test_log_that_vanished_after_a_crash_is_noticed(processes: Processes) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    publisher = Publisher(port)
    publisher.publish(b"in the log")
    publisher.until(publisher.all_confirmed)
    broker.kill()
    log = data / "broker.sqlite-wal"
    kept = log.read_bytes()
    log.unlink()
    for _ in range(2):
        ended = processes.run("broker", "--port", "0", "--data", data)
        assert ended.status == 1
        assert "broker.sqlite-wal is missing" in ended.one_error()
    log.write_bytes(kept)
    broker, port = start_broker(processes, "--data", data)
    with connect(port) as connection:
        assert connection.channel().basic_get("q")[2] == b"in the log"
    broker.kill()
    # Whoever has lost it may go on without.
    log.write_bytes(b"")
    broker, port = start_broker(processes, "--data", data)
    assert broker.terminate().status == 0
    assert not log.exists()
    start_broker(processes, "--data", data)
