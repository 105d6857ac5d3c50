"""Waiting in the main thread so that signal handlers still run."""

import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")


class InterruptibleWait:
    """Waiting for results so that Python's signal handlers run while the main thread waits.

    They run in the main thread, but the system may deliver a signal to any thread, and that wakes nobody who
    waits for a lock. What it does wake is whoever waits for the descriptor that Python writes to. To be made
    before there is anything that a signal may interrupt.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def close(self) -> None:
        """Wait no more."""
        self._reader.close()
        self._writer.close()

    def result(self, future: "Future[Result]") -> Result:
        """Return the result of a future, or raise its error."""
        if threading.current_thread() is threading.main_thread():
            previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            try:
                # A loop of the program's own that runs in this thread has its own descriptor.
                if previous == -1:
                    self._wait(future)
            finally:
                signal.set_wakeup_fd(previous)
        return future.result()

    def _wait(self, future: "Future[Result]") -> None:
        future.add_done_callback(self._wake)
        while not future.done():
            # It blocks, however high the descriptor's number is; select() would refuse one above 1023.
            self._reader.recv(4096)

    def _wake(self, _future: object) -> None:
        with suppress(OSError):  # nobody waits any longer, or there are unread bytes anyway
            self._writer.send(b"\0")
