"""Lets the main thread wait while its signal handlers still run."""

import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")


class InterruptibleWait:
    """Waits for results in such a way that Python's signal handlers run while the main thread waits.

    Handlers run in the main thread, but the system may deliver a signal to any thread. A main thread that
    waits for a lock would then not wake up. So it waits for the file descriptor to which Python writes when a
    signal comes. Make the object before you start anything that a signal may interrupt.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def close(self) -> None:
        """Close the descriptors; :meth:`result` must not be called any more."""
        self._reader.close()
        self._writer.close()

    def result(self, future: "Future[Result]") -> Result:
        """Return the result of a future, or raise its error."""
        if threading.current_thread() is threading.main_thread():
            previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            try:
                # Otherwise the program's own event loop in this thread uses a descriptor already.
                if previous == -1:
                    self._wait(future)
            finally:
                signal.set_wakeup_fd(previous)
        return future.result()

    def _wait(self, future: "Future[Result]") -> None:
        future.add_done_callback(self._wake)
        while not future.done():
            # recv() works with any descriptor; select() would refuse a number above 1023.
            self._reader.recv(4096)

    def _wake(self, _future: object) -> None:
        with suppress(OSError):  # the caller gave up waiting, or unread bytes will wake it anyway
            self._writer.send(b"\0")
