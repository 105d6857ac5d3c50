"""``fedora-messaging tail`` shows what passes, and takes it from nobody."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pika.exceptions import UnroutableError
from tests.support.processes import DEADLINE, FEDORA_MESSAGING

from fedora_messaging.message import DEBUG, ERROR, INFO, loads

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Process, Processes

CONFIG = "--conf=config.toml"


class Tailing:
    """The command, and a publisher of messages with a topic that nobody else has."""

    def __init__(self, processes: Processes, queues: Queues) -> None:
        self.processes = processes
        self.queues = queues
        self.topic = queues.name()
        path = processes.directory / "config.toml"
        path.write_text(f'amqp_url = "{queues.url}"\n', encoding="utf-8")

    def start(self, *arguments: str) -> Process:
        """Start the command, and return when it gets messages; it has got a debug message then."""
        process = self.processes.fedora_messaging(CONFIG, "tail", f"{self.topic}.#", *arguments)
        self.wait_until_bound()
        return process

    def wait_until_bound(self) -> None:
        end = time.monotonic() + DEADLINE
        while not self.publish("ready", {}, DEBUG):
            assert time.monotonic() < end, "nobody has bound a queue"
            time.sleep(0.02)

    def publish(self, key: str, body: Any, severity: int = INFO) -> bool:
        """Publish a message; returns whether any queue got it."""
        headers = {
            "fedora_messaging_schema": "base.message",
            "fedora_messaging_severity": severity,
            "sent-at": "2026-11-30T12:34:56+00:00",
        }
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            message_id=f"id-{key}",
            headers=headers,
        )
        try:
            self.queues.channel.basic_publish(
                "amq.topic", f"{self.topic}.{key}", json.dumps(body).encode(), properties, mandatory=True
            )
        except UnroutableError:
            return False
        return True


@pytest.fixture
def tailing(processes: Processes, queues: Queues) -> Tailing:
    return Tailing(processes, queues)


def test_a_line_for_each_message(tailing: Tailing) -> None:
    """Nothing of it can play tricks on a terminal, and a pipe gets no colours."""
    process = tailing.start("-n", "3")
    assert tailing.publish("plain", {"n": 1})
    assert tailing.publish("tricky", {"text": "\x1b[31mred\n"}, ERROR)
    ended = process.end()
    assert (ended.status, ended.stderr) == (0, []), ended.output
    _, plain, tricky = ended.stdout
    assert plain.split("  ")[1:] == [f"{tailing.topic}.plain", '{"n": 1}']
    assert tricky.split("  ")[1:] == [f"{tailing.topic}.tricky", "ERROR", '{"text": "\\u001b[31mred\\n"}']


def test_json_is_what_record_writes(tailing: Tailing) -> None:
    process = tailing.start("-n", "2", "--format", "json")
    assert tailing.publish("one", {"n": 1})
    ended = process.end()
    assert ended.status == 0
    _, found = loads("\n".join(ended.stdout) + "\n")
    assert (found.topic, found.id, found.body) == (f"{tailing.topic}.one", "id-one", {"n": 1})


def test_pretty_shows_all_of_a_message(tailing: Tailing) -> None:
    process = tailing.start("-n", "2", "--format", "pretty")
    assert tailing.publish("one", {"n": 17})
    ended = process.end()
    assert {"Id: id-one", f"Topic: {tailing.topic}.one", '    "n": 17'} <= set(ended.stdout)


def test_filters_of_messages(tailing: Tailing) -> None:
    process = tailing.start("-n", "1", "--severity", "info", "--text", "WANTED")
    for key, text, severity in (("a", "wanted", DEBUG), ("b", "other", INFO), ("c", "is wanted", INFO)):
        assert tailing.publish(key, {"text": text}, severity)
    ended = process.end()
    assert [line.split("  ")[1] for line in ended.stdout] == [f"{tailing.topic}.c"]


def test_others_get_their_messages_and_the_queue_goes(tailing: Tailing) -> None:
    queue = tailing.queues.make()
    tailing.queues.channel.queue_bind(queue, "amq.topic", f"{tailing.topic}.shared")
    process = tailing.start("--severity", "info")
    assert tailing.publish("shared", {"n": 1})
    process.wait_for(r"\.shared")
    process.signal(signal.SIGINT)
    ended = process.end()
    assert (ended.status, ended.stderr) == (0, [])
    tailing.queues.wait_until_ready(queue, 1)
    end = time.monotonic() + DEADLINE
    while tailing.publish("nobody", {}):
        assert time.monotonic() < end, "the queue is still there"


def test_reader_that_has_enough(tailing: Tailing) -> None:
    """As in ``tail | head``: the command ends, and complains of nothing."""
    command = f'"{FEDORA_MESSAGING}" {CONFIG} tail "{tailing.topic}.#" --format json | head -n 1'
    process = tailing.processes.start("sh", "-c", command)
    tailing.wait_until_bound()
    end = time.monotonic() + DEADLINE
    # Whoever writes to a pipe without a reader notices it at the next line.
    while process.running and tailing.publish("more", {}):
        assert time.monotonic() < end, "the command goes on"
        time.sleep(0.02)
    ended = process.end()
    assert (len(ended.stdout), ended.stderr, ended.status) == (1, [], 0)


def test_broker_that_is_not_there(processes: Processes, silent_port: int) -> None:
    path = processes.directory / "config.toml"
    path.write_text(f'amqp_url = "amqp://guest:canary@127.0.0.1:{silent_port}"\n', encoding="utf-8")
    process = processes.fedora_messaging(CONFIG, "tail")
    process.wait_for("127.0.0.1")
    ended = process.terminate()
    assert "canary" not in ended.output
    assert ended.stdout == []
