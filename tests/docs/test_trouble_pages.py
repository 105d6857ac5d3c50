"""The pages of "When it breaks", tried by making it break: what they say to look at tells what is wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.cli.conftest import processes
from tests.conftest import authenticated
from tests.support.admin import Admin, properties_of
from tests.support.printed import ROOT
from tests.support.rabbitmq import free_ports
from tests.support.waiting import eventually

from fedora_messaging.api import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Process, Processes

    from fedora_messaging.broker import Broker

__all__ = ["processes"]

#: A callback that writes each id down and then, unless there is a file named `go`, hangs.
CALLBACK = """
import pathlib, time
def seen(message):
    with open("seen", "a") as file:
        print(message.id, file=file, flush=True)
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""
CONSUMER = """
callback = "app:seen"
[queues.work]
durable = true
auto_delete = false
exclusive = false
arguments = {}
[[bindings]]
queue = "work"
exchange = "amq.topic"
routing_keys = ["bodhi.*"]
[qos]
prefetch_size = 0
prefetch_count = 2
[monitoring]
port = PORT
"""


def page(name: str) -> str:
    return " ".join((ROOT / "docs/trouble" / name).read_text("utf-8").split())


class Bus:
    """A broker, and programs that use it in one directory."""

    def __init__(self, broker: Broker, processes: Processes, admin: Admin) -> None:
        self.admin = admin
        self._processes = processes
        [self.port] = free_ports(1)
        processes.variables["FEDORA_MESSAGING_AMQP_URL"] = broker.amqp_url
        processes.variables["FEDORA_MESSAGING_MANAGEMENT_URL"] = authenticated(broker) or ""
        processes.variables["PYTHONPATH"] = str(processes.directory)
        (processes.directory / "app.py").write_text(CALLBACK)

    def consume(self, more: str = "") -> Process:
        """Start the consumer, and wait until it is connected."""
        text = CONSUMER.replace("PORT", str(self.port)) + more
        (self._processes.directory / "consumer.toml").write_text(text)
        process = self._processes.fedora_messaging("--conf", "consumer.toml", "consume")
        process.wait_for("Successfully registered")
        return process

    def publish(self, topic: str, **headers: Any) -> str:
        message = Message(topic=topic)
        self.publish_again(message, **headers)
        return str(message.id)

    def publish_again(self, message: Message, **headers: Any) -> None:
        properties = properties_of(message, **headers)
        self.admin.channel.basic_publish("amq.topic", message.topic, message._encoded_body, properties)

    def seen(self) -> list[str]:
        path = self._processes.directory / "seen"
        return path.read_text().split() if path.exists() else []

    def go(self) -> None:
        """Let the callbacks end."""
        (self._processes.directory / "go").touch()

    def said(self, *command: str) -> str:
        ended = self._processes.run(*command)
        assert ended.status == 0, ended.output
        return "\n".join(ended.stdout)

    def queue(self) -> tuple[int, int, int]:
        """Ready, unacked and consumers, as `fedora-messaging queues` shows them."""
        [row] = [line.split("\t") for line in self.said("queues").splitlines() if line.startswith("work\t")]
        return int(row[1]), int(row[2]), int(row[3])

    def monitored(self, path: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}").text


@pytest.fixture
def bus(embedded_broker: Broker, processes: Processes) -> Iterator[Bus]:
    admin = Admin(embedded_broker.amqp_url)
    yield Bus(embedded_broker, processes, admin)
    admin.delete("work")
    admin.close()


def test_consumer_gets_nothing(bus: Bus, processes: Processes) -> None:
    text = page("consumer-gets-nothing.md")
    consumer = bus.consume()

    # 2. The pattern does not fit.
    assert "`bodhi.*` fits `bodhi.update`, but not `bodhi.update.comment`" in text
    bus.publish("bodhi.update.comment")
    assert "bodhi.*" in bus.said("bindings")
    # 3. The callback hangs: as many are out as the prefetch allows, and the others wait.
    assert "If *unacked* is as high as the prefetch, callbacks are busy or hang" in text
    sent = [bus.publish("bodhi.update") for _ in range(3)]
    eventually(lambda: bus.queue() == (1, 2, 1))
    assert json.loads(bus.monitored("/status"))["oldest_in_flight"] > 0
    bus.go()
    eventually(lambda: bus.seen() == sent)
    # 3. Another consumer takes messages of the same queue.
    assert "`consumers` is then more than 1" in text
    eventually(lambda: bus.queue() == (0, 0, 1))
    another = bus.admin.channel.basic_consume("work", lambda *_arguments: None)
    assert bus.queue() == (0, 0, 2)
    bus.admin.channel.basic_cancel(another)
    # 4. It is published, elsewhere: tail shows what passes.
    other = processes.fedora_messaging("tail", "#")

    def passes() -> bool:
        bus.publish("elsewhere")
        return other.has_said("elsewhere")

    eventually(passes)
    # 5. It is refused.
    assert "a line `did not pass validation`" in text
    bus.publish("bodhi.update", fedora_messaging_severity="much")
    consumer.wait_for("did not pass validation")
    assert re.search(r"^fedora_messaging_invalid_total\S* 1\.0$", bus.monitored("/metrics"), re.MULTILINE)
    assert bus.seen() == sent


def test_message_was_lost(bus: Bus, processes: Processes) -> None:
    text = page("lost.md")
    # 2. No queue fits: the broker confirms and discards, unless the message is mandatory.
    assert "Without a queue that fits, the broker throws it away." in text
    (processes.directory / "message.json").write_text('{"topic": "to.nobody", "body": {}, "headers": {}}\n')
    bus.said("publish", "message.json")
    (processes.directory / "strict.toml").write_text("[publisher]\nmandatory = true\n")
    ended = processes.run("--conf", "strict.toml", "publish", "message.json")
    assert (ended.status != 0, "no queue is bound" in ended.output) == (True, True), ended.output
    # 3. The queue drops messages.
    assert "`fedora-messaging queues show NAME` has both" in text
    bus.admin.channel.queue_declare("work", durable=True, arguments={"x-max-length": 1})
    assert "x-max-length" in bus.said("queues", "show", "work")


def test_messages_came_twice(bus: Bus, processes: Processes) -> None:
    text = page("twice.md")
    assert "All copies have the same `message.id`." in text
    consumer = bus.consume()
    sent = bus.publish("bodhi.update")
    eventually(lambda: bus.seen() == [sent])
    # It dies before it has acknowledged.
    consumer.kill()
    bus.consume()
    eventually(lambda: bus.seen() == [sent, sent])
    bus.go()
    eventually(lambda: bus.queue() == (0, 0, 1))


def test_duplicate_is_remembered(bus: Bus, processes: Processes) -> None:
    assert '[consumer.dedupe] path = "/var/lib/my-app/seen.sqlite"' in page("twice.md")
    bus.go()
    bus.consume('[consumer.dedupe]\npath = "seen.sqlite"\n')
    message = Message(topic="bodhi.update")
    for _ in range(2):
        bus.publish_again(message)
    last = bus.publish("bodhi.update")
    eventually(lambda: last in bus.seen())
    assert bus.seen() == [message.id, last]
