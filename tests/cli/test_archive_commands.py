"""``fedora-messaging archive``, and what other commands do with an archive."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from fedora_messaging import api, cli
from fedora_messaging.archive.entry import entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.message import ERROR, Message, dumps

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from tests.cli.conftest import Queues

    from fedora_messaging import config

CALLBACK = """
import sys

def note(message):
    print("called with", message.topic, file=sys.stderr)
"""


def message(number: int, topic: str = "lesson.first", sent: str = "2026-01-01T00:00:00+00:00") -> Message:
    made = Message(topic=topic, body={"number": number, "word": "kernel"}, severity=ERROR)
    made.id = f"id-{number}"
    made._headers["sent-at"] = sent
    return made


@pytest.fixture
def location(tmp_path: Path) -> str:
    """An archive with three messages."""
    path = str(tmp_path / "archive.db")
    archive = open_archive(path)
    archive.store(
        [
            entry_of(message(1), 0.0),
            entry_of(message(2, "lesson.second", "2026-01-02T00:00:00+00:00"), 0.0),
            entry_of(message(3, "other.topic", "2026-01-03T00:00:00+00:00"), 0.0),
        ]
    )
    archive.close()
    return path


def run(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli.cli.commands[command], arguments)


def told(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def test_import_and_export(location: str, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(dumps([message(3), message(4)]))
    assert told(run("archive", "import", "--archive", location, str(lines))) == "Stored 1 new message of 2.\n"
    exported = tmp_path / "exported"
    assert told(run("archive", "export", "--archive", location, "--topic", "lesson.#", str(exported)))
    assert [json.loads(line)["id"] for line in exported.read_text().splitlines()] == ["id-1", "id-4", "id-2"]
    again = str(tmp_path / "again.db")
    assert (
        told(run("archive", "import", "--archive", again, str(exported))) == "Stored 3 new messages of 3.\n"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2026-01-02T00:00:00+00:00"], ["id-2", "id-3"]),
        (["--until", "2026-01-02T00:00:00+00:00"], ["id-1"]),
        (["--topic", "lesson.*", "--topic", "other.#"], ["id-1", "id-2", "id-3"]),
        (["--text", "kernel -2"], ["id-1", "id-3"]),
        (["--user", "nobody"], []),
    ],
)
def test_what_is_chosen(location: str, tmp_path: Path, options: list[str], expected: list[str]) -> None:
    exported = tmp_path / "exported"
    told(run("archive", "export", "--archive", location, *options, str(exported)))
    lines = exported.read_text().splitlines() if exported.exists() else []
    assert [json.loads(line)["id"] for line in lines] == expected


def test_a_broken_line_is_named(location: str, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(dumps(message(4)) + "nonsense\n")
    result = run("archive", "import", "--archive", location, str(lines))
    assert result.exit_code == 1
    assert "Line 2 of " in result.output
    assert json.loads(open_archive(location).stored_after(3)[0].record)["id"] == "id-4"


def test_prune(location: str) -> None:
    assert run("archive", "prune", "--archive", location).exit_code == 2
    assert "is no duration" in run("archive", "prune", "--archive", location, "--keep", "soon").output
    assert "is no size" in run("archive", "prune", "--archive", location, "--max-size", "much").output
    assert told(run("archive", "prune", "--archive", location, "--keep", "100w")) == (
        "Deleted 0 messages; 3 are left.\n"
    )
    assert told(run("archive", "prune", "--archive", location, "--max-size", "1")).startswith(
        "Deleted 3 messages"
    )


@pytest.mark.parametrize("command", [["export", "-"], ["prune", "--keep", "1d"]])
def test_an_archive_that_is_missing(tmp_path: Path, command: list[str]) -> None:
    result = run("archive", *command, "--archive", str(tmp_path / "missing.db"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no archive at ")


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("hello" * 1000)
    result = run("archive", "prune", "--keep", "1d", "--archive", str(other))
    assert result.exit_code == 1
    assert "cannot be used" in result.output


def test_replay_of_several(location: str, queues: Queues, settings: config.LazyConfig) -> None:
    queue = queues.make("lesson.#")
    settings["amqp_url"] = queues.url
    settings["topic_prefix"] = "prefix.that.archived.topics.have"
    try:
        dry = run("replay", "--archive", location, "--topic", "lesson.#", "--dry-run")
        assert "2 messages would be replayed" in told(dry)
        assert queues.ready(queue) == 0
        started = time.monotonic()
        # A day between the two takes a tenth of a second.
        done = run("replay", "--archive", location, "--topic", "lesson.#", "--speed", "864000")
        assert "2 messages replayed" in told(done)
        assert time.monotonic() - started >= 0.1
    finally:
        api.close()
    queues.wait_until_ready(queue, 2)
    assert [json.loads(body)["number"] for body in queues.take(queue)] == [1, 2]


def test_replay_of_one(location: str, queues: Queues, settings: config.LazyConfig) -> None:
    queue = queues.make("lesson.#")
    settings["amqp_url"] = queues.url
    try:
        told(run("replay", "--archive", location, "id-2"))
        missing = run("replay", "--archive", location, "id-9")
    finally:
        api.close()
    queues.wait_until_ready(queue, 1)
    assert (missing.exit_code, "has no message with the id id-9" in missing.output) == (1, True)


def test_replay_wants_to_know_which(location: str) -> None:
    assert "Missing argument 'MESSAGE_ID'" in run("replay").output
    assert "Say which messages" in run("replay", "--archive", location).output
    assert run("replay", "--archive", location, "--since", "yesterday").exit_code == 2


def test_reconsume(location: str, tmp_path: Path) -> None:
    (tmp_path / "callback.py").write_text(CALLBACK)
    callback = f"--callback-file={tmp_path}/callback.py:note"
    result = run("reconsume", "--archive", location, callback, "--since", "2026-01-02T00:00:00+00:00")
    assert "2 messages consumed" in told(result)
    assert [line for line in result.output.splitlines() if line.startswith("called")] == [
        "called with lesson.second",
        "called with other.topic",
    ]
    assert "Missing argument 'MESSAGE_ID'" in run("reconsume", callback).output


def test_record_wants_one_place(location: str, tmp_path: Path) -> None:
    assert "Give either FILE or --archive" in run("record").output
    assert "Give either FILE or --archive" in run("record", "--archive", location, str(tmp_path / "f")).output
