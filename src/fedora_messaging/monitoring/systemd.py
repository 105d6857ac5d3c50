"""Reports the state of a service to systemd (sd_notify(3)), if systemd asks for it."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..logs import logger

_log = logger(__name__)


class Systemd:
    """A context manager; without the environment variables that systemd sets it does nothing.

    ``NOTIFY_SOCKET`` names the socket that takes reports. With ``WATCHDOG_USEC`` systemd restarts a service
    that keeps silent for that time, so a thread reports as long as the event loops respond.

    Args:
        is_alive: Returns whether the event loops respond.
    """

    def __init__(self, is_alive: Callable[[], bool]) -> None:
        self._is_alive = is_alive
        # Child processes must not report as the service.
        path = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._interval = _watchdog_seconds() / 2
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # We do not join the thread: it may be waiting for a loop that has ended.
        self._ended.set()

    def ready(self) -> None:
        """Report that the service does its work."""
        self._tell("READY=1\nSTATUS=consuming")
        if self._address and self._interval:
            threading.Thread(target=self._watch, name="systemd watchdog", daemon=True).start()

    def stopping(self) -> None:
        """Report that the service lets running callbacks end. Safe to call from a signal handler."""
        with suppress(OSError):  # no logging in a signal handler
            self._send("STOPPING=1\nSTATUS=letting running callbacks end")

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            if self._is_alive():
                self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        try:
            self._send(state)
        except OSError as error:
            _log.warning("systemd cannot be told %r: %s", state, error)

    def _send(self, state: str) -> None:
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.settimeout(1.0)
                notify.sendto(state.encode(), self._address)


def _watchdog_seconds() -> float:
    """Return the watchdog's time limit in seconds; 0 if there is none, or it is for another process."""
    pid = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
    microseconds = os.environ.pop("WATCHDOG_USEC", "0")
    if pid != str(os.getpid()) or not microseconds.isdecimal():
        return 0.0
    return int(microseconds) / 1_000_000
