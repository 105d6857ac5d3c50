"""`fedora-messaging consume` and signals, when a callback hangs (P10)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Queues
    from tests.support.processes import Process, Processes

HANGS = """
import threading

def callback(message):
    print("begun", flush=True)
    threading.Event().wait()
"""


def hang(processes: Processes, queues: Queues, queue: str, settings: str = "") -> Process:
    """Start consuming, and wait until the callback hangs."""
    queues.put(queue, "{}")
    (processes.directory / "app.py").write_text(HANGS)
    (processes.directory / "config.toml").write_text(
        f'amqp_url = "{queues.url}"\n{settings}\n'
        '[queues.""]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {}\n'
    )
    process = processes.fedora_messaging(
        "--conf", "config.toml", "consume", "--callback=app:callback", f"--queue-name={queue}"
    )
    process.wait_for("^begun$")
    return process


def test_p10_sigterm_while_a_callback_hangs(processes: Processes, queues: Queues) -> None:
    """The command ends with 0 in time, and the message is there for the next one."""
    queue = queues.make()
    process = hang(processes, queues, queue, "[consumer]\nstop_timeout = 0.5")
    process.signal(signal.SIGTERM)
    ended = process.end()
    assert ended.status == 0, ended.output
    assert "has not ended within 0.5 s; its message goes back to the queue" in ended.output
    assert "Traceback" not in ended.output
    queues.wait_until_ready(queue, 1)
