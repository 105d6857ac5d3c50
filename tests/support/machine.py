"""A machine for tests: a Debian root whose systemd runs in namespaces, on the network of the real machine."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.printed import ROOT
from tests.support.servers import require
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEMD_ROOT = "FM_TEST_SYSTEMD_ROOT"

_TOOL = ROOT / "tools/debian-root"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def systemd_root() -> Path:
    """The root that `FM_TEST_SYSTEMD_ROOT` names; without one the calling test is skipped."""
    root = Path(os.environ.get(SYSTEMD_ROOT) or "/nonexistent")
    require(
        os.geteuid() == 0 and (root / "lib/systemd/systemd").exists(),
        "a root with systemd",
        "as root, tools/debian-root make trixie DIRECTORY systemd python3-venv "
        f"ca-certificates python3-apt, and {SYSTEMD_ROOT}=DIRECTORY",
    )
    return root


class Machine:
    """A context manager; what is written in the machine is gone with its scratch folder."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._command: list[str | Path] = [_TOOL, "boot", root, scratch]
        self._log = scratch.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=log, stderr=log)
        try:
            self._first = eventually(self._first_process)
            eventually(self._is_up)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _first_process(self) -> int | None:
        """Process 1 of the machine, by our number: the child of what made the namespaces."""
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        number = str(self._process.pid)
        for _ in range(2):
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            if not children:
                return None
            number = children[0]
        return int(number)

    def _is_up(self) -> bool:
        state = self.call("systemctl", "is-system-running").stdout.strip()
        return state in ("running", "degraded")  # some of Debian's own units are for whole machines

    def path(self, path: str) -> Path:
        """Where a path of the machine is for us."""
        return Path(f"/proc/{self._first}/root{path}")

    def call(self, *command: str, cwd: str = "/") -> subprocess.CompletedProcess[str]:
        """Run a command as the machine's root."""
        passed_on = [
            f"{name}={value}"
            for name, value in os.environ.items()
            if name.startswith("PIP_") or name.lower().endswith("_proxy")
        ]
        enter = [
            "nsenter",
            f"--target={self._first}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
        ]
        clean: Sequence[str] = ["env", "-i", "-C", cwd, f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8"]
        return subprocess.run(
            [*enter, *clean, *passed_on, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *command: str, cwd: str = "/") -> str:
        """Run a command that must succeed; returns what it prints."""
        done = self.call(*command, cwd=cwd)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout
