"""``fedora-messaging demo`` as a process."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Ended, Process, Processes


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's directory for temporary files."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture
def demo(processes: Processes, temporary: Path) -> Demo:
    return Demo(processes, temporary)


class Demo:
    def __init__(self, processes: Processes, temporary: Path) -> None:
        self._processes = processes
        self.temporary = temporary

    def start(self, *arguments: str, **variables: str) -> Process:
        return self._processes.fedora_messaging(
            "demo", *arguments, TMPDIR=str(self.temporary), COLUMNS="100", **variables
        )

    def run(self, *arguments: str, **variables: str) -> Ended:
        return self.start(*arguments, **variables).end()


def consumed(ended: Ended) -> dict[str, int]:
    """The numbers in the table."""
    rows = (re.fullmatch(r"│ (.+?) +│ \w+ +│ +(\d+) │", line) for line in ended.stdout)
    return {row[1]: int(row[2]) for row in rows if row}


@pytest.mark.parametrize("messages", [1, 2, 7, 60])
def test_once_counts_for_real(demo: Demo, messages: int) -> None:
    ended = demo.run("--once", "--messages", str(messages))
    assert (ended.status, ended.stderr) == (0, [])
    assert ended.stdout[-1] == f"demo: published {messages}, consumed {messages}, lost 0"
    table = consumed(ended)
    assert table["archive"] == messages
    # Two workers share a queue, in turns.
    assert sorted((table["consumer A"], table["consumer B"])) == [messages // 2, (messages + 1) // 2]
    assert len([line for line in ended.stdout if re.search("-> consumer [AB]$", line)]) == messages


def test_once_publishes_50(demo: Demo) -> None:
    assert demo.run("--once").stdout[-1] == "demo: published 50, consumed 50, lost 0"


def test_leaves_nothing(demo: Demo) -> None:
    """The broker's data were there, and are gone."""
    ended = demo.run("--once", "--messages", "3")
    assert any(str(demo.temporary) in line for line in ended.stdout)
    assert list(demo.temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_the_table(demo: Demo, number: signal.Signals) -> None:
    process = demo.start()
    process.wait_for("-> consumer A$")
    process.wait_for("-> consumer B$")
    process.signal(number)
    ended = process.end(10.0)
    assert (ended.status, ended.stderr) == (0, [])
    table = consumed(ended)
    published = table["archive"]
    assert published >= 2
    assert table["consumer A"] + table["consumer B"] == published
    assert ended.stdout[-1] == f"demo: published {published}, consumed {published}, lost 0"
    assert list(demo.temporary.iterdir()) == []


def test_a_signal_before_the_first_message(demo: Demo) -> None:
    process = demo.start()
    process.wait_for(r"^1\. An AMQP broker listens on ")
    process.signal(signal.SIGINT)
    ended = process.end(10.0)
    assert (ended.status, ended.stderr) == (0, [])
    assert re.fullmatch(r"demo: published (\d+), consumed \1, lost 0", ended.stdout[-1])
    assert list(demo.temporary.iterdir()) == []


@pytest.mark.parametrize("messages", ["0", "-1", "many"])
def test_no_number_of_messages(demo: Demo, messages: str) -> None:
    assert "--messages" in demo.run("--once", f"--messages={messages}").usage_error()


def test_output_that_is_ascii_only(demo: Demo) -> None:
    """As in a terminal with the encoding of old; the summaries have other characters."""
    ended = demo.run("--once", "--messages", "20", PYTHONIOENCODING="ascii")
    assert (ended.status, ended.stderr) == (0, [])
    assert ended.stdout[-1] == "demo: published 20, consumed 20, lost 0"
