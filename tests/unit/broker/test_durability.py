"""What a broker with a data directory remembers over a restart."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from tests.behaviour.peer import WAIT
from tests.support.processes import Processes, start_broker

from fedora_messaging.broker import Broker
from fedora_messaging.broker.core.exchanges import TYPES
from fedora_messaging.broker.storage.sqlite import SqliteStore


@contextmanager
def channel(data: Path, profile: str = "4") -> Iterator[BlockingChannel]:
    with Broker(data=data, profile=profile) as broker:
        connection = pika.BlockingConnection(pika.URLParameters(broker.amqp_url))
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
        connection.close()


def persistent(**properties: Any) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=2, **properties)


def drain(opened: BlockingChannel, queue: str) -> list[bytes]:
    found = []
    while (got := opened.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(got[2])
    return found


@pytest.mark.parametrize("how", ["basic_ack", "basic_nack", "basic_reject", "close"])
def test_restart_keeps_what_readers_of_a_stream_have_settled(tmp_path: Path, how: str) -> None:
    """A stream keeps its messages, whoever has read them."""

    def read(opened: BlockingChannel) -> list[tuple[bytes, bool]]:
        arguments = {"x-stream-offset": "first"}
        return [
            (body, method.redelivered)
            for _, (method, _, body) in zip(range(2), opened.consume("s", arguments=arguments), strict=False)
        ]

    with channel(tmp_path) as opened:
        opened.queue_declare("s", durable=True, arguments={"x-queue-type": "stream"})
        for body in (b"1", b"2"):
            opened.basic_publish("", "s", body, persistent())
        reading = opened.connection.channel()
        reading.basic_qos(prefetch_count=2)
        assert read(reading) == [(b"1", False), (b"2", False)]
        if how == "close":
            reading.close()
        else:
            for tag in (1, 2):
                getattr(reading, how)(tag)
            reading.flow(True)
    with channel(tmp_path) as opened:
        opened.basic_qos(prefetch_count=2)
        assert read(opened) == [(b"1", False), (b"2", False)]
        opened.cancel()


def test_restart_keeps_what_is_durable(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.exchange_declare("kept", "fanout", durable=True)
        opened.exchange_declare("transient", "fanout")
        opened.queue_declare("q", durable=True, arguments={"x-max-priority": 5})
        opened.queue_declare("transient")
        opened.queue_bind("q", "kept")
        opened.queue_bind("q", "amq.topic", "a.#")
        opened.basic_publish("kept", "", b"low", persistent(priority=1))
        opened.basic_publish("amq.topic", "a.b", b"high", persistent(priority=4, expiration="600000"))
        opened.basic_publish("", "q", b"lost", pika.BasicProperties(delivery_mode=1))
    with channel(tmp_path) as opened:
        opened.exchange_declare("kept", passive=True)
        opened.queue_declare("q", passive=True)
        opened.basic_publish("kept", "", b"new", persistent())
        opened.basic_publish("amq.topic", "a", b"newer", persistent())
        assert drain(opened, "q") == [b"high", b"low", b"new", b"newer"]
    with channel(tmp_path) as opened:
        assert drain(opened, "q") == []


@pytest.mark.parametrize("name", ["transient", "exclusive"])
def test_restart_forgets_what_is_not(tmp_path: Path, name: str) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare(name, durable=name == "exclusive", exclusive=name == "exclusive")
        opened.basic_publish("", name, b"x", persistent())
    with channel(tmp_path) as opened, pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue"):
        opened.queue_declare(name, passive=True)


def test_deleted_things_stay_deleted(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.exchange_declare("e", "topic", durable=True)
        for queue in ("q", "r"):
            opened.queue_declare(queue, durable=True)
            opened.queue_bind(queue, "e", "k")
            opened.basic_publish("", queue, b"x", persistent())
        opened.basic_publish("e", "k", b"both", persistent())
        opened.queue_delete("q")
        opened.queue_unbind("r", "e", "k")
        opened.exchange_delete("e")
    with channel(tmp_path) as opened:
        assert drain(opened, "r") == [b"x", b"both"]
        opened.exchange_declare("e", "topic", durable=True)
        opened.basic_publish("e", "k", b"nowhere", persistent())
        assert drain(opened, "r") == []


def test_messages_that_were_out_are_marked_as_redelivered(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("q", durable=True)
        for body in (b"out", b"never out"):
            opened.basic_publish("", "q", body, persistent())
        assert opened.basic_get("q")[2] == b"out"
    with channel(tmp_path) as opened:
        first, second = opened.basic_get("q"), opened.basic_get("q")
        assert (first[2], first[0].redelivered) == (b"out", True)
        assert (second[2], second[0].redelivered) == (b"never out", False)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Runs commands; what still runs after the test is killed."""
    with Processes(tmp_path) as made:
        yield made


