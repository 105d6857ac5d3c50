"""`fedora-messaging doctor`: what is wrong, where, and how to mend it (P30)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Processes


def examine(processes: Processes, text: str) -> Ended:
    (processes.directory / "config.toml").write_text(text)
    ended = processes.run("--conf", "config.toml", "doctor")
    assert ended.stderr == []
    return ended


def found(ended: Ended, kind: str) -> list[str]:
    return [line[len(kind) :].strip() for line in ended.stdout if line.startswith(f"{kind} ")]


def queue(name: str, durable: str = "true", exclusive: str = "false") -> str:
    settings = f"durable = {durable}\nauto_delete = false\nexclusive = {exclusive}\narguments = {{}}\n"
    return f'[queues."{name}"]\n{settings}'


def test_nothing_is_wrong(processes: Processes, queues: Queues) -> None:
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
    assert f"the queue {there} is there, with 1 messages" in fine
    assert f"the queue {later} is not there, and will be declared" in fine
    assert any(line.endswith("and lets us in") for line in fine)
    # It has changed nothing.
    with pytest.raises(Exception, match="no queue"):
        queues.channel.queue_declare(later, passive=True)
    queues.channel = queues.connection.channel()


def test_p30_what_newer_rabbitmqs_refuse(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(
        processes,
        f'amqp_url = "{embedded_queues.url}"\nbindings = []\n'
        + queue("old", durable="false")
        + queue("lazy").replace("arguments = {}", 'arguments = { x-queue-mode = "lazy" }')
        + queue("private", durable="false", exclusive="true"),
    )
    assert ended.status == 0, ended.output
    warnings = found(ended, "warning")
    assert len(warnings) == 2
    assert warnings[0].startswith(
        "the queue 'old' is neither durable nor exclusive, which RabbitMQ 4.3 refuses: "
    )
    assert (
        warnings[1] == "the queue 'lazy' has the argument x-queue-mode, which RabbitMQ 4.3 refuses: remove it"
    )


def test_defaults_are_fit_for_newer_rabbitmqs(processes: Processes, embedded_queues: Queues) -> None:
    ended = examine(processes, f'amqp_url = "{embedded_queues.url}"\n')
    assert ended.status == 0
    assert found(ended, "warning") == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('callback = "no.such:thing"', "Failed to import the callback module"),
        ("[consumer.retry]\non = ['NoSuch']", "names 'NoSuch', which is no exception"),
        ("[qos]\nprefetch_count = -1", '"prefetch_count" in [qos]'),
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


def test_every_node_is_tried(processes: Processes, embedded_queues: Queues, silent_port: int) -> None:
    urls = [
        embedded_queues.url,
        "amqp://127.0.0.1:1",
        embedded_queues.url.replace("://", "://guest:canary-wrong@"),
    ]
    ended = examine(processes, f"amqp_url = {urls}\n")
    assert ended.status == 1
    refused, denied = found(ended, "failure")
    assert refused.startswith("cannot connect to amqp://127.0.0.1:1: ")
    assert "ACCESS_REFUSED" in denied
    assert "canary-wrong" not in ended.output


def test_passive_queue_that_is_not_there(processes: Processes, queues: Queues) -> None:
    name = queues.name()
    ended = examine(
        processes, f'amqp_url = "{queues.url}"\nbindings = []\npassive_declares = true\n{queue(name)}'
    )
    assert ended.status == 1
    assert found(ended, "failure") == [f"the queue {name} is not there, and is not to be declared (passive)"]


def test_bindings_of_no_queue(processes: Processes, embedded_queues: Queues) -> None:
    binding = '[[bindings]]\nqueue = "other"\nexchange = "amq.topic"\nrouting_keys = ["#"]\n'
    ended = examine(
        processes, f'amqp_url = "{embedded_queues.url}"\n{queue(embedded_queues.name())}{binding}'
    )
    assert ended.status == 0
    assert found(ended, "warning") == [
        "a binding names the queue 'other', which [queues] does not: it has no effect"
    ]
