"""A broker under attack, what it takes, and what its other clients notice."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pamqp import commands
from tests.behaviour.peer import Peer
from tests.support.processes import Processes, environment

import fedora_messaging

if TYPE_CHECKING:
    from tests.faults.attacks import Attack

LIMIT_MB: Final = 200
"""The limit of the broker's memory for messages."""
SLACK_MB: Final = 150
"""What everything else may take at most."""
ANSWERS_WITHIN: Final = 5.0
"""Seconds within which the broker answers a new client when the attack is over."""
HEADING: Final = (
    f"{'attack':33}{'peak MB':>8}{'confirm s':>10}{'answer s':>9}{'blocked s':>10}{'alarms':>7}{'new s':>7}"
    f"{'took s':>7}{'sent':>6}  complaint"
)

_PATIENCE: Final = 20.0
#: A broker that takes as much is killed, for the sake of the machine.
_FATAL_MB: Final = 3000
_PAUSE: Final = 0.005
_SAMPLE: Final = 0.05
_ROOT: Final = Path(__file__).parents[2]
_PYTHONPATH: Final = os.pathsep.join((str(Path(fedora_messaging.__file__).parents[1]), str(_ROOT)))


@dataclass(frozen=True, slots=True)
class Damage:
    """What an attack did.

    Attributes:
        peak: The most memory that the broker's process took, in MB.
        confirm: The longest time in seconds in which a message of another publisher was not confirmed, except
            while it was blocked.
        answer: The longest time in seconds in which another client, who publishes nothing, got no answer.
        blocked: For how many seconds the other publisher was blocked.
        alarms: How many alarms were raised.
        newcomer: After how many seconds a new client was answered when the attack was over.
        duration: How many seconds the attack took.
        taken: Which part of the attack's bytes the broker took.
        status: The broker's exit status, or ``None`` if it still ran.
        output: What the broker wrote.
    """

    peak: float
    confirm: float
    answer: float
    blocked: float
    alarms: int
    newcomer: float
    duration: float
    taken: str
    status: int | None
    output: str

    @property
    def complaint(self) -> str:
        """What the broker has done wrong, or nothing."""
        complaints = []
        if self.status is not None:
            complaints.append(f"it ended with status {self.status}")
        elif self.newcomer > ANSWERS_WITHIN:
            complaints.append(f"it did not answer a new client within {ANSWERS_WITHIN:g} s")
        if self.peak > LIMIT_MB + SLACK_MB:
            complaints.append(f"it took {self.peak:.0f} MB, more than {LIMIT_MB + SLACK_MB}")
        if "Traceback" in self.output:
            complaints.append("it logged a traceback")
        return "; ".join(complaints)

    def row(self, name: str) -> str:
        """A line of the table."""
        return (
            f"{name:33}{self.peak:8.0f}{self.confirm:10.2f}{self.answer:9.2f}{self.blocked:10.2f}"
            f"{self.alarms:7}{self.newcomer:7.2f}{self.duration:7.1f}{self.taken:>6}  {self.complaint}"
        )


class _Client(Peer):
    """A connection of an innocent client."""

    def has_answer(self, seconds: float) -> bool:
        """Wait until there is something to read."""
        return bool(self._buffer) or bool(select.select([self._socket], [], [], seconds)[0])


