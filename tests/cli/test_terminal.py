"""What commands draw on terminals."""

from __future__ import annotations

import os
import pty
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.support.processes import FEDORA_MESSAGING, environment

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from tests.cli.conftest import Queues


CONFIGURATION = """
amqp_url = "{url}"
bindings = []
[queues."{queue}"]
durable = true
auto_delete = false
exclusive = false
arguments = {{}}
"""
SHOW_CURSOR, HIDE_CURSOR = b"\x1b[?25h", b"\x1b[?25l"


def start_on_terminal(directory: Path, *arguments: str, **variables: str) -> tuple[int, int]:
    """Start a command on a terminal of 120 columns; its process id, and the other end of the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        settings = environment(TERM="xterm", COLUMNS="120", **variables)
        os.execve(FEDORA_MESSAGING, [str(FEDORA_MESSAGING), *arguments], settings)
    return child, terminal


def rest_of(screen: FileIO) -> bytes:
    """What a command writes until it ends."""
    written = b""
    # Linux reports the end of a terminal as an error.
    with suppress(OSError):
        while piece := screen.read(4096):
            written += piece
    return written


def on_terminal(directory: Path, *arguments: str, **variables: str) -> tuple[str, int]:
    """Run a command on a terminal; what it wrote, without colours, and its exit status."""
    child, terminal = start_on_terminal(directory, *arguments, **variables)
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        written = rest_of(screen)
    _pid, status = os.waitpid(child, 0)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()), os.waitstatus_to_exitcode(status)


def titles(text: str) -> list[str]:
    return text.splitlines()[0].split()


def test_doctor(tmp_path: Path, embedded_queues: Queues) -> None:
    text, status = on_terminal(tmp_path, "doctor", FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    assert status == 0
    assert titles(text) == ["result", "what", "was", "found"]
    assert "ok       the settings have the right types" in text


def test_dead_letters(tmp_path: Path, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, "{}")
    text, status = on_terminal(tmp_path, "dlq", "list", queue, FEDORA_MESSAGING_AMQP_URL=embedded_queues.url)
    assert status == 0
    assert titles(text) == ["id", "topic", "reason", "attempts", "time", "error"]
    assert "1 message" in text


def test_record(tmp_path: Path, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, "{}", "{}")
    (tmp_path / "config.toml").write_text(CONFIGURATION.format(url=embedded_queues.url, queue=queue))
    text, status = on_terminal(tmp_path, "--conf", "config.toml", "record", "--limit", "2", "messages")
    assert status == 0
    assert re.search(r"Recording messages .* 2/2 ", text)
    assert len((tmp_path / "messages").read_text().splitlines()) == 2


def test_record_that_is_interrupted_gives_the_cursor_back(tmp_path: Path, embedded_queues: Queues) -> None:
    queue = embedded_queues.make()
    embedded_queues.put(queue, "{}")
    (tmp_path / "config.toml").write_text(CONFIGURATION.format(url=embedded_queues.url, queue=queue))
    child, terminal = start_on_terminal(tmp_path, "--conf", "config.toml", "record", "messages")
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        written = b""
        while b"1/?" not in written:
            written += screen.read(4096)
        os.kill(child, signal.SIGINT)
        written += rest_of(screen)
    _pid, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert written.rfind(SHOW_CURSOR) > written.rfind(HIDE_CURSOR) >= 0
