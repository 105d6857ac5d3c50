"""Accepting connections, even when the system runs short of file descriptors."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..logs import logger
from ..transport.link import Link
from .session import HANDSHAKE_TIMEOUT

_log = logger(__name__)

#: Seconds to wait before the next attempt, for example for a free descriptor.
_PAUSE: Final = 1.0
#: Connections that the system keeps until they are accepted.
_BACKLOG: Final = 100


class Listener:
    """Accepts the connections of one server.

    The event loop's own server logs a traceback for each connection that it cannot accept, and tries again
    at once.

    Args:
        bound: A server of the event loop that is bound to the addresses but does not serve; closed with this.
        make_link: Makes the link for a connection.
        context: TLS context; ``None`` accepts connections without TLS.
    """

    def __init__(
        self, bound: asyncio.Server, make_link: Callable[[], Link], context: ssl.SSLContext | None
    ) -> None:
        self._bound = bound
        self._make_link = make_link
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._is_told = False
        # Connections that no transport owns yet.
        self._accepted: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._sockets = [socket.socket(fileno=os.dup(one.fileno())) for one in bound.sockets]
        for one in self._sockets:
            one.setblocking(False)
            one.listen(_BACKLOG)
            self._loop.add_reader(one, self._accept, one)

    async def close(self) -> None:
        """Stop accepting connections; those that are still being set up end. May be called again."""
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            listening.close()
        for pause in self._pauses.values():
            pause.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that is cancelled before its first step does nothing.
        for one in self._accepted:
            one.close()
        self._bound.close()

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the waiting client has gone
        except OSError as error:
            if not self._is_told:
                advice = "; raise the limit (ulimit -n)" if error.errno == errno.EMFILE else ""
                _log.warning("No connection can be accepted at the moment: %s%s", error.strerror, advice)
            self._is_told = True
            self._loop.remove_reader(listening)
            self._pauses[listening] = self._loop.call_later(_PAUSE, self._resume, listening)
            return
        self._is_told = False
        accepted.setblocking(False)
        self._accepted.add(accepted)
        task = self._loop.create_task(self._take(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resume(self, listening: socket.socket) -> None:
        del self._pauses[listening]
        self._loop.add_reader(listening, self._accept, listening)

    async def _take(self, accepted: socket.socket) -> None:
        # From now on the loop closes it.
        self._accepted.discard(accepted)
        try:
            await self._loop.connect_accepted_socket(
                self._make_link,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT if self._context is not None else None,
            )
        except Exception:
            # Anybody may send anything to a TLS port, so this is not worth a warning.
            _log.debug("A connection ended before it had begun", exc_info=True)


def check_unused(path: Path) -> None:
    """Check that a Unix socket can be made; the event loop would replace one on which somebody listens, too.

    Raises:
        OSError: Somebody listens there, or there is a file that is no socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "there is something else than a socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        # If many clients wait to be accepted, the answer is EAGAIN.
        if client.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
