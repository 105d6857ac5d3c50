"""What strangers write into messages reaches neither terminals nor logs as they wrote it (P22)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pika
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Processes

#: A line that forges a log entry, a sequence that rewrites a terminal's title, C1, and a change of direction.
EVIL = "x\r\n[fedora_messaging ERROR] forged\x1b]0;owned\x07\x9b31m\u202eevil\u2028"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def harmless(ended: Ended) -> None:
    assert not CONTROLS.search(ended.output), ascii(ended.output)
    assert "[fedora_messaging ERROR] forged" not in [line[:31] for line in ended.output.splitlines()]
    assert "Traceback" not in ended.output


def configuration(processes: Processes, url: str) -> str:
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{url}"\nbindings = []\n[queues.""]\n'
        "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"
    )
    return "config.toml"


def put(queues: Queues, queue: str, body: bytes) -> None:
    """A message with evil in every field that its publisher chooses."""
    topic = EVIL[:80]
    queues.channel.queue_bind(queue, "amq.topic", "#")
    queues.channel.basic_publish(
        "amq.topic",
        topic,
        body,
        pika.BasicProperties(
            message_id=EVIL,
            content_encoding="utf-8",
            headers={"fedora_messaging_schema": EVIL, "fedora_messaging_severity": 20, EVIL: EVIL},
            app_id=EVIL,
            type=EVIL,
        ),
    )
    queues.channel.queue_unbind(queue, "amq.topic", "#")


@pytest.mark.parametrize(
    "body",
    [json.dumps({EVIL: EVIL}, ensure_ascii=False).encode(), json.dumps([EVIL]).encode(), EVIL.encode()],
)
def test_p22_consume_and_dlq(processes: Processes, queues: Queues, body: bytes) -> None:
    queue = queues.make()
    put(queues, queue, body)
    put(queues, queue, b"{}")
    (processes.directory / "app.py").write_text(
        "from fedora_messaging.example import printer\n"
        "from fedora_messaging.exceptions import HaltConsumer\n"
        "def callback(message):\n"
        "    printer(message)\n"
        "    if not message.body:\n"
        "        raise HaltConsumer(requeue=True)\n"
    )
    conf = configuration(processes, queues.url)
    ended = processes.run("--conf", conf, "consume", "--callback=app:callback", f"--queue-name={queue}")
    assert ended.status == 0, ended.output
    harmless(ended)
    queues.wait_until_ready(queue, 1)
    for command in ("list", "show"):
        shown = processes.run("--conf", conf, "dlq", command, queue)
        assert shown.status == 0
        harmless(shown) if command == "list" else json.loads(shown.stdout[0])
        assert "\x1b" not in shown.output


def test_p22_publish(processes: Processes, queues: Queues) -> None:
    conf = configuration(processes, queues.url)
    line = json.dumps({"topic": EVIL[:80], "body": {EVIL: EVIL}, "id": EVIL, "headers": {EVIL: EVIL}})
    (processes.directory / "messages").write_text(line + "\n")
    ended = processes.run("--conf", conf, "publish", "messages")
    harmless(ended)
    refused = processes.run("--conf", conf, "publish", "--exchange", EVIL, "messages")
    assert refused.status != 0
    harmless(refused)


def test_p22_queue_names(processes: Processes, queues: Queues) -> None:
    """RabbitMQ takes line ends out of names, and leaves the rest."""
    conf = configuration(processes, queues.url)
    ended = processes.run("--conf", conf, "dlq", "list", EVIL[:80])
    assert ended.status == 1
    harmless(ended)
