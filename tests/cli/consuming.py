"""Starts ``fedora-messaging consume`` with a callback and a configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Ended, Process, Processes

PASSWORD = "pAssw0rd"

#: It prints what it does at once, because its output is a pipe.
PRINT = "def callback(message):\n    print('got', message.body['text'], flush=True)\n"


def text(word: str) -> str:
    return json.dumps({"text": word})


def configure(directory: Path, *queues: str, url: str = "amqp://", extra: str = "") -> None:
    """Write config.toml with durable queues without bindings."""
    tables = (
        f'[queues."{queue}"]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {{}}\n'
        for queue in queues
    )
    lines = (f'amqp_url = "{url}"', "bindings = []", extra, *tables)
    (directory / "config.toml").write_text("\n".join(lines), encoding="utf-8")


def start(processes: Processes, url: str, *queues: str, callback: str = PRINT, extra: str = "") -> Process:
    """Start consuming with `callback` of app.py."""
    configure(processes.directory, *queues, url=url, extra=extra)
    (processes.directory / "app.py").write_text(callback)
    return processes.fedora_messaging("--conf", "config.toml", "consume", "--callback=app:callback")


def subscribe(processes: Processes, url: str, *queues: str, callback: str = PRINT) -> Process:
    """Start consuming, and wait until it does."""
    process = start(processes, url, *queues, callback=callback)
    for queue in queues:
        process.wait_for(rf"Successfully registered Consumer\(queue={queue},")
    return process


def consume(processes: Processes, url: str, *queues: str, callback: str = PRINT, extra: str = "") -> Ended:
    """Consume until it ends by itself."""
    ended = start(processes, url, *queues, callback=callback, extra=extra).end()
    assert PASSWORD not in ended.output
    return ended


def errors(ended: Ended) -> list[str]:
    """Lines logged at ERROR."""
    return [line for line in ended.stdout if " ERROR]" in line]
