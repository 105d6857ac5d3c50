"""Defects of version 3.9 in its commands that are not shown mended elsewhere."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING
from unittest import mock

import pika
import pytest
from click.testing import CliRunner
from tests.client.support import message, queue_settings
from tests.support.waiting import eventually

from fedora_messaging import api, cli, config
from fedora_messaging.message import Message, loads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.brokers import Broker
    from tests.support.processes import Processes

DURABLE = "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"


def put(admin: Admin, queue: str, one: Message) -> None:
    """Put a message into a queue as this library would."""
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        headers=dict(one._headers),
        message_id=one.id,
    )
    admin.publish(queue, one._encoded_body, properties)


def configure(processes: Processes, url: str, queue: str) -> str:
    """Write the configuration of a process that consumes one durable queue, bound for its messages."""
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{url}"\n[queues."{queue}"]\n{DURABLE}[[bindings]]\n'
        f'queue = "{queue}"\nexchange = "amq.topic"\nrouting_keys = ["{queue}.#"]\n'
    )
    return "config.toml"


# consume


PUBLISHING_CALLBACK = """
from fedora_messaging import api
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message


def callback(message):
    api.publish(Message(topic=message.body["answer"], body={"number": message.body["number"]}), "")
    if message.body["number"] == 4:
        raise HaltConsumer
"""


def test_callback_of_the_command_publishes(
    broker: Broker, admin: Admin, name: str, queue: str, processes: Processes
) -> None:
    """A callback may publish, and no thread prints a traceback."""
    answers = admin.declare(f"{name}.answers")
    (processes.directory / "app.py").write_text(PUBLISHING_CALLBACK)
    try:
        for number in range(5):
            put(admin, queue, message(queue, number, answer=answers))
        ended = processes.run(
            "--conf", configure(processes, broker.url, queue), "consume", "--callback=app:callback"
        )
        assert (ended.status, ended.stderr) == (0, [])
        assert "Traceback" not in ended.output
        assert [json.loads(body)["number"] for body in admin.take(answers)] == list(range(5))
    finally:
        admin.delete(answers)


class Restored:
    """The handlers of signals before and after."""

    def __init__(self) -> None:
        self.handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def put_back(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


@pytest.fixture
def handlers() -> Iterator[Restored]:
    """The handlers of signals, which the test leaves as they were."""
    made = Restored()
    yield made
    made.put_back()


@pytest.fixture
def halting(queue: str, service: None, tmp_path: Path, handlers: Restored) -> list[str]:
    """Arguments of `consume` with a callback that halts with status 3."""
    (tmp_path / "app.py").write_text(
        "from fedora_messaging.exceptions import HaltConsumer\ndef callback(message): raise HaltConsumer(3)\n"
    )
    config.conf["queues"] = {queue: queue_settings()}
    config.conf["bindings"] = []
    return [f"--callback-file={tmp_path}/app.py:callback"]


def test_command_within_a_program(broker: Broker, admin: Admin, queue: str, halting: list[str]) -> None:
    """A program may run the command, again and again, and publish between and afterwards."""
    for number in range(2):
        api.publish(message(queue, number))
        result = CliRunner().invoke(cli.consume, halting)
        assert result.exit_code == 3, result.output
    api.publish(message(queue, 2))
    assert admin.take(queue) == [b'{"number": 2}']


def test_command_gives_signals_back(
    broker: Broker, queue: str, halting: list[str], handlers: Restored
) -> None:
    """The program that ran the command can be interrupted as before."""
    api.publish(message(queue))
    assert CliRunner().invoke(cli.consume, halting).exit_code == 3
    assert Restored().handlers == handlers.handlers


# Configurations


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"nonsense = 1", "Unknown configuration key 'nonsense'"),
        (b"nonsense", "Failed to parse"),
        (b"log_config = {}", "log_config"),
        (b'log_config = {version = 1, handlers = {h = {class = "no.such"}}}', "log_config"),
    ],
)
@pytest.mark.parametrize("command", [["publish", "-"], ["consume", "--callback=m:c"], ["record", "-"]])
def test_default_configuration_file_is_wrong(
    settings: config.LazyConfig, content: bytes, says: str, command: list[str]
) -> None:
    """The command prints one error, which says where."""
    opened = mock.mock_open(read_data=content)
    with (
        mock.patch("fedora_messaging.config.os.path.exists", return_value=True),
        mock.patch("fedora_messaging.config.open", opened, create=True),
    ):
        result = CliRunner().invoke(cli.cli, command)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert says in result.output
    assert opened.call_args == mock.call(config.DEFAULT_PATH, "rb")


# record


def test_recorded_messages_survive_a_kill(
    broker: Broker, admin: Admin, queue: str, processes: Processes
) -> None:
    """Each message is in the file before it is acknowledged, so none is in neither place."""
    sent = [message(queue, number, text="\u2028\u2029\x85\u00e9\n") for number in range(200)]
    for one in sent:
        put(admin, queue, one)
    process = processes.fedora_messaging(
        "--conf", configure(processes, broker.url, queue), "record", "recorded"
    )
    eventually(lambda: admin.ready(queue) < 100)
    process.kill()
    eventually(lambda: admin.consumers(queue) == 0)
    text = (processes.directory / "recorded").read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    recorded = {one.body["number"] for one in loads(complete)}
    left: set[int] = set()

    def accounted_for() -> bool:
        left.update(json.loads(body)["number"] for body in admin.take(queue))
        return recorded | left == set(range(200))

    eventually(accounted_for)
    assert len(recorded) > 50


def test_what_is_recorded_can_be_published(
    broker: Broker, admin: Admin, queue: str, processes: Processes
) -> None:
    """Lines end at line feeds only."""
    body = {"text": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh\ni"}
    sent = Message(topic=f"{queue}.test", body=body)
    put(admin, queue, sent)
    conf = configure(processes, broker.url, queue)
    assert processes.run("--conf", conf, "record", "--limit=1", "recorded").status == 0
    assert admin.ready(queue) == 0
    ended = processes.run("--conf", conf, "publish", "--exchange=", "recorded")
    assert ended.status == 0, ended.output
    (found,) = admin.take(queue)
    assert json.loads(found) == body
