"""The publishers, as processes that are killed and started again."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.faults.children import Child, await_that
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[3]
#: Seconds for a publisher to end after SIGTERM, with children that wait for the database.
_END: Final = 90.0


class PublisherProgram:
    """A publisher with a journal; leaving the context ends it.

    Args:
        name: Unique name.
        arguments: What it does besides, as the module ``publisher`` tells.
        config: Path of its configuration.
        directory: For what it writes.
        inherited: See `Child`.

    Attributes:
        name: The same.
        journal: Path of its journal.
        complaints: Ends that should not have been.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], config: Path, directory: Path, inherited: int
    ) -> None:
        self.name = name
        self.journal = directory / f"{name}.journal"
        self.complaints: list[str] = []
        module = ["-W", "ignore::DeprecationWarning", "-m", "tests.faults.outbox.publisher"]
        own = ["--name", name, "--journal", str(self.journal)]
        self._command = [sys.executable, *module, *own, *arguments]
        self._config = config
        self._output = directory / f"{name}.out"
        self._inherited = inherited
        self._begin = 0
        self._child: Child | None = None

    def start(self) -> None:
        """Start it; it works soon."""
        self._begin = self.journal.stat().st_size if self.journal.exists() else 0
        self._child = Child(
            self._command,
            directory=_ROOT,
            environment=environment(FEDORA_MESSAGING_CONF=str(self._config)),
            output=self._output,
            inherited=self._inherited,
        )

    def await_work(self, patience: float) -> None:
        """Wait until something of it was accepted since it was started; then it handles SIGTERM, too.

        Raises:
            HarnessError: Nothing is.
        """
        await_that(self._works, patience, lambda: f"{self.name} publishes\n{self._words()}")

    def _works(self) -> bool:
        if not self.journal.exists():
            return False
        with self.journal.open("rb") as file:
            file.seek(self._begin)
            # Children of its predecessor may still be writing.
            own = re.split(rb" started .*\n", file.read(), maxsplit=1)[1:]
        return any(re.search(rb" accepted (?!.*/fork-)", text) for text in own)

    def _words(self) -> str:
        return "" if self._child is None else self._child.last_words()

    def kill(self) -> None:
        """End it by SIGKILL, and not what it has forked."""
        if self._child is None:
            return
        if (status := self._child.status) is not None:
            self.complaints.append(f"{self.name} ended by itself with status {status}\n{self._words()}")
        self._child.kill_alone()
        self._child = None

    def terminate(self) -> None:
        """Send SIGTERM."""
        assert self._child is not None
        self._child.signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Wait until it has ended after SIGTERM; the complaints tell if it has not, or not well."""
        assert self._child is not None
        status = self._child.await_end(_END)
        if status != 0:
            self.complaints.append(f"{self.name}: status {status} after SIGTERM\n{self._words()}")
        self._child.kill_alone()
        self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._child is not None:
            self._child.kill_alone()