@contextmanager
def killed(processes: Processes) -> Iterator[BlockingChannel]:
    """A channel to a broker process that is killed at the end of the block, before anything else happens."""
    broker, port = start_broker(processes, "--data", "data")
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))
    opened = connection.channel()
    opened.confirm_delivery()
    yield opened
    broker.kill()
    with suppress(pika.exceptions.AMQPConnectionError):
        connection.close()


def take(opened: BlockingChannel, queue: str, count: int) -> list[tuple[bytes, bool]]:
    """Bodies of the next messages and whether they are marked as redelivered; they stay out."""
    found: list[tuple[bytes, bool]] = []
    opened.basic_qos(prefetch_count=count)
    for method, _, body in opened.consume(queue, inactivity_timeout=WAIT):
        assert method is not None, f"{found} of {count} have come"
        found.append((body, method.redelivered))
        if len(found) == count:
            break
    return found


def test_messages_that_were_out_when_the_broker_was_killed_are_redelivered(processes: Processes) -> None:
    bodies = [str(number).encode() for number in range(10)]
    with killed(processes) as opened:
        opened.queue_declare("q", durable=True)
        for body in bodies:
            opened.basic_publish("", "q", body, persistent())
        assert take(opened, "q", 6) == [(body, False) for body in bodies[:6]]
    with killed(processes) as opened:
        assert take(opened, "q", 10) == [(body, number < 6) for number, body in enumerate(bodies)]


