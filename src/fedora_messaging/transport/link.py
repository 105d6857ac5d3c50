"""A network connection joined to a protocol machine."""

import asyncio
import os
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, cast

from ..logs import logger
from ..printable import printable
from ..protocol.connection import Machine
from ..protocol.events import Event
from ..wire.frames import encode_method
from ..wire.methods import ConnectionCloseOk
from .tls import alert_name

try:
    import fcntl
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

_log = logger(__name__)

#: Seconds that the last bytes get to leave before the link cuts the socket.
CLOSE_GRACE: Final = 3.0
#: A peer confirms the end with this frame, and sends nothing after it.
_LAST_FRAME: Final = encode_method(0, ConnectionCloseOk().encode())
_INT: Final = struct.Struct("i")
#: Bytes that are read at once.
_READ: Final = 65536
#: Bytes that are handed to the socket at once, if there are more of large contents.
_PIECE: Final = 1_000_000


class Owner(Protocol):
    """Acts on a link's events. All calls come from the event loop."""

    def on_connected(self, link: "Link") -> None:
        """The network connection is open."""
        ...

    def on_events(self, events: list[Event]) -> None:
        """Handle events; everything sent meanwhile leaves in one write afterwards."""
        ...

    def on_writable(self, writable: bool) -> None:
        """The socket's buffer is full, or has room again."""
        ...

    def on_lost(self, error: Exception | None) -> None:
        """The network connection is gone; this is the last call."""
        ...


def _why(exc: Exception | None) -> str:
    if isinstance(exc, ssl.SSLError):
        return f"TLS: {alert_name(exc)}"
    return str(exc or "closed by the peer")


def fault_text(error: Exception) -> str:
    """Return the text that reports an exception of our own code; escaped, as it may hold the peer's bytes."""
    what = f"{type(error).__name__}: {printable(error)}"
    return f"a fault in fedora-messaging ended the connection, please report it: {what}"


def _in_kernel(transport: asyncio.Transport) -> int:
    """Return how many bytes the kernel still has to deliver; 0 if it cannot tell."""
    socket = transport.get_extra_info("socket")
    if socket is None or termios is None:
        return 0
    try:
        (size,) = _INT.unpack(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))
    except (OSError, ValueError):  # unsupported on this system, or the socket was just closed
        return 0
    return int(size)


