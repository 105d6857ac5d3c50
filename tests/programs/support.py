"""Running the programs of :mod:`tests.programs.apps`, and looking at what they publish."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
from tests.support.processes import Processes

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.processes import Ended, Process

APPS = Path(__file__).parent / "apps"

#: Warnings are errors, except that Python 3.12 warns of every fork of a process with threads.
WARNINGS = "error,ignore:This process (pid:DeprecationWarning"

_CONFIG = """
amqp_url = "{url}"
callback = "gated:callback"
topic_prefix = "{prefix}"
bindings = []

[qos]
prefetch_size = 0
prefetch_count = 5

[queues."{work}"]
durable = true
auto_delete = false
exclusive = false
arguments = {{}}

[log_config]
version = 1
disable_existing_loggers = false
formatters.simple.format = "[%(name)s %(levelname)s] %(message)s"
handlers.console = {{class = "logging.StreamHandler", formatter = "simple", stream = "ext://sys.stdout"}}
loggers.fedora_messaging = {{level = "INFO", propagate = false, handlers = ["console"]}}
root = {{level = "WARNING", handlers = ["console"]}}
"""


class Daemon:
    """A process that has left the one that was started, and its group.

    Args:
        pid_file: Where it writes its process id.
        word: Part of its command line.
    """

    def __init__(self, pid_file: Path, word: str) -> None:
        self._pid_file = pid_file
        self._word = word.encode()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._pid_file.read_text())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        try:
            # Empty for a zombie, and another's when the number is used again.
            return self._word in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except FileNotFoundError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.running:
            os.kill(self.pid, number)


class Programs(Processes):
    """Starts programs in one directory; on leaving kills those that still run, and their children."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            FEDORA_MESSAGING_CONF="config.toml",
            PYTHONPATH=str(APPS),
            PYTHONWARNINGS=WARNINGS,
        )
        self._daemons: list[Daemon] = []

    def configure(self, url: str, prefix: str, work: str) -> None:
        """Write config.toml: topics begin with the prefix, and one queue is consumed."""
        text = _CONFIG.format(url=url, prefix=prefix, work=work)
        (self.directory / "config.toml").write_text(text, encoding="utf-8")

    def app(self, name: str, *arguments: str) -> Process:
        """Start a program of :mod:`tests.programs.apps`."""
        return self.python(APPS / f"{name}.py", *arguments)

    def daemon(self, pid_file: str, word: str) -> Daemon:
        """A daemon that one of the programs becomes."""
        made = Daemon(self.directory / pid_file, word)
        self._daemons.append(made)
        return made

    def __exit__(self, *exc_info: object) -> None:
        for daemon in self._daemons:
            daemon.signal(signal.SIGKILL)
        for process in self._started:
            # Each leads a process group. What it forked holds its output open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        super().__exit__(*exc_info)


def put(admin: Admin, queue: str, *numbers: int, exchange: str = "", **body: Any) -> None:
    """Put numbered messages into a queue, or publish them with its name as the routing key."""
    for number in numbers:
        properties = pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=str(uuid.uuid4()),
            headers={"fedora_messaging_schema": "base.message", "fedora_messaging_severity": 20},
        )
        encoded = json.dumps({"number": number, **body}).encode()
        admin.channel.basic_publish(exchange, queue, encoded, properties)


def take(admin: Admin, queue: str) -> list[dict[str, Any]]:
    """Empty a queue; the bodies of its messages, in order."""
    return [json.loads(body) for body in admin.take(queue)]


def values(bodies: list[dict[str, Any]], key: str) -> list[Any]:
    """What the bodies that have a key have there, sorted."""
    return sorted(body[key] for body in bodies if key in body)


def counts(bodies: list[dict[str, Any]], key: str) -> Counter[Any]:
    """How often each value of a key occurs."""
    return Counter(values(bodies, key))


def assert_quiet(ended: Ended, status: int = 0) -> None:
    """It ended with a status, and said nothing on its standard error."""
    assert (ended.status, ended.stderr) == (status, []), ended.output
    assert "Traceback" not in ended.output, ended.output


def start_consuming(process: Process, queue: str) -> Process:
    """Wait until a program consumes."""
    process.wait_for(rf"Successfully registered Consumer\(queue={queue},")
    return process


def finish_callback(process: Process, first: int = 0) -> int:
    """Let the running callback of :mod:`tests.programs.apps.gated` end when the program begins no other one.

    Args:
        process: Was told to stop while a callback runs. Says "left" when it has.
        first: Number of that callback's message.

    Returns:
        Number of the first message that was not begun.
    """
    process.wait_for("Stopping waits for the callback")
    process.say("go on")
    process.wait_for(rf"^end {first}$")
    process.wait_for("^left$")
    return first + 1
