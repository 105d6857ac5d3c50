"""Processes that a test starts, and that do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

_POLL: Final = 0.05
_TAIL: Final = 15


class HarnessError(Exception):
    """Something that a test needs did not happen, so that it cannot go on."""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; returns whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def await_that(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Wait for a condition; ``what`` tells which.

    Raises:
        HarnessError: It did not come true.
    """
    if not wait_until(condition, seconds):
        raise HarnessError(f"not within {seconds:g} s: {what()}")


class Child:
    """A process in a session of its own, killed at the latest when this process ends, however it ends.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        environment: All its environment variables.
        output: File that its standard output and error are appended to.
        inherited: A file descriptor that it and its children hold.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        output: Path,
        inherited: int | None = None,
    ) -> None:
        self._output = output
        self._begin = output.stat().st_size if output.exists() else 0
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                pass_fds=[] if inherited is None else [inherited],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for the test alone, which then ends its children.
                start_new_session=True,
            )
        # Exit handlers do not run when the test is killed, or pytest-timeout ends it. The end of a pipe
        # always arrives. The child leads its process group, hence the minus sign.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _; kill -s KILL -- "-$0"', str(self.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, minus the number of the signal that killed it; ``None`` while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self._process.send_signal(number)

    def end(self, patience: float) -> int | None:
        """Send SIGTERM and wait; ``None`` if it has not ended in time."""
        self.signal(signal.SIGTERM)
        return self.await_end(patience)

    def await_end(self, patience: float) -> int | None:
        """Wait; returns its exit status, or ``None`` if it has not ended in time."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience)
        return None

    def kill(self) -> None:
        """End it at once, and what it has started. Harmless when it has ended."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.kill_alone()

    def kill_alone(self) -> None:
        """End it at once, and not what it has forked. Harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        with self._guard:
            self._guard.kill()

    def has_said(self, text: str) -> bool:
        """Whether something is in its output."""
        return text.encode() in self._said()

    def last_words(self) -> str:
        """The end of its output."""
        return "\n".join(self._said().decode(errors="replace").splitlines()[-_TAIL:])

    def _said(self) -> bytes:
        with self._output.open("rb") as file:
            file.seek(self._begin)
            return file.read()


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run a program, and exit with its status; a signal ends it so that what it has begun is undone."""

    def terminated(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
