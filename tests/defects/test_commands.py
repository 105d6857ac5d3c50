"""Defects of version 3.9 in its commands that are not shown mended elsewhere."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import pika
import pytest
from click.testing import CliRunner
from tests.client.support import Admin, message, queue_settings
from tests.support.waiting import eventually

from fedora_messaging import api, cli, config
from fedora_messaging.message import Message, loads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


# replay and reconsume


class Archive:
    """Answers as Datagrepper does.

    Attributes:
        paths: What was asked for.
        answer: What it answers.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answer: dict[str, Any] = {"topic": "archived.topic", "body": {"number": 1}, "id": "canary"}
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.paths.append(self.path)
                body = json.dumps(archive.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def option(self) -> str:
        return f"--datagrepper-url=http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def archive(settings: config.LazyConfig) -> Iterator[Archive]:
    """An archive with one message."""
    made = Archive()
    yield made
    made.close()


@pytest.mark.parametrize(
    "identity",
    ["2018-canary", "a b", "x&is_raw=false", "x#fragment", "100%41", "é/../\u2028", "../admin?a=b"],
)
def test_replay_asks_for_the_very_id(
    embedded_url: str, settings: config.LazyConfig, archive: Archive, identity: str
) -> None:
    """The command escapes the id, whatever characters it has."""
    settings["amqp_url"] = embedded_url
    try:
        result = CliRunner().invoke(cli.replay, [archive.option, identity])
    finally:
        api.close()
    assert result.exit_code == 0, result.output
    (path,) = archive.paths
    assert urlsplit(path).path == "/v2/id"
    assert parse_qs(urlsplit(path).query) == {"id": [identity], "is_raw": ["true"]}


@pytest.fixture
def embedded_url(request: pytest.FixtureRequest) -> str:
    """Of the embedded broker, for what does not depend on the broker."""
    url: str = request.getfixturevalue("embedded_broker").amqp_url
    return url


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"topic": "t", "body": "text"}, "'text' is not of type 'object'"),
        ({"some": "data"}, "'topic' is a required property"),
        ({"topic": "x" * 300, "body": {}}, "at most 255"),
        ([1], "[1] is not of type 'object'"),
    ],
)
def test_replay_of_what_cannot_be_published(archive: Archive, answer: Any, says: str) -> None:
    """The command prints an error, and no traceback."""
    archive.answer = answer
    try:
        result = CliRunner().invoke(cli.replay, [archive.option, "canary"])
    finally:
        api.close()
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert says in result.output


CALLBACKS = """
import asyncio
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack


def function(message):
    print("done", message.body["number"])


async def coroutine(message):
    await asyncio.sleep(0)
    function(message)


class Object:
    async def __call__(self, message):
        await coroutine(message)


def hidden(message):
    return coroutine(message)


def nack(message):
    raise Nack


async def drop(message):
    raise Drop


def halt(message):
    raise HaltConsumer(7, "canary")


async def halt_with_0(message):
    raise HaltConsumer


def error(message):
    raise ValueError("canary")


async def error_in_coroutine(message):
    raise ValueError("canary")
"""


def reconsume(archive: Archive, tmp_path: Path, callback: str) -> Any:
    (tmp_path / "app.py").write_text(CALLBACKS)
    return CliRunner().invoke(
        cli.reconsume, [f"--callback-file={tmp_path}/app.py:{callback}", archive.option, str(uuid.uuid4())]
    )


@pytest.mark.parametrize("callback", ["function", "coroutine", "Object", "hidden"])
def test_reconsume_calls_every_form(archive: Archive, tmp_path: Path, callback: str) -> None:
    """The command awaits coroutines."""
    result = reconsume(archive, tmp_path, callback)
    assert (result.exit_code, result.output) == (0, "done 1\n")


@pytest.mark.parametrize("callback", ["nack", "drop", "halt", "error", "error_in_coroutine"])
def test_reconsume_with_a_callback_that_raises(archive: Archive, tmp_path: Path, callback: str) -> None:
    """The command tells the error in one line."""
    result = reconsume(archive, tmp_path, callback)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == (7 if callback == "halt" else 1)
    assert len(result.output.splitlines()) == 1
    expected = {"nack": "Nack", "drop": "Drop"}.get(callback, "canary")
    assert expected in result.output


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
