"""``fedora-messaging publish`` as a process."""

from __future__ import annotations

import errno
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import MESSAGE_LINE, PUBLISH_TIMEOUT, Queues
from tests.support.processes import DEADLINE

if TYPE_CHECKING:
    from tests.support.processes import Ended, Process, Processes

ID = "5d1ac9ae-3d3c-4c8b-9f0d-b0a6a3a0d5a4"
HEADERS = {
    "fedora_messaging_schema": "base.message",
    "fedora_messaging_severity": 30,
    "sent-at": "2026-01-02T03:04:05+00:00",
    "mine": "kept",
}
MESSAGE = {
    "topic": "cli.publish",
    "body": {"text": "Dobrý den"},
    "headers": HEADERS,
    "id": ID,
    "queue": "ignored",
    "priority": 3,
}


def write(processes: Processes, *messages: str | dict[str, Any]) -> str:
    """Write a file of messages."""
    lines = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in messages]
    (processes.directory / "messages").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return "messages"


def publish(processes: Processes, url: str, *arguments: str) -> Ended:
    ended = processes.run("publish", *arguments, FEDORA_MESSAGING_AMQP_URL=url)
    assert "Traceback" not in ended.output
    return ended


def test_publishes_what_the_file_says(processes: Processes, queues: Queues) -> None:
    queue = queues.make("cli.publish")
    ended = publish(processes, queues.url, write(processes, MESSAGE))
    assert (ended.status, ended.stderr) == (0, [])
    assert "Publishing message with topic cli.publish" in ended.stdout
    method, properties, body = queues.channel.basic_get(queue, auto_ack=True)
    assert method.routing_key == "cli.publish"
    assert json.loads(body) == MESSAGE["body"]
    assert properties.message_id == ID
    assert properties.priority == 3
    assert properties.delivery_mode == 2
    assert properties.headers == {
        **HEADERS,
        "fedora_messaging_schema_package": "fedora_messaging",
        "priority": 3,
    }


def test_a_line_without_an_id_gets_one(processes: Processes, queues: Queues) -> None:
    """`record` writes null for a message that arrived without one."""
    queue = queues.make("cli.publish")
    lines: list[dict[str, Any]] = [{**MESSAGE, "id": None}, {"topic": "cli.publish", "body": {}}]
    assert publish(processes, queues.url, write(processes, *lines)).status == 0
    ids = {queues.channel.basic_get(queue, auto_ack=True)[1].message_id for _ in lines}
    assert len({str(uuid.UUID(one)) for one in ids}) == 2


def test_keeps_the_order_of_many(processes: Processes, queues: Queues) -> None:
    queue = queues.make("cli.publish")
    lines = [{"topic": "cli.publish", "body": {"n": n}} for n in range(100)]
    assert publish(processes, queues.url, write(processes, *lines)).status == 0
    found = [json.loads(queues.channel.basic_get(queue, auto_ack=True)[2])["n"] for _ in lines]
    assert found == list(range(100))


def test_reads_standard_input(processes: Processes, embedded_queues: Queues) -> None:
    """And each line is published when it has come, not at the end of the input."""
    queue = embedded_queues.make("cli.publish")
    process = processes.fedora_messaging("publish", "-", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    process.say(json.dumps(MESSAGE))
    embedded_queues.wait_until_ready(queue, 1)
    process.say(json.dumps(MESSAGE))
    process.end_input()
    assert process.end().status == 0
    assert embedded_queues.ready(queue) == 2


def test_exchange_option(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.channel.queue_bind(queue, "amq.direct", "cli.publish")
    file = write(processes, MESSAGE)
    assert publish(processes, embedded_queues.url, "--exchange", "amq.direct", file).status == 0
    assert embedded_queues.ready(queue) == 1


def test_nothing_to_publish(processes: Processes, silent_port: int) -> None:
    """No broker is needed for that."""
    ended = publish(processes, f"amqp://127.0.0.1:{silent_port}", write(processes))
    assert (ended.status, ended.stderr) == (0, [])


def test_no_such_file(processes: Processes) -> None:
    assert "messages" in processes.run("publish", "messages").usage_error()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not JSON",
        "[]",
        '{"topic": "cli.publish"}',
        '{"topic": 1, "body": {}}',
        '{"topic": "cli.publish", "body": []}',
        '{"topic": "cli.publish", "body": {}, "headers": {"fedora_messaging_severity": 25}}',
    ],
)
def test_invalid_line(processes: Processes, embedded_queues: Queues, line: str) -> None:
    """The line is told first; what stands before it is published, as ever, and nothing after it."""
    queue = embedded_queues.make("cli.publish")
    file = write(processes, MESSAGE, line, MESSAGE)
    ended = publish(processes, embedded_queues.url, file)
    assert ended.status == 2
    told, *usage, error = ended.stderr
    assert told.startswith("Unable to validate message: ")
    assert told.endswith(f"(line 2 of {file}); what stands before is published")
    assert usage[0].startswith("Usage: ")
    assert error.startswith("Error: Unable to validate message: ")
    assert embedded_queues.ready(queue) == 1


