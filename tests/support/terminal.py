"""A terminal with a shell in it, as somebody has who types what a page prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEADLINE = 60.0
"""Seconds for a command, on a machine that is busy with other tests."""

#: Makes standard input the controlling terminal, so that Ctrl-C reaches what runs in the foreground.
_SHELL = """
import fcntl, os, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])
"""
_PROMPT = re.compile(r"^.*<ended (\d+)>\n", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def pattern_of(printed: str) -> str:
    """Make a regular expression of printed output, in which `...` stands for anything.

    A line that is only `...` stands for any number of lines, elsewhere it stands for a part of its line.
    """
    lines = []
    for line in printed.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:[^\n]*\n)*?")
        else:
            lines.append(r"[^\n]*".join(map(re.escape, line.rstrip().split("..."))) + r"[ ]*\n")
    return "".join(lines)


class Terminal:
    """A shell on a terminal of 80 columns. Use it as a context manager.

    Args:
        directory: Where the shell starts.
        variables: Its whole environment.
    """

    def __init__(self, directory: Path, variables: Mapping[str, str]) -> None:
        self._output = ""
        # Where the output begins that nobody has looked at.
        self._position = 0
        self._news = threading.Condition()
        self._master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        termios.tcsetwinsize(slave, (24, 80))
        self._shell = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _SHELL],
            cwd=directory,
            env={**variables, "TERM": "xterm", "PS1": "<ended $?>\\n", "PS2": ""},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the last process has closed the terminal
                return
            with self._news:
                self._output += _ESCAPES.sub("", data.decode(errors="replace").replace("\r", ""))
                self._news.notify_all()

    def run(self, command: str, printed: str = "") -> None:
        """Run a command to its end: it succeeds, and writes what is printed and nothing else."""
        status, output = self._finish(command)
        assert status == 0, f"{command} ended with {status}:\n{output}"
        self._compare(command, printed, output)

    def fail(self, command: str, printed: str) -> None:
        """Run a command that fails and writes what is printed and nothing else."""
        status, output = self._finish(command)
        assert status != 0, f"{command} succeeded:\n{output}"
        self._compare(command, printed, output)

    def start(self, command: str, printed: str = "") -> str:
        """Start a command that goes on, and wait until it has begun with what is printed."""
        self._type(command)
        return self.see(printed)

    def see(self, printed: str) -> str:
        """Wait until the running command has gone on with what is printed; what it has really written."""
        return self._wait_for(self._pattern(printed))[0]

    def interrupt(self) -> str:
        """Type Ctrl-C: the running command ends well and without a traceback; the rest of its output."""
        os.write(self._master, b"\x03")
        status, output = self._ended()
        assert status == 0, f"Ctrl-C ended the command with {status}:\n{output}"
        assert "Traceback" not in output, output
        return output

    def quit(self) -> None:
        r"""Type Ctrl-\: the running command dies at once."""
        os.write(self._master, b"\x1c")
        status, output = self._ended()
        assert status == 128 + signal.SIGQUIT, output

    def shows(self, printed: str) -> bool:
        """Whether the running command has already gone on with what is printed, which is not waited for."""
        with self._news:
            return bool(self._pattern(printed).search(self._output, self._position))

    def _pattern(self, printed: str) -> re.Pattern[str]:
        return re.compile(rf"^{pattern_of(printed)}", re.MULTILINE)

    def _type(self, line: str) -> None:
        if self._position == 0:
            self._ended()
        os.write(self._master, f"{line}\n".encode())

    def _finish(self, command: str) -> tuple[int, str]:
        self._type(command)
        return self._ended()

    def _ended(self) -> tuple[int, str]:
        start = self._position
        found = self._wait_for(_PROMPT)
        # An interrupted command leaves the ^C, or a line feed, of the terminal.
        return int(found[1]), self._output[start : found.start()]

    def _wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        deadline = time.monotonic() + DEADLINE
        with self._news:
            while True:
                if found := pattern.search(self._output, self._position):
                    self._position = found.end()
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    shown = self._output[self._position :]
                    raise AssertionError(f"the terminal has not shown {pattern.pattern!r} but\n{shown}")
                self._news.wait(min(left, 0.2))

    def _compare(self, command: str, printed: str, output: str) -> None:
        assert re.fullmatch(pattern_of(printed), output), f"{command} wrote\n{output}\nand not\n{printed}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        foreground = os.tcgetpgrp(self._master)
        if foreground not in (0, self._shell.pid):
            os.killpg(foreground, signal.SIGKILL)
        self._shell.kill()
        self._shell.wait()
        self._reader.join(DEADLINE)
        os.close(self._master)
