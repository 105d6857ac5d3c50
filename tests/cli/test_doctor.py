"""`fedora-messaging doctor`: its verdict, and its two ways of saying it (P30)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.cli.examining import examine, found, queue

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.brokers import Broker
    from tests.support.processes import Processes


def test_nothing_is_wrong(processes: Processes, queues: Queues, broker: Broker) -> None:
    there, later = queues.make(), queues.name()
    queues.put(there, "{}")
    ended = examine(
        processes,
        f'amqp_url = "{queues.url}"\ncallback = "fedora_messaging.example:printer"\nbindings = []\n'
        + queue(there)
        + queue(later),
    )
    assert ended.status == 0, ended.output
    assert found(ended, "warning") == found(ended, "failure") == []
    fine = found(ended, "ok")
    assert f"the queue {there} is there, with 1 message" in fine
    assert f"the queue {later} is not there, and will be declared" in fine
    # The embedded broker tells clients that it is RabbitMQ, but people have to know.
    kind = "RabbitMQ " if broker.embedded is None else "the embedded broker, which imitates RabbitMQ "
    assert any(f" is {kind}" in line and line.endswith("and lets us in") for line in fine)
    # It has changed nothing.
    with pytest.raises(Exception, match="no queue"):
        queues.channel.queue_declare(later, passive=True)
    queues.channel = queues.connection.channel()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('callback = "no.such:thing"', "Failed to import the callback module"),
        ("[consumer.retry]\non = ['NoSuch']", "names 'NoSuch', which is no exception"),
        (
            "[queues.q]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {}\ncolour = 5",
            "colour",
        ),
        ('amqp_url = "amqp://host:port"', '"amqp_url" is invalid'),
    ],
)
def test_failures(processes: Processes, embedded_queues: Queues, text: str, complaint: str) -> None:
    url = "" if "amqp_url" in text else f'amqp_url = "{embedded_queues.url}"\n'
    ended = examine(processes, url + text)
    assert ended.status == 1, ended.output
    (failure,) = found(ended, "failure")
    assert complaint in failure


def test_setting_of_a_wrong_type(processes: Processes) -> None:
    """It is told as every command tells it."""
    (processes.directory / "config.toml").write_text("topic_prefix = 5")
    ended = processes.run("--conf", "config.toml", "doctor")
    assert ended.status == 2
    assert '"topic_prefix" must be text, but is 5' in ended.stderr[-1]
    assert ended.stderr[-1].endswith("(in config.toml)")


def test_json(processes: Processes, embedded_queues: Queues, silent_port: int) -> None:
    ended = processes.run("doctor", "--json", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    assert ended.status == 0
    told = json.loads(ended.stdout[0])
    assert told["result"] == "ok"
    assert {finding["result"] for finding in told["findings"]} == {"ok"}
    ended = processes.run("doctor", "--json", FEDORA_MESSAGING_AMQP_URL=f"amqp://127.0.0.1:{silent_port}")
    assert ended.status == 1
    told = json.loads(ended.stdout[0])
    assert told["result"] == "failure"
    assert "Connection refused" in told["findings"][-1]["text"]