def test_all_or_nothing(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make("cli.publish")
    file = write(processes, MESSAGE, "{", MESSAGE)
    ended = publish(processes, embedded_queues.url, "--all-or-nothing", file)
    assert f"(line 2 of {file})" in ended.usage_error()
    assert embedded_queues.ready(queue) == 0
    assert publish(processes, embedded_queues.url, "--all-or-nothing", write(processes, MESSAGE)).status == 0
    assert embedded_queues.ready(queue) == 1


def test_all_or_nothing_from_a_pipe(processes: Processes, embedded_queues: Queues) -> None:
    ended = publish(processes, embedded_queues.url, "--all-or-nothing", "-")
    assert "a pipe can be read only once" in ended.usage_error()


def test_one_message_from_options(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make("cli.publish")
    options = (
        "--topic",
        "cli.publish",
        "--body",
        '{"n": [1, "ü"]}',
        "--header",
        "zone=eu=1",
        "--header",
        "x=",
    )
    ended = publish(processes, embedded_queues.url, *options)
    assert (ended.status, ended.stderr) == (0, [])
    _method, properties, body = embedded_queues.channel.basic_get(queue, auto_ack=True)
    assert json.loads(body) == {"n": [1, "ü"]}
    assert (properties.headers["zone"], properties.headers["x"]) == ("eu=1", "")
    assert properties.headers["fedora_messaging_schema"] == "base.message"


def test_one_message_without_a_body(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make("cli.publish")
    assert publish(processes, embedded_queues.url, "--topic", "cli.publish", "--timeout", "20").status == 0
    assert [json.loads(body) for body in embedded_queues.take(queue)] == [{}]


def test_one_message_with_a_schema(processes: Processes, embedded_queues: Queues) -> None:
    queue = embedded_queues.make("bodhi.update")
    body = '{"update": {}}'
    arguments = ("--topic", "bodhi.update", "--schema", "bodhi.update.comment.v1", "--body", body)
    ended = publish(processes, embedded_queues.url, *arguments)
    assert ended.status == 1
    assert "is not valid: 'comment' is a required property" in ended.one_error()
    assert embedded_queues.ready(queue) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "Missing argument 'FILE', or the option --topic"),
        (("--body", "{}"), "give its --topic, too"),
        (("--header", "a=b"), "give its --topic, too"),
        (("--topic", "t", "messages"), "Give either FILE or --topic, not both"),
        (("--topic", "t", "--body", "{"), "it is not JSON"),
        (("--topic", "t", "--body", "[" * 100_000), "it is not JSON"),
        (("--topic", "t", "--body", "[]"), "it is JSON, but not an object in {}"),
        (("--topic", "t", "--header", "zone"), "'zone' is not of the form KEY=VALUE"),
        (("--topic", "t", "--header", "=x"), "'' is not of the form KEY=VALUE"),
        (
            ("--topic", "t", "--schema", "base.mesage"),
            "'base.mesage': did you mean base.message?",
        ),
        (
            ("--topic", "t", "--schema", "quite.other"),
            "'quite.other': install the package",
        ),
        (("--topic", "t", "--timeout", "0"), "0.0 is not in the range x>0.0"),
    ],
)
def test_mistakes(processes: Processes, silent_port: int, arguments: tuple[str, ...], complaint: str) -> None:
    write(processes, MESSAGE)
    ended = publish(processes, f"amqp://127.0.0.1:{silent_port}", *arguments)
    assert complaint in ended.usage_error()


def test_timeout(processes: Processes, silent_port: int) -> None:
    ended = publish(processes, f"amqp://127.0.0.1:{silent_port}", "--topic", "t", "--timeout", "0.1")
    assert ended.status == 111
    assert "timed out after waiting 0.1 seconds" in ended.one_error()


def test_file_that_is_not_utf_8(processes: Processes, embedded_queues: Queues) -> None:
    (processes.directory / "messages").write_bytes(b'{"topic": "cli", "body": {"caf\xe9": 1}}\n')
    ended = publish(processes, embedded_queues.url, "messages")
    assert ended.status in (1, 2)
    assert len([line for line in ended.stderr if line.startswith("Error: ")]) == 1


