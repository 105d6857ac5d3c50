"""Lets the thread that waits for a confirm read it from the socket itself."""

import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..client.amqp.connection import Connection
    from ..client.supervisor import Supervisor
    from .loop_thread import LoopThread

#: Publishes in a row, each alone on its way, after which their threads read the confirms.
_ALONE: Final = 4
#: Seconds without such a publish after which the loop reads again.
_KEEP: Final = 0.05


class ConfirmReader:
    """Reads confirms in the place of the loop's thread, which then need not be woken, and wake the caller.

    That is possible while there is nothing else to read: one publish at a time is on its way, and there are
    no consumers. The connection then lends its reading, until a publish finds others beside it, until the
    loop has something to send, or until no publish has come for a moment. What comes and is no confirm, the
    loop handles.

    Args:
        loop_thread: The loop's thread.
        supervisor: Has the connection.
    """

    def __init__(self, loop_thread: "LoopThread", supervisor: "Supervisor") -> None:
        self._loop_thread = loop_thread
        self._supervisor = supervisor
        # All of these belong to the loop's turn.
        self._lender: Connection | None = None
        self._poll: select.poll | None = None
        self._alone = 0
        #: What the thread waits for that reads now.
        self._user: threading.Lock | None = None
        self._was_used = False
        self._is_watched = False
        # Wakes that thread when the connection reads itself again.
        self._alarm: tuple[socket.socket, socket.socket] | None = None

    def wait(self, confirmed: threading.Lock, timeout: float | None) -> None:
        """Return when the lock is free, when the time is over, or when only the loop can tell.

        Args:
            confirmed: Locked until the outcome is known.
            timeout: Seconds; ``None`` waits for ever.
        """
        try:
            if self._loop_thread.act(self._begin, confirmed):
                self._wait(confirmed, timeout)
            elif self._lender is not None:  # the loop was busy, or another thread reads
                self._loop_thread.post(self._return_unused, None)
        finally:
            # Only this thread makes itself the user, or no user any more.
            if self._user is confirmed and not self._loop_thread.act(self._leave, confirmed):
                self._loop_thread.post(self._leave, confirmed)

    def _wait(self, confirmed: threading.Lock, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        left: float | None = None
        assert self._poll is not None  # since reading is lent
        while self._user is confirmed:
            if deadline is not None:
                left = max(0.0, 1000 * (deadline - time.monotonic()))
            if not self._poll.poll(left) or not self._loop_thread.act(self._read, confirmed):
                break

    def close(self) -> None:
        """Close what it waits with; the loop has ended."""
        for end in self._alarm or ():
            end.close()

    # In the loop's turn

    def _begin(self, confirmed: threading.Lock) -> bool:
        connection = self._supervisor.connection_for_confirms()
        if self._user is not None:
            return False
        if connection is None:
            self._return()
            return False
        if self._lender is None:
            self._alone += 1
            if self._alone < _ALONE or not self._borrow(connection):
                return False
        self._user = confirmed
        self._was_used = True
        return True

    def _borrow(self, connection: "Connection") -> bool:
        fd = connection.lend_reading(self._on_returned)
        if fd is None:
            self._alone = 0
            return False
        if self._alarm is None:
            self._alarm = socket.socketpair()
            for end in self._alarm:
                end.setblocking(False)
        with suppress(BlockingIOError):  # it has not rung
            self._alarm[0].recv(4096)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._alarm[0], select.POLLIN)
        self._lender = connection
        if not self._is_watched:
            self._is_watched = True
            # The loop waits, and learns of a new timer only when it is woken.
            loop = self._loop_thread.loop
            loop.call_soon_threadsafe(loop.call_later, _KEEP, self._look)
        return True

    def _read(self, confirmed: threading.Lock) -> bool:
        if self._lender is None or not self._lender.read_confirms():
            return False
        if not confirmed.locked():
            self._user = None
            if self._supervisor.publisher.in_flight:
                self._return()  # others have no thread that reads
        return True

    def _leave(self, confirmed: threading.Lock) -> bool:
        """Let the loop read again: there is something else, or the caller waits no longer."""
        if self._user is confirmed:
            self._user = None
            self._return()
        return True

    def _return_unused(self, _none: None) -> None:
        if self._user is None:
            self._return()

    def _return(self) -> None:
        self._alone = 0
        if self._lender is not None:
            self._lender.take_reading_back()

    def _on_returned(self) -> None:
        """Wake the thread that waits: the connection reads itself again, or has ended."""
        self._lender = None
        self._alone = 0
        if self._user is not None and self._alarm is not None:
            self._alarm[1].send(b"\0")

    def _look(self) -> None:
        """Let the loop read again if no publish has come for a moment."""
        self._is_watched = self._lender is not None and (self._user is not None or self._was_used)
        self._was_used = False
        if self._is_watched:
            self._loop_thread.loop.call_later(_KEEP, self._look)
        else:
            self._return()
