"""A private PostgreSQL server for tests: own directory and port, and no system service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg
from tests.support.rabbitmq import free_ports

_HOST = "127.0.0.1"
_START_DEADLINE = 60.0
_POLL_INTERVAL = 0.05
#: Who runs it where the tests are run by root, whom PostgreSQL refuses to serve.
_SERVICE_USER = "postgres"


def find_postgresql() -> Path | None:
    """Find the directory with `initdb` and `postgres`, which Debian keeps out of the path."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).parent)
    return next((found for found in candidates if (found / "initdb").exists()), None)


class PostgresServer:
    """A server with the superuser `postgres`, whom it trusts; a context manager."""

    def __init__(self) -> None:
        binaries = find_postgresql()
        assert binaries is not None, "PostgreSQL is not installed"
        self._binaries = binaries
        (self.port,) = free_ports(1)
        # Not below pytest's own directory, which no other user may enter.
        self._directory = Path(tempfile.mkdtemp(prefix="fm-postgresql-"))
        self._user = _SERVICE_USER if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._directory, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL for SQLAlchemy with psycopg."""
        return f"postgresql+psycopg://postgres:canary-password@{_HOST}:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        data = self._directory / "data"
        if not data.exists():
            self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", str(data))
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binaries / "postgres",
                    "-D",
                    data,
                    "-h",
                    _HOST,
                    "-p",
                    str(self.port),
                    "-k",
                    self._directory,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                user=self._user,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_DEADLINE
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL is not ready"
            time.sleep(_POLL_INTERVAL)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            # Its children notice; only the first process is a child of ours.
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        shutil.rmtree(self._directory)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self._directory,
            user=self._user,
        )

    def _answers(self) -> bool:
        try:
            with psycopg.connect(
                host=_HOST, port=self.port, user="postgres", dbname="postgres", connect_timeout=2
            ):
                return True
        except psycopg.OperationalError:
            return False