def test_message_that_violates_its_schema(processes: Processes, embedded_queues: Queues) -> None:
    """A schema of an installed package; the one before is published, the one after is not."""
    installed = processes.directory / "installed"
    (installed / "app_messages-1.0.dist-info").mkdir(parents=True)
    (installed / "app_messages-1.0.dist-info/METADATA").write_text("Name: app-messages\nVersion: 1.0\n")
    (installed / "app_messages-1.0.dist-info/entry_points.txt").write_text(
        "[fedora.messages]\napp.v1 = app_messages:AppV1\n"
    )
    (installed / "app_messages.py").write_text(_SCHEMA)
    queue = embedded_queues.make("cli.publish")
    message = {**MESSAGE, "headers": {"fedora_messaging_schema": "app.v1"}}
    good, bad = ({**message, "body": {"n": n}} for n in (1, "one"))
    ended = processes.run(
        "publish",
        write(processes, good, bad, good),
        FEDORA_MESSAGING_AMQP_URL=embedded_queues.url,
        PYTHONPATH=str(installed),
    )
    assert ended.status == 1
    assert "'one' is not of type 'integer'" in ended.one_error()
    assert ID in ended.one_error()
    assert embedded_queues.ready(queue) == 1


_SCHEMA = """
from fedora_messaging.message import Message


class AppV1(Message):
    body_schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
"""


def test_topic_that_is_too_long(processes: Processes, embedded_queues: Queues) -> None:
    ended = publish(processes, embedded_queues.url, write(processes, {**MESSAGE, "topic": "x" * 256}))
    assert ended.status == 1
    assert ID in ended.one_error()


def test_queue_that_is_full(processes: Processes, queues: Queues) -> None:
    """The broker refuses the message with a nack."""
    queue = queues.make("cli.publish", {"x-max-length": 1, "x-overflow": "reject-publish"})
    ended = publish(processes, queues.url, write(processes, MESSAGE, MESSAGE))
    assert ended.status == errno.EREMOTEIO == 121
    assert ended.stderr[-1].startswith("Unable to publish message: ")
    assert queues.ready(queue) == 1


def test_exchange_that_is_internal(processes: Processes, queues: Queues) -> None:
    """The broker forbids it with 403."""
    name = queues.name()
    queues.channel.exchange_declare(name, internal=True, auto_delete=False)
    ended = publish(processes, queues.url, "--exchange", name, write(processes, MESSAGE))
    queues.channel.exchange_delete(name)
    assert ended.status == 121
    assert ended.stderr[-1].startswith("Unable to publish message: (403) ")


def test_exchange_that_does_not_exist(processes: Processes, queues: Queues) -> None:
    """It fails at once, not after a timeout."""
    ended = publish(processes, queues.url, "--exchange", "no.such", write(processes, MESSAGE))
    assert ended.status == 1
    assert ended.stderr[-1].startswith("A general publish exception occurred: (404) ")
    assert "no.such" in ended.one_error()


def test_wrong_password(processes: Processes, queues: Queues) -> None:
    url = queues.url.replace("amqp://", "amqp://guest:pAssw0rd@").replace("guest:guest@", "")
    ended = publish(processes, url, write(processes, MESSAGE))
    assert ended.status == 1
    assert "ACCESS_REFUSED" in ended.one_error()
    assert "pAssw0rd" not in ended.output


def test_bad_url(processes: Processes) -> None:
    ended = publish(processes, "amqp://guest:pAssw0rd@localhost/?nonsense=1", write(processes, MESSAGE))
    assert ended.status == 1
    assert "Unknown URL parameter: 'nonsense'" in ended.one_error()
    assert "pAssw0rd" not in ended.output


def test_no_broker(hopeless: Process) -> None:
    ended = hopeless.end(PUBLISH_TIMEOUT + DEADLINE)
    assert ended.status == errno.ECONNREFUSED == 111
    assert "Traceback" not in ended.output
    assert ended.stderr[-1].startswith(
        "Unable to connect to the message broker: Publishing timed out after waiting 30 seconds."
    )
    assert "pAssw0rd" not in ended.output


def test_no_broker_is_told_at_once(processes: Processes, silent_port: int) -> None:
    """Not only after the timeout."""
    url = f"amqp://127.0.0.1:{silent_port}"
    process = processes.fedora_messaging("publish", "-", FEDORA_MESSAGING_AMQP_URL=url)
    process.say(MESSAGE_LINE)
    started = time.monotonic()
    process.wait_for(rf"127\.0\.0\.1:{silent_port}.*Connection refused")
    assert time.monotonic() - started < PUBLISH_TIMEOUT / 2


def test_body_that_the_shell_has_taken_apart(processes: Processes, silent_port: int) -> None:
    arguments = ("--topic", "t", "--body", "{text:", "hi}")
    ended = publish(processes, f"amqp://127.0.0.1:{silent_port}", *arguments)
    assert "'hi}' is taken for FILE; if it belongs to the body, quote that" in ended.usage_error()


def test_pattern_instead_of_a_topic(processes: Processes, embedded_queues: Queues) -> None:
    ended = publish(processes, embedded_queues.url, "--topic", "cli.#")
    assert ended.status == 0
    assert ended.one_error() == "Warning: * and # mean something in bindings only, not in a topic"