def test_what_comes_to_a_drained_queue_was_never_delivered(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("q", durable=True)
        for _ in range(5):
            opened.basic_publish("", "q", b"old", persistent())
        assert drain(opened, "q") == [b"old"] * 5
    with channel(tmp_path) as opened:
        opened.basic_publish("", "q", b"new", persistent())
    with channel(tmp_path) as opened:
        assert take(opened, "q", 1) == [(b"new", False)]


def test_a_new_queue_knows_nothing_of_one_that_is_gone(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        opened.queue_declare("old", durable=True)
        opened.basic_publish("", "old", b"x", persistent())
        assert drain(opened, "old") == [b"x"]
        opened.queue_delete("old")
    with channel(tmp_path) as opened:
        opened.queue_declare("new", durable=True)
        opened.basic_publish("", "new", b"x", persistent())
    with channel(tmp_path) as opened:
        assert take(opened, "new", 1) == [(b"x", False)]


QUORUM = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 2,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "dead",
}


def declare_quorum(opened: BlockingChannel) -> None:
    opened.queue_declare("q", durable=True, arguments=QUORUM)
    opened.queue_declare("dead", durable=True)
    opened.basic_publish("", "q", b"x", persistent())


@pytest.mark.parametrize(
    ("profile", "names"),
    [("3", ["x-delivery-count"]), ("4", ["x-acquired-count", "x-delivery-count"])],
)
def test_delivery_limit_holds_over_a_restart(tmp_path: Path, profile: str, names: list[str]) -> None:
    with channel(tmp_path, profile) as opened:
        declare_quorum(opened)
        method, _, _ = opened.basic_get("q")
        opened.basic_reject(method.delivery_tag)
    with channel(tmp_path, profile) as opened:
        method, properties, _ = opened.basic_get("q")
        assert (method.redelivered, properties.headers) == (True, dict.fromkeys(names, 1))
        opened.basic_reject(method.delivery_tag)
        method, properties, _ = opened.basic_get("q")
        assert properties.headers == dict.fromkeys(names, 2)
        opened.basic_reject(method.delivery_tag)
        assert drain(opened, "dead") == [b"x"]


def test_message_that_is_out_whenever_the_broker_is_killed_reaches_its_limit(processes: Processes) -> None:
    """Its count is on disk before the answer to what is declared after the delivery."""
    with killed(processes) as opened:
        declare_quorum(opened)
    for attempt in range(3):
        with killed(processes) as opened:
            assert take(opened, "q", 1) == [(b"x", attempt > 0)]
            opened.exchange_declare(f"e{attempt}", durable=True)
    with killed(processes) as opened:
        method, properties, body = opened.basic_get("dead")
        assert (method.redelivered, body) == (True, b"x")
        assert properties.headers["x-death"][0]["reason"] == "delivery_limit"
        assert opened.queue_declare("q", passive=True).method.message_count == 0


def bodies_in_the_file(directory: Path) -> int:
    connection = sqlite3.connect(directory / "broker.sqlite")
    (count,) = connection.execute("SELECT count(*) FROM message").fetchone()
    connection.close()
    return int(count)


def test_body_leaves_the_file_with_the_last_queue_that_holds_it(tmp_path: Path) -> None:
    with channel(tmp_path) as opened:
        for queue in ("a", "b"):
            opened.queue_declare(queue, durable=True)
            opened.queue_bind(queue, "amq.fanout")
        for body in (b"1", b"2", b"3"):
            opened.basic_publish("amq.fanout", "", body, persistent())
        opened.basic_get("a")
        opened.queue_delete("a")
    assert bodies_in_the_file(tmp_path) == 3
    with channel(tmp_path) as opened:
        assert opened.basic_get("b", auto_ack=True)[2] == b"1"
    assert bodies_in_the_file(tmp_path) == 2
    with channel(tmp_path) as opened:
        opened.queue_delete("b")
    assert bodies_in_the_file(tmp_path) == 0


def test_message_that_was_out_when_its_queue_was_deleted_and_the_broker_killed(processes: Processes) -> None:
    data = processes.directory / "data"
    broker, port = start_broker(processes, "--data", data)
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
    opened = connection.channel()
    opened.confirm_delivery()
    opened.queue_declare("q", durable=True)
    opened.basic_publish("", "q", b"out", persistent())
    opened.basic_get("q")
    opened.queue_delete("q")
    broker.kill()
    with suppress(pika.exceptions.AMQPError):
        connection.close()
    # The next durable queue may get the number of the deleted one, and gets no message with it.
    with channel(data) as opened:
        opened.queue_declare("other", durable=True)
    with channel(data) as opened:
        assert drain(opened, "other") == []
    assert bodies_in_the_file(data) == 0


class Untroubled:
    """Who would be told of trouble with the storage."""

    def storage_changed(self) -> None:
        raise AssertionError

    def storage_failed(self, why: str) -> None:
        raise AssertionError(why)


def test_nothing_counts_as_durable_while_the_writer_takes_it(tmp_path: Path) -> None:
    """At no line of the writer thread another thread sees no backlog before the commit."""
    loop = asyncio.new_event_loop()
    store = SqliteStore(tmp_path, loop, Untroubled())
    journal = store.journal_of("/")
    seen: list[int] = []

    def look_at_each_line(frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.endswith(("storage/sqlite.py", "storage/window.py")):
            return None
        if event == "line":
            looking = threading.Thread(target=lambda: seen.append(store.backlog))
            looking.start()
            looking.join(0.02)  # where it has to wait it sees nothing wrong
        return look_at_each_line

    journal.exchange_added(TYPES["topic"]("told before the writer starts", True, False, False, {}))
    before = threading.gettrace()
    threading.settrace(look_at_each_line)
    store.start()
    threading.settrace(before)
    store.close()
    loop.close()
    assert seen[0] == 1
    assert seen == sorted(seen, reverse=True)