class Link(asyncio.Protocol):
    """Feeds a protocol machine from a socket, writes its output, and wakes it at its deadlines.

    Everything that the machine sends in one turn of the event loop leaves in one write.

    Args:
        machine: The protocol machine.
        owner: Acts on its events.
        loop: The event loop.
        patience: Seconds for the peer to read the last word of the connection and to end the network
            connection itself; meanwhile the link discards what still comes. To close a socket at once, while
            the peer is sending, would destroy what it has not read yet. 0 closes at once.

    Attributes:
        machine: The protocol machine.
        writable: Whether the socket's buffer has room.
        received: Number of bytes received so far.
        written: Number of bytes handed to the socket so far.
        fault: The exception of machine or owner that ended the connection, or ``None``. Kept here because
            event loops treat exceptions in protocols differently, and cannot tell whose fault they are.
    """

    def __init__(
        self, machine: Machine, owner: Owner, loop: asyncio.AbstractEventLoop, patience: float = 0.0
    ) -> None:
        self.machine = machine
        self.writable: bool = True
        self.received: int = 0
        self.written: int = 0
        self.fault: Exception | None = None
        self._owner = owner
        self._loop = loop
        self._patience = patience
        self._is_lingering = False
        # The end of what has come since the last word.
        self._tail = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        # Called when the reading that is lent to another thread is at its end; None if it is not lent.
        self._on_returned: Callable[[], None] | None = None
        self._fd = -1
        # Whether the machine has output that waits for room in the socket's buffer.
        self._is_held_back = False
        # Bytes handed to the socket since its buffer became full, and bytes of that output that are left.
        self._owed = 0
        self._rest = 0
        self._is_mute = False

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start; a client sends its protocol header at once."""
        # A cast and no check: uvloop's transport, for example, does not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._guarded(self._begin)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the machine and its events to the owner."""
        self.received += len(data)
        if self._is_lingering:
            self._discard(data)
            return
        try:
            self.machine.receive_data(data, self._loop.time())
            self._dispatch()
        except Exception as error:
            self._fail(error)

    def eof_received(self) -> bool:
        """Let asyncio close the transport."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, after passing it the machine's last events."""
        self._transport = None
        self.take_reading_back()
        for timer in (self._timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        if self.fault is not None:
            self.machine.peer_vanished(fault_text(self.fault))
        else:
            self.machine.peer_vanished(f"the network connection was lost: {_why(exc)}")
        events = self.machine.events()
        if events:
            self._owner.on_events(events)
        self._owner.on_lost(exc)

    def pause_writing(self) -> None:
        """Note that the socket's buffer is full."""
        self.writable = False
        self._owner.on_writable(False)

    def resume_writing(self) -> None:
        """Note that the socket's buffer has room again."""
        self.writable = True
        self._owed = 0
        if self._is_held_back:
            self._guarded(self._write)
        # What was held back may have filled the buffer again.
        if self.writable:
            self._owner.on_writable(True)

    # The owner calls these

    def flush_soon(self) -> None:
        """Write the machine's output at the end of this turn of the loop."""
        self.take_reading_back()
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Write the machine's output now."""
        self.take_reading_back()
        self._write()

    def flush_now(self) -> None:
        """Write the machine's output now, in any thread, while the event loop waits for events."""
        try:
            self._write()
        except Exception as error:
            self._loop.call_soon_threadsafe(self._fail, error)
            return
        if self._transport is not None and self._transport.is_closing():
            # asyncio has scheduled the end of the connection, which the loop does not know while it waits.
            self._loop.call_soon_threadsafe(lambda: None)

    def lend_reading(self, on_returned: Callable[[], None]) -> int | None:
        """Stop reading from the socket, so that other threads can do it with :meth:`read_now`.

        It is lent until :meth:`take_reading_back`. The link itself does that when the loop has something to
        send, because the answer is for the loop, and when the connection ends.

        Args:
            on_returned: Called when it is lent no longer.

        Returns:
            The socket's file descriptor, to wait for; ``None`` if reading cannot be lent, because the
            connection uses TLS or is at its end.
        """
        transport = self._transport
        if transport is None or self._is_lingering or not transport.is_reading():
            return None
        socket = transport.get_extra_info("socket")
        if socket is None or transport.get_extra_info("sslcontext") is not None:
            return None
        transport.pause_reading()
        self._on_returned = on_returned
        self._fd = socket.fileno()
        return self._fd

    def read_now(self, is_simple: Callable[[list[Event]], bool]) -> bool:
        """Read what has come, in any thread, while the event loop waits and reading is lent.

        Args:
            is_simple: Whether the owner can act on events without a running loop. Others the loop hands over.

        Returns:
            Whether to go on so; otherwise take reading back.
        """
        if self._on_returned is None or self._transport is None or self._transport.is_closing():
            return False
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self.received += len(data)
        try:
            self.machine.receive_data(data, self._loop.time())
            events = self.machine.events()
            if is_simple(events) and not self.machine.waiting and not self.machine.is_closed:
                self._owner.on_events(events)
                if not self.machine.waiting:
                    return True
                events = []
        except Exception as error:
            self._loop.call_soon_threadsafe(self._fail, error)
            return False
        self._loop.call_soon_threadsafe(self._guarded, partial(self._hand_over, events))
        return False

    def _hand_over(self, events: list[Event]) -> None:
        if events:
            self._owner.on_events(events)
        self._write()

    def take_reading_back(self) -> None:
        """Read from the socket again, if reading is lent."""
        on_returned, self._on_returned = self._on_returned, None
        if on_returned is None:
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        on_returned()

    def mute(self, is_mute: bool) -> None:
        """Write nothing any more, not even heartbeats, until this is called with ``False``."""
        self._is_mute = is_mute
        if not is_mute:
            self._guarded(self._write)

    def pause_reading(self) -> None:
        """Stop reading from the socket until :meth:`resume_reading`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self.machine.listen(False, self._loop.time())

    def resume_reading(self) -> None:
        """Read from the socket again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self.machine.listen(True, self._loop.time())

    def close_within(self, seconds: float) -> None:
        """Write the machine's output, and cut the socket if the peer has not closed it within ``seconds``."""
        self.take_reading_back()
        self._write()
        if self._transport is not None and self._abort_timer is None:
            self._abort_timer = self._loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Cut the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def peer_info(self, name: str) -> object:
        """Return what asyncio knows of the transport, for example ``peername``."""
        return self._transport.get_extra_info(name) if self._transport is not None else None

    @property
    def owed(self) -> int:
        """Bytes that the machine has sent since the socket's buffer became full, written or not."""
        return self._owed + self.machine.waiting - self._rest

    @property
    def buffered(self) -> int:
        """Bytes that wait in the socket's buffer in this process."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def unsent(self) -> int:
        """Number of written bytes that, as far as this host knows, have not reached the peer's host."""
        transport = self._transport
        if transport is None:
            return 0
        return transport.get_write_buffer_size() + _in_kernel(transport)

    def _dispatch(self) -> None:
        events = self.machine.events()
        if events:
            self._owner.on_events(events)
        self._write()

    def _begin(self) -> None:
        self._owner.on_connected(self)
        self._write()

    def _flush(self) -> None:
        self._flush_due = False
        self._guarded(self._write)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        _log.error("%s", fault_text(error), exc_info=error)
        self.fault = error
        self.abort()

    def _write(self) -> None:
        transport = self._transport
        if transport is None or self._is_mute:
            return
        # Large contents leave piece by piece: whoever does not read them costs no copies.
        while not (self._is_held_back and not self.writable and not self.machine.is_closed):
            data = self.machine.data_to_send(self._loop.time(), _PIECE)
            if not data:
                break
            self.written += len(data)
            if not self.writable:
                self._owed += len(data)
            transport.write(data)
            self._hold_back(len(data))
            if not self._is_held_back:
                break
        if self.machine.is_closed:
            self._end(transport)
        elif self._timer is None:
            self._arm()

    def _hold_back(self, written: int) -> None:
        """Note what the machine has not handed over after a write."""
        waiting = self.machine.waiting
        self._rest = max(0, self._rest - written) if self._is_held_back and waiting else waiting
        self._is_held_back = bool(waiting)

    def _end(self, transport: asyncio.Transport) -> None:
        if transport.is_closing() or self._is_lingering:
            return
        if self._patience and self.machine.has_last_word:
            self._is_lingering = True
            transport.resume_reading()
            self.close_within(self._patience)
        else:
            transport.close()
            self.close_within(CLOSE_GRACE)

    def _discard(self, data: bytes) -> None:
        # Any frame may have been the peer's last but this one, so the borders of its frames do not matter.
        self._tail = (self._tail + data)[-len(_LAST_FRAME) :]
        if self._tail == _LAST_FRAME and self._transport is not None:
            self._transport.close()

    def _arm(self) -> None:
        # Traffic only postpones deadlines, so one timer that checks again when it fires is enough.
        deadline = self.machine.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        # If the process was suspended, the peer's bytes may still wait in the socket, and such a peer was not
        # silent. The loop reads them at the end of its next turn, so we act on the time only after that.
        self.take_reading_back()
        self._loop.call_soon(self._loop.call_soon, self._guarded, self._act_on_time)

    def _act_on_time(self) -> None:
        self._timer = None
        self.machine.handle_timeout(self._loop.time())
        self._dispatch()
