"""Stopping consumers by process signals."""

import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .service import Consumers

Result = TypeVar("Result")


def wait_interruptibly(future: "Future[Result]") -> Result:
    """Wait for a result so that Python's signal handlers run while the main thread waits.

    They run in the main thread, but the system may deliver a signal to any thread, and that wakes nobody who
    waits for a lock. What it does wake is whoever waits for the descriptor that Python writes to.
    """
    if threading.current_thread() is threading.main_thread():
        reader, writer = socket.socketpair()
        with reader, writer:
            writer.setblocking(False)
            previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            try:
                # A loop of the program's own that runs in this thread has its own descriptor.
                if previous == -1:
                    _wait_for(future, reader, writer)
            finally:
                signal.set_wakeup_fd(previous)
    return future.result()


def _wait_for(future: "Future[Result]", reader: socket.socket, writer: socket.socket) -> None:
    def wake(_future: object) -> None:
        with suppress(OSError):  # nobody waits any longer, or there are unread bytes anyway
            writer.send(b"\0")

    future.add_done_callback(wake)
    while not future.done():
        select.select([reader], [], [])
        reader.recv(4096)


@contextmanager
def stop_on_sigterm(consumers: "Consumers") -> Iterator[list[int]]:
    """Stop consumers on SIGTERM, unless the program handles that signal itself.

    Only the main thread can; elsewhere this does nothing. A second signal ends the process as if nobody
    handled it.

    Yields:
        A list that holds the signal once it has come.
    """
    received: list[int] = []
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield received
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        consumers.request_stop()

    signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
