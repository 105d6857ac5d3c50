"""`fedora-messaging consume` under systemd: what it is told, over a real socket."""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Queues
    from tests.support.processes import Processes

BLOCKING = """
import sys, time

async def callback(message):
    print('begun', flush=True)
    sys.stdin.readline()
    print('done', flush=True)
"""


class Manager:
    """The socket that systemd has; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def next(self) -> str:
        """What it is told next."""
        return self._socket.recv(4096).decode()

    def until(self, state: str) -> int:
        """How much it is told before some state."""
        count = 0
        while not self.next().startswith(state):
            count += 1
        return count

    def drain(self) -> list[str]:
        """All that it has been told."""
        self._socket.setblocking(False)
        told = []
        try:
            while True:
                told.append(self.next())
        except BlockingIOError:
            return told
        finally:
            self._socket.settimeout(15)


@pytest.fixture
def manager(tmp_path_factory: pytest.TempPathFactory) -> Manager:
    return Manager(tmp_path_factory.mktemp("systemd") / "notify")


def test_ready_watchdog_and_stopping(processes: Processes, queues: Queues, manager: Manager) -> None:
    queue = queues.name()
    with manager:
        process = processes.fedora_messaging(
            "consume",
            "--callback=fedora_messaging.example:printer",
            f"--queue-name={queue}",
            FEDORA_MESSAGING_AMQP_URL=queues.url,
            NOTIFY_SOCKET=str(manager.path),
            WATCHDOG_USEC="200000",
        )
        assert manager.next() == "READY=1\nSTATUS=consuming"
        assert [manager.next(), manager.next()] == ["WATCHDOG=1"] * 2
        process.signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert process.end().status == 0


def test_no_watchdog_while_a_callback_blocks_its_loop(
    processes: Processes, queues: Queues, manager: Manager
) -> None:
    """What systemd would restart is a process whose loop does not answer, and no other."""
    queue = queues.name()
    (processes.directory / "blocking.py").write_text(BLOCKING, encoding="utf-8")
    with manager:
        process = processes.fedora_messaging(
            "consume",
            "--callback-file=blocking.py:callback",
            f"--queue-name={queue}",
            FEDORA_MESSAGING_AMQP_URL=queues.url,
            NOTIFY_SOCKET=str(manager.path),
            WATCHDOG_USEC="100000",
        )
        manager.until("WATCHDOG=1")
        queues.channel.basic_publish("", queue, b"{}")
        process.wait_for("^begun$")
        process.wait_for("has blocked its event loop")
        manager.drain()
        # Longer than any pause of a healthy process.
        with pytest.raises(TimeoutError):
            manager._socket.settimeout(1)
            manager.next()
        manager._socket.settimeout(15)
        process.say("\n")
        process.wait_for("^done$")
        manager.until("WATCHDOG=1")
        process.signal(signal.SIGTERM)
        assert process.end().status == 0


def test_a_socket_that_is_gone_stops_nobody(processes: Processes, queues: Queues, tmp_path: Path) -> None:
    queue = queues.name()
    process = processes.fedora_messaging(
        "consume",
        "--callback=fedora_messaging.example:printer",
        f"--queue-name={queue}",
        FEDORA_MESSAGING_AMQP_URL=queues.url,
        NOTIFY_SOCKET=str(tmp_path / "nothing"),
    )
    process.wait_for("systemd cannot be told")
    process.signal(signal.SIGTERM)
    ended = process.end()
    assert ended.status == 0
    assert "Traceback" not in ended.output