class _Bystander(threading.Thread):
    """Asks the broker again and again, and notes how long it waits.

    Attributes:
        worst: The longest time in seconds that it waited for an answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.worst = 0.0
        self.blocked = 0.0
        self._over = threading.Event()
        self._client = _Client(url).login(capabilities={"connection.blocked": True}).open_channel()
        self._prepare(self._client)

    def _prepare(self, client: _Client) -> None:
        pass

    def _ask(self, client: _Client) -> None:
        client.send(commands.Exchange.Declare(exchange="amq.direct", passive=True))

    def run(self) -> None:
        with self._client as client, suppress(OSError, EOFError):
            while not self._over.wait(_PAUSE):
                self._measure(client)

    def _measure(self, client: _Client) -> None:
        asked = time.monotonic()
        blocked_since: float | None = None
        was_blocked = False
        self._ask(client)
        answered = False
        while not answered or blocked_since is not None:
            if not client.has_answer(0.1):
                if not was_blocked and not answered:
                    self.worst = max(self.worst, time.monotonic() - asked)
                if self._over.is_set():
                    break
                continue
            method = client.read_method()[1]
            if isinstance(method, commands.Connection.Blocked):
                blocked_since, was_blocked = time.monotonic(), True
            elif isinstance(method, commands.Connection.Unblocked):
                if blocked_since is not None:
                    self.blocked += time.monotonic() - blocked_since
                blocked_since = None
            else:
                answered = True
                if not was_blocked:
                    self.worst = max(self.worst, time.monotonic() - asked)
        if blocked_since is not None:
            self.blocked += time.monotonic() - blocked_since

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self.join()


class _Publisher(_Bystander):
    """The same with small messages, which the broker confirms."""

    def _prepare(self, client: _Client) -> None:
        declared = commands.Queue.Declare(queue="bystander", exclusive=True, arguments={"x-max-length": 1})
        client.call(declared, commands.Queue.DeclareOk)
        client.call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def _ask(self, client: _Client) -> None:
        client.publish(b"hello", routing_key="bystander")


class _Watcher(threading.Thread):
    """Watches the memory of a process, and kills it if there is far too much."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._pid = pid
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE):
            self._look()
            if self.peak > _FATAL_MB:
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                return

    def _look(self) -> None:
        # The last look may come after the end of the process, whose memory is gone then.
        with suppress(OSError):
            found = re.search(
                r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{self._pid}/status").read_text(), re.MULTILINE
            )
            if found:
                self.peak = max(self.peak, int(found[1]) * 1024 / 1e6)

    def end(self) -> None:
        """Look for the last time."""
        self._over.set()
        self.join()
        self._look()


def _newcomer(url: str) -> float:
    begun = time.monotonic()
    try:
        with Peer(url) as client:
            client.login().open_channel().roundtrip()
    except (OSError, EOFError):
        return math.inf
    return time.monotonic() - begun


def _carry_out(attack: Attack, url: str) -> str:
    command = [sys.executable, "-m", "tests.faults.attacks", attack.name, "--carry-out", url]
    variables = environment(PYTHONPATH=_PYTHONPATH)
    done = subprocess.run(
        command, check=True, timeout=_PATIENCE, env=variables, cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def watch(attack: Attack, directory: Path) -> Damage:
    """Carry out an attack on a broker of its own.

    Raises:
        subprocess.SubprocessError: The attack itself has failed, or did not end.
    """
    command = ("-m", "fedora_messaging", "broker", "--port", "0", "--memory-limit", f"{LIMIT_MB}MB")
    with Processes(directory, PYTHONPATH=_PYTHONPATH) as processes:
        broker = processes.python(*command, *attack.arguments)
        port = broker.wait_for(r"^AMQP ready on amqp://127\.0\.0\.1:(\d+)$")[1]
        host = f"127.0.0.1:{port}/%2F"
        url = f"amqp://guest:guest@{host}"
        watcher = _Watcher(broker.pid)
        bystanders = publisher, reader = _Publisher(url), _Bystander(url)
        for thread in (watcher, *bystanders):
            thread.start()
        try:
            begun = time.monotonic()
            taken = _carry_out(attack, f"amqp://{attack.user}:{attack.user}@{host}")
            duration = time.monotonic() - begun
            newcomer = _newcomer(url)
        finally:
            for thread in (*bystanders, watcher):
                thread.end()
        status = None if broker.running else broker.end().status
        broker.kill()
        output = broker.end().output
    return Damage(
        watcher.peak,
        publisher.worst,
        reader.worst,
        publisher.blocked,
        output.count("Alarm: "),
        newcomer,
        duration,
        taken,
        status,
        output,
    )
