"""``fedora-messaging archive run``: killed at any moment, it has each message that is gone from the queue."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import pika
import pytest
from tests.archive.support import PostgresPlaces
from tests.cli.conftest import Queues
from tests.support.admin import close_quietly
from tests.support.processes import start_broker
from tests.support.waiting import POLL, WAIT, eventually

from fedora_messaging.archive.location import open_archive
from fedora_messaging.archive.query import Query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgresql import PostgresServer
    from tests.support.processes import Process, Processes

CONFIG = "--conf=config.toml"
#: Messages that a publisher is ahead of the archive.
_AHEAD = 600


class Publisher:
    """Publishes numbered messages in a thread until it is told to stop.

    Attributes:
        confirmed: Ids of the messages that the broker has.
        most: How many to publish by now at most; the test raises it as they are archived.
    """

    def __init__(self, url: str, topic: str) -> None:
        self.confirmed: list[str] = []
        self.most = _AHEAD
        self._url = url
        self._topic = topic
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        parameters = pika.URLParameters(self._url)
        parameters.heartbeat = 0
        with closing(pika.BlockingConnection(parameters)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            while not self._is_over.is_set():
                number = len(self.confirmed)
                if number >= self.most:
                    self._is_over.wait(POLL)
                    continue
                properties = pika.BasicProperties(
                    message_id=f"id-{number}",
                    delivery_mode=2,
                    headers={"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20},
                )
                body = json.dumps({"number": number}).encode()
                channel.basic_publish("amq.topic", self._topic, body, properties, mandatory=True)
                self.confirmed.append(f"id-{number}")

    def stop(self) -> list[str]:
        self._is_over.set()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        return self.confirmed


def start(processes: Processes, url: str, queue: str, location: Path | str, *patterns: str) -> Process:
    """Start the command."""
    (processes.directory / "config.toml").write_text(f'amqp_url = "{url}"\n', encoding="utf-8")
    process = processes.fedora_messaging(
        CONFIG, "archive", "run", "--archive", str(location), "--queue-name", queue, *patterns
    )
    process.wait_for(f"^Archiving {queue} into ")
    return process


def stored(location: Path | str) -> list[str]:
    with closing(open_archive(str(location))) as archive:
        return [one.id for one in archive.each(Query(newest_first=False))]


def newest(location: Path | str) -> int:
    with closing(open_archive(str(location))) as archive:
        return archive.newest_seq()


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a new archive is."""
    if request.param == "sqlite":
        yield str(tmp_path / "archive.db")
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    places = PostgresPlaces(server)
    yield places.new()
    places.close()


@pytest.mark.timeout(300)
def test_killed_at_random_moments(processes: Processes, queues: Queues, location: str) -> None:
    """Stored are the messages that were published, each once; the queue has none of them."""
    seed = SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chosen = Random(seed)
    topic = queues.name()
    queue = queues.make(topic)
    publisher = Publisher(queues.url, topic)
    with closing(open_archive(location)) as archive:

        def has(number: int) -> bool:
            seq = archive.newest_seq()
            publisher.most = seq + _AHEAD
            return seq >= number

        for _ in range(6):
            process = start(processes, queues.url, queue, location)
            more = archive.newest_seq() + chosen.choice([0, 1, 50, 700])
            eventually(lambda more=more: has(more), 2 * WAIT)  # type: ignore[misc]
            process.kill()
        published = publisher.stop()
        assert len(published) >= _AHEAD
        process = start(processes, queues.url, queue, location)
        eventually(lambda: has(len(published)), 2 * WAIT)
    ended = process.terminate()
    assert ended.status == 0, ended.output
    found = stored(location)
    assert len(found) == len({*found})
    assert {*found} == {*published}
    queues.wait_until_ready(queue, 0)


def test_broker_that_is_killed_and_comes_again(processes: Processes, tmp_path: Path) -> None:
    """What it has confirmed gets into the archive."""
    location = tmp_path / "archive.db"
    arguments = ("--data", str(tmp_path / "data"))
    broker, port = start_broker(processes, *arguments)
    url = f"amqp://127.0.0.1:{port}"
    queues = Queues(url)
    queue = queues.make(topic := queues.name())
    process = start(processes, url, queue, location)
    published = [f"id-{number}" for number in range(150)]
    for id in published:
        properties = pika.BasicProperties(message_id=id, delivery_mode=2)
        queues.channel.basic_publish("amq.topic", topic, b"{}", properties, mandatory=True)
    broker.kill()
    close_quietly(queues.connection)
    broker, _ = start_broker(processes, *arguments, port=port)
    eventually(lambda: newest(location) >= len(published), 2 * WAIT)
    with closing(Queues(url)) as queues:
        queues.channel.basic_publish("amq.topic", topic, b"{}", pika.BasicProperties(message_id="later"))
        eventually(lambda: newest(location) >= len(published) + 1)
        assert process.terminate().status == 0
        queues.wait_until_ready(queue, 0)
    assert sorted(stored(location)) == sorted([*published, "later"])
    assert broker.terminate().status == 0


def test_stopped_in_good_order(processes: Processes, embedded_queues: Queues, tmp_path: Path) -> None:
    """It makes its queue, binds it for its patterns alone, and says what it has stored."""
    queue, other = embedded_queues.name(), embedded_queues.name()
    location = tmp_path / "new" / "archive.db"
    process = start(processes, embedded_queues.url, queue, location, f"{queue}.#", f"*.{queue}")

    def publish(topic: str) -> bool:
        properties = pika.BasicProperties(message_id=topic)
        try:
            embedded_queues.channel.basic_publish("amq.topic", topic, b"{}", properties, mandatory=True)
        except pika.exceptions.UnroutableError:
            return False
        return True

    eventually(lambda: publish(f"x.{queue}"))
    assert publish(f"{queue}.a.b")
    assert not publish(f"{other}.a")
    eventually(lambda: newest(location) == 2)
    ended = process.terminate()
    assert (ended.status, ended.stderr) == (0, [])
    assert ended.stdout[-1] == "Stored 2 new messages."
    assert sorted(stored(location)) == sorted([f"x.{queue}", f"{queue}.a.b"])
    # What comes meanwhile waits in the queue.
    assert publish(f"{queue}.later")
    assert embedded_queues.ready(queue) == 1


def test_unusable_places(processes: Processes, embedded_queues: Queues, tmp_path: Path) -> None:
    (processes.directory / "config.toml").write_text(f'amqp_url = "{embedded_queues.url}"\n')
    (tmp_path / "text").write_text("no database " * 100)
    for where in ("text", ".", "mysql://root:pAssw0rd@127.0.0.1/x"):
        ended = processes.run(CONFIG, "archive", "run", "--archive", where, "--queue-name", "never")
        assert ended.status == 1
        assert "pAssw0rd" not in ended.one_error()
