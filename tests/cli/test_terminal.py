"""What commands draw on terminals."""

from __future__ import annotations

import os
import pty
import re
from typing import TYPE_CHECKING

from tests.support.processes import FEDORA_MESSAGING, environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Queues


def on_terminal(directory: Path, *arguments: str, **variables: str) -> tuple[str, int]:
    """Run a command on a terminal of 120 columns; what it wrote, without colours, and its exit status."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.chdir(directory)
        settings = environment(TERM="xterm", COLUMNS="120", **variables)
        os.execve(FEDORA_MESSAGING, [str(FEDORA_MESSAGING), *arguments], settings)
    written = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        while True:
            try:
                piece = screen.read(4096)
            except OSError:  # the other end of the terminal is closed
                break
            if not piece:
                break
            written += piece
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
    (tmp_path / "config.toml").write_text(
        f"""
amqp_url = "{embedded_queues.url}"
bindings = []
[queues."{queue}"]
durable = true
auto_delete = false
exclusive = false
arguments = {{}}
"""
    )
    text, status = on_terminal(tmp_path, "--conf", "config.toml", "record", "--limit", "2", "messages")
    assert status == 0
    assert re.search(r"Recording messages .* 2/2 ", text)
    assert len((tmp_path / "messages").read_text().splitlines()) == 2
