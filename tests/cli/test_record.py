"""``fedora-messaging record``: what is not in the file stays in the queue."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest
from tests.support.processes import FEDORA_MESSAGING

from fedora_messaging.cli.record import Recorder, _Lines
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message, loads

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Ended, Processes

DURABLE = "durable = true\nauto_delete = false\nexclusive = false\narguments = {}\n"
#: Types that JSON lacks, as in a dead letter of a broker.
ODD: dict[str, Any] = {
    "x-death": [{"count": 1, "time": datetime(2026, 11, 29, tzinfo=UTC), "routing-keys": ["a.b"]}],
    "price": Decimal("1.50"),
    "blob": b"\xff\x00",
    "nothing": None,
}


class Recording:
    """A durable queue that is in the configuration, and the command.

    Another queue is configured, whose patterns are not to be bound to this one.
    """

    def __init__(self, processes: Processes, queues: Queues) -> None:
        self.processes = processes
        self.queues = queues
        self.queue = queues.make()
        self.other = queues.name()
        lines = [f'amqp_url = "{queues.url}"']
        for name in (self.queue, self.other):
            lines += [f'[queues."{name}"]', DURABLE, "[[bindings]]", f'queue = "{name}"']
            lines += ['exchange = "amq.topic"', f'routing_keys = ["{name}.#"]']
        (processes.directory / "config.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def put(self, number: int, headers: dict[str, Any] | None = None, body: bytes | None = None) -> None:
        properties = pika.BasicProperties(
            content_encoding="utf-8", message_id=f"id-{number}", headers=headers or {}, delivery_mode=2
        )
        self.queues.channel.basic_publish("", self.queue, body or b'{"number": %d}' % number, properties)

    def run(self, *arguments: str) -> Ended:
        return self.processes.run("--conf=config.toml", "record", f"--queue-name={self.queue}", *arguments)

    def recorded(self, name: str = "out") -> list[Message]:
        return loads((self.processes.directory / name).read_text(encoding="utf-8"))


@pytest.fixture
def recording(processes: Processes, embedded_queues: Queues) -> Recording:
    return Recording(processes, embedded_queues)


def test_p35_headers_that_json_lacks_and_lone_surrogates(recording: Recording) -> None:
    """What is recorded and published again is what came."""
    recording.put(1, ODD)
    recording.put(2, ODD, b'{"text": "\\ud800"}')
    ended = recording.run("--limit=2", "out")
    assert ended.status == 0, ended.output
    assert [message.id for message in recording.recorded()] == ["id-1", "id-2"]
    assert recording.queues.ready(recording.queue) == 0

    (recording.processes.directory / "again.toml").write_text(
        f'amqp_url = "{recording.queues.url}"\n', encoding="utf-8"
    )
    target = recording.queues.make("#")
    ended = recording.processes.run("--conf=again.toml", "publish", "out")
    assert ended.status == 0, ended.output
    for number, body in ((1, {"number": 1}), (2, {"text": "\ud800"})):
        _method, properties, raw = recording.queues.channel.basic_get(target, auto_ack=True)
        assert (properties.message_id, json.loads(raw)) == (f"id-{number}", body)
        assert {name: properties.headers[name] for name in ODD} == ODD


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_p35_a_full_disk(recording: Recording) -> None:
    recording.put(1)
    ended = recording.run("/dev/full")
    assert ended.status == 1
    assert len([line for line in ended.output.splitlines() if "Unable to save messages to file" in line]) == 1
    assert "No space left on device" in ended.output
    assert "Traceback" not in ended.output
    recording.queues.wait_until_ready(recording.queue, 1)


def test_p35_a_file_that_may_not_grow(recording: Recording) -> None:
    """A line that does not fit leaves no part of itself; with more room, recording goes on."""
    for number in range(3):
        recording.put(number, body=json.dumps({"number": number, "text": "x" * 900}).encode())
    script = recording.processes.directory / "limited.py"
    script.write_text(
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2500, resource.RLIM_INFINITY))\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n",
        encoding="utf-8",
    )
    limited = [
        str(FEDORA_MESSAGING),
        "--conf=config.toml",
        "record",
        f"--queue-name={recording.queue}",
        "out",
    ]
    process = recording.processes.python(script, *limited)
    process.end_input()
    ended = process.end()
    assert ended.status == 1
    assert "Traceback" not in ended.output
    assert "File too large" in ended.output
    assert [message.body["number"] for message in recording.recorded()] == [0, 1]
    recording.queues.wait_until_ready(recording.queue, 1)
    assert recording.run("--append", "--limit=1", "out").status == 0
    assert [message.body["number"] for message in recording.recorded()] == [0, 1, 2]


def test_p35_a_file_that_has_a_content_is_left_alone(recording: Recording) -> None:
    recording.put(1)
    out = recording.processes.directory / "out"
    out.write_text('{"topic": "old", "body": {}}', encoding="utf-8")  # a last line without its end
    assert "--append" in recording.run("--limit=1", "out").usage_error()
    assert out.read_text(encoding="utf-8") == '{"topic": "old", "body": {}}'
    assert recording.queues.ready(recording.queue) == 1
    assert recording.run("--limit=1", "--append", "--force", "out").status == 2

    assert recording.run("--limit=1", "--append", "out").status == 0
    assert [message.topic for message in recording.recorded()] == ["old", recording.queue]
    recording.put(2)
    assert recording.run("--limit=1", "--append", "out").status == 0
    assert len(recording.recorded()) == 3
    recording.put(3)
    assert recording.run("--limit=1", "--force", "out").status == 0
    assert [message.id for message in recording.recorded()] == ["id-3"]


def test_p35_an_empty_file_needs_no_permission(recording: Recording) -> None:
    recording.put(1)
    (recording.processes.directory / "out").touch()
    assert recording.run("--limit=1", "out").status == 0
    assert len(recording.recorded()) == 1


@pytest.mark.parametrize("path", ["no/such/directory/out", "."])
def test_p35_a_path_that_cannot_be_written(recording: Recording, path: str) -> None:
    """It is told before anything is taken."""
    recording.put(1)
    ended = recording.run(path)
    assert ended.status in (1, 2)
    assert path in ended.stderr[-1]
    assert "Traceback" not in ended.output
    assert recording.queues.ready(recording.queue) == 1


def test_p35_only_messages_on_standard_output(recording: Recording) -> None:
    with (recording.processes.directory / "config.toml").open("a", encoding="utf-8") as config:
        config.write(
            "[log_config]\nversion = 1\ndisable_existing_loggers = false\n"
            "[log_config.root]\nlevel = 'DEBUG'\nhandlers = ['console']\n"
            "[log_config.handlers.console]\nclass = 'logging.StreamHandler'\nstream = 'ext://sys.stdout'\n"
        )
    recording.put(1)
    recording.put(2, ODD)
    ended = recording.run("--limit=2", "-")
    assert ended.status == 0
    assert [message.id for message in loads("".join(f"{line}\n" for line in ended.stdout))] == [
        "id-1",
        "id-2",
    ]
    # The logs are still to be had.
    assert "Successfully registered" in "\n".join(ended.stderr)


def test_p35_a_configured_durable_queue_is_consumed_as_it_is(recording: Recording) -> None:
    recording.put(1)
    ended = recording.run("--limit=1", "out")
    assert ended.status == 0, ended.output
    channel = recording.queues.channel
    # Nothing of the other queue came to be bound to this one.
    channel.basic_publish("amq.topic", f"{recording.other}.x", b"{}")
    channel.basic_publish("amq.topic", f"{recording.queue}.x", b"{}")
    assert recording.queues.ready(recording.queue) == 1


# Parts


class Refusing:
    """A text file that takes nothing."""

    def write(self, _text: str) -> None:
        raise OSError(5, "canary")

    def flush(self) -> None:
        pass


def test_a_message_that_cannot_be_written_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(None, Refusing())
    with pytest.raises(HaltConsumer) as caught:
        recorder.collect_message(Message())
    assert (caught.value.exit_code, caught.value.requeue, recorder.counter) == (1, True, 0)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert "canary" in shown.out


def test_no_more_than_the_limit_in_several_threads(tmp_path: Path) -> None:
    """What comes beyond it, because callbacks run at once, goes back."""
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        recorder = Recorder(3, file)
        requeued: list[bool] = []

        def collect() -> None:
            try:
                recorder.collect_message(Message())
            except HaltConsumer as halt:
                requeued.append(halt.requeue)

        threads = [threading.Thread(target=collect) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(requeued) == [False, True, True, True, True, True]
    assert (recorder.counter, len(loads((tmp_path / "out").read_text(encoding="utf-8")))) == (3, 3)


def test_a_pipe_that_takes_no_more_is_an_error() -> None:
    """A line is not given up in silence when the pipe does not wait."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb"), open(writer, "wb", buffering=0) as file:  # noqa: PTH123 - descriptors
        with pytest.raises(BlockingIOError):
            _Lines(file).write("x" * 10_000_000)
