"""Runs ``fedora-messaging doctor``, and sorts what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
