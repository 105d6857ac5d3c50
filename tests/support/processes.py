"""Programs run by tests as real processes: their output line by line, their signals, their end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedReader

FEDORA_MESSAGING = Path(sysconfig.get_path("scripts")) / "fedora-messaging"

DEADLINE = 60.0
"""Seconds for what should happen at once; the rest is room for a machine busy with other tests."""

_STDOUT = "stdout"
_STDERR = "stderr"


def environment(**settings: str) -> dict[str, str]:
    """Everything a child sees: nothing of ours but where programs, home and coverage data are.

    `FEDORA_MESSAGING_CONF` is empty unless given, which keeps `/etc/fedora-messaging` out.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME") or name.startswith("COVERAGE_")
    }
    # With the fault handler a program that hangs can say where: see `Process.end`.
    own = {"LANG": "C.UTF-8", "PYTHONFAULTHANDLER": "1", "FEDORA_MESSAGING_CONF": ""}
    return {**kept, **own, **settings}


@dataclass(frozen=True)
class Ended:
    """What is left of a process.

    Attributes:
        status: Exit status; minus the number of the signal that killed it.
        stdout: Lines of its standard output.
        stderr: Lines of its standard error.
    """

    status: int
    stdout: list[str]
    stderr: list[str]

    @property
    def output(self) -> str:
        """Everything it wrote, first the standard output."""
        return "\n".join((*self.stdout, *self.stderr))

    def one_error(self) -> str:
        """The only line of its standard error, which is no traceback."""
        assert len(self.stderr) == 1, f"not one line on stderr:\n{self.output}"
        assert "Traceback" not in self.output
        return self.stderr[0]

    def usage_error(self) -> str:
        """The error below click's two lines about usage, which is no traceback."""
        assert self.status == 2, self.output
        assert self.stderr[0].startswith("Usage: "), self.output
        assert "Traceback" not in self.output
        errors = [line for line in self.stderr if line.startswith("Error: ")]
        assert len(errors) == 1, f"not one error on stderr:\n{self.output}"
        return errors[0]


class Process:
    """A running program.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        variables: Its whole environment.
    """

    def __init__(
        self, command: Sequence[str | Path], *, directory: Path, variables: Mapping[str, str]
    ) -> None:
        self._command = [str(part) for part in command]
        self._lines: list[tuple[str, str]] = []
        # How many lines were searched for each pattern.
        self._searched: dict[str, int] = {}
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            self._command,
            cwd=directory,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A Ctrl-C at the terminal is for pytest alone.
            start_new_session=True,
        )
        streams = ((_STDOUT, self._process.stdout), (_STDERR, self._process.stderr))
        self._readers = [
            threading.Thread(target=self._read, args=stream, name=f"{self.pid} {stream[0]}", daemon=True)
            for stream in streams
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: BufferedReader) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append((name, line.decode(errors="replace").rstrip("\n")))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_for(self, pattern: str, timeout: float = DEADLINE) -> re.Match[str]:
        """Wait for a line in which a regular expression is found.

        The same expression finds the next line the next time. Different ones do not care in which order
        their lines come, because threads of the process may write them.
        """
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                if found := self._search(pattern):
                    return found
                if not any(reader.is_alive() for reader in self._readers):
                    raise AssertionError(f"{self} ended without {pattern!r}\n{self._transcript()}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{self} has not said {pattern!r}\n{self._transcript()}")
                # Not longer, because the end of a reader thread comes after its last notification.
                self._news.wait(min(left, 0.2))

    def has_said(self, pattern: str) -> bool:
        """Whether a regular expression is found in a line by now; each line counts once, as in `wait_for`."""
        with self._news:
            return self._search(pattern) is not None

    def _search(self, pattern: str) -> re.Match[str] | None:
        start = self._searched.get(pattern, 0)
        for number, (_, line) in enumerate(self._lines[start:], start + 1):
            self._searched[pattern] = number
            if found := re.search(pattern, line):
                return found
        return None

    def say(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def end_input(self) -> None:
        """Close its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self._process.send_signal(number)

    def terminate(self, timeout: float = DEADLINE) -> Ended:
        """Send SIGTERM and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.end(timeout)

    def end(self, timeout: float = DEADLINE) -> Ended:
        """Wait for the end."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._abort()
            raise AssertionError(f"{self} has not ended\n{self._transcript()}") from None
        for reader in self._readers:
            reader.join(timeout)
        by_stream: dict[str, list[str]] = {_STDOUT: [], _STDERR: []}
        for stream, line in self._lines:
            by_stream[stream].append(line)
        return Ended(status, by_stream[_STDOUT], by_stream[_STDERR])

    def _abort(self) -> None:
        """Have it, and what it has forked, say where its threads are, and end it."""
        os.killpg(self.pid, signal.SIGABRT)
        self._process.wait()
        for reader in self._readers:
            reader.join(DEADLINE)

    def kill(self) -> None:
        """End it at once by SIGKILL. Harmless when it has ended."""
        if self.running:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # it ended with its input unread
        for reader in self._readers:
            reader.join(DEADLINE)

    def _transcript(self) -> str:
        return "\n".join(f"{stream}: {line}" for stream, line in self._lines)

    def __str__(self) -> str:
        return " ".join(self._command)


class Processes:
    """Starts programs in one directory, and on leaving kills those that still run.

    Args:
        directory: Where they run.
        **variables: Environment variables of all of them.
    """

    def __init__(self, directory: Path, **variables: str) -> None:
        self.directory = directory
        self.variables = variables
        self._started: list[Process] = []

    def start(self, *command: str | Path, **variables: str) -> Process:
        """Start a program with some more environment variables."""
        process = Process(
            command,
            directory=self.directory,
            variables=environment(**{**self.variables, **variables}),
        )
        self._started.append(process)
        return process

    def fedora_messaging(self, *arguments: str | Path, **variables: str) -> Process:
        """Start the console script."""
        return self.start(FEDORA_MESSAGING, *arguments, **variables)

    def python(self, *arguments: str | Path, **variables: str) -> Process:
        """Start this Python with a script."""
        return self.start(sys.executable, *arguments, **variables)

    def run(self, *arguments: str | Path, **variables: str) -> Ended:
        """Run the console script with an empty input to its end."""
        process = self.fedora_messaging(*arguments, **variables)
        process.end_input()
        return process.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._started:
            process.kill()


def start_broker(processes: Processes, *arguments: str | Path, port: int = 0) -> tuple[Process, int]:
    """Start `fedora-messaging broker` and wait until it is ready.

    Returns:
        The process and its port.
    """
    process = processes.fedora_messaging("broker", "--port", str(port), *arguments)
    ready = process.wait_for(r"^AMQP ready on amqp://127\.0\.0\.1:(\d+)$")
    return process, int(ready[1])
