"""Somebody who has a checkout and a Python, and types what a page prints into terminals."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.processes import environment
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from tests.support.printed import Command

_OURS = re.compile(r"(_editable_impl_)?fedora_messaging|pip\b|__pycache__")
_READY = "AMQP ready on amqp://127.0.0.1:"


class Newcomer:
    """Has a home directory with nothing in it. Use it as a context manager.

    Two things differ from what is printed, so that tests need no network and do not disturb each other:

    - pip finds the dependencies, and the build tool, in the environment of the tests;
    - brokers take free ports, and `FEDORA_MESSAGING_AMQP_URL` tells the other programs which.

    Args:
        home: An empty directory.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._stack = ExitStack()
        self._port = 0
        programs = home / "programs"
        programs.mkdir()
        # Not the Python of the tests' own environment, whose console scripts would be on the path with it.
        (programs / "python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
        self._variables = environment(
            HOME=str(home),
            PATH=f"{programs}{os.pathsep}{os.defpath}",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_INDEX="1",
            # It means the contrary of its name: build with what is there.
            PIP_NO_BUILD_ISOLATION="0",
        )

    def terminal(self, directory: Path) -> Terminal:
        """Open a terminal."""
        return self._stack.enter_context(Terminal(directory, self._variables))

    def install(self, terminal: Terminal, commands: list[Command]) -> None:
        """Make an environment, activate it and install the checkout; then whatever else is printed there."""
        make, activate, install, *more = commands
        terminal.run(make.text, make.output)
        self._lend_packages(self.home / make.text.rpartition("~/")[2])
        terminal.run(activate.text, activate.output)
        terminal.run(install.text, install.output)
        for command in more:
            terminal.run(command.text, command.output)

    def _lend_packages(self, env: Path) -> None:
        """Show an environment the packages of the tests', except the library itself."""
        lent = self.home / "packages"
        lent.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not _OURS.match(entry.name):
                (lent / entry.name).symlink_to(entry)
        site = Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(env)}))
        (site / "lent.pth").write_text(f"{lent}\n", encoding="utf-8")

    def start_broker(self, terminal: Terminal, command: Command) -> None:
        """Run `fedora-messaging broker` on a free port, the same one the next time."""
        assert command.text.startswith("fedora-messaging broker")
        printed = command.output.replace(f"{_READY}5672", f"{_READY}{self._port or '...'}")
        assert printed != command.output
        shown = terminal.start(f"{command.text} --port {self._port}", printed)
        found = re.search(rf"^{re.escape(_READY)}(\d+)$", shown, re.MULTILINE)
        assert found
        self._port = int(found[1])
        self._variables["FEDORA_MESSAGING_AMQP_URL"] = f"amqp://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
