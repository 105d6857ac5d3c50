"""Starting programs, and stopping them whatever happens."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent

# Seconds; a slow client on a busy machine takes a minute or two.
_WORKER_DEADLINE = 900.0
_STOP_PATIENCE = 10.0
_ERROR_LINES = 12

# What a measured program sees of our environment; the last one is for a librabbitmq of one's own.
_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH")


class ProgramFailed(Exception):
    """A program ended with an error, or not at all."""


@dataclass(frozen=True)
class Ended:
    """What a program left.

    Attributes:
        output: What it wrote to its standard output.
        wall: Seconds from its start to its end.
    """

    output: str
    wall: float

    def figures(self) -> dict[str, float]:
        """Read the last line, which is JSON."""
        lines = self.output.splitlines()
        if not lines:
            raise ProgramFailed("the worker reported nothing")
        figures: dict[str, float] = json.loads(lines[-1])
        return figures


def environment(*, conf: str = "", source: Path | None = None) -> dict[str, str]:
    """Return the whole environment of a measured program.

    Args:
        conf: Configuration file of fedora-messaging; empty keeps the machine's own out.
        source: Where our package is imported from.
    """
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    variables |= {"LANG": "C.UTF-8", "FEDORA_MESSAGING_CONF": conf}
    if source is not None:
        variables["PYTHONPATH"] = str(source)
    return variables


def snapshot_source(directory: Path) -> tuple[Path, str]:
    """Copy our package, so that all rounds measure the same even if somebody works on it meanwhile.

    Returns:
        What to put on the path, and a short hash of what was copied.
    """
    target = directory / "src"
    # With the compiled files, which stay valid because times are copied too.
    shutil.copytree(ROOT / "src", target, ignore=shutil.ignore_patterns("*.egg-info"))
    digest = hashlib.sha256()
    for file in sorted(target.rglob("*.py")):
        digest.update(str(file.relative_to(target)).encode() + b"\0" + file.read_bytes() + b"\0")
    return target, digest.hexdigest()[:12]


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    variables: Mapping[str, str],
    *,
    stdout: int | IO[Any],
    stderr: int | IO[Any],
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program in a session of its own, and end it on leaving."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        # A Ctrl-C at the terminal is for the harness alone, which then ends the others.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    # Only while its pid is surely its own: after the status was collected it may be another's.
    if process.poll() is None:
        process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def collect(process: "subprocess.Popen[str]", begin: float) -> Ended:
    """Wait for the end of a program whose output is piped.

    Raises:
        ProgramFailed: Its status is not 0, or it did not end in time.
    """
    try:
        output, errors = process.communicate(timeout=_WORKER_DEADLINE)
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"no end in {_WORKER_DEADLINE:g} s") from None
    wall = time.perf_counter() - begin
    if process.returncode:
        tail = "\n".join(errors.splitlines()[-_ERROR_LINES:])
        raise ProgramFailed(f"status {process.returncode}\n{tail}")
    return Ended(output, wall)


def run(command: Sequence[str | Path], variables: Mapping[str, str]) -> Ended:
    """Run a program to its end.

    Raises:
        ProgramFailed: Its status is not 0, or it did not end in time.
    """
    begin = time.perf_counter()
    with running(command, variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        return collect(process, begin)
