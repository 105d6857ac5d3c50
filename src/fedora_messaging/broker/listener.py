"""Accepting connections, even when the system runs short of file descriptors."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
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
        self._sockets = [socket.socket(fileno=os.dup(one.fileno())) for one in bound.sockets]
        for one in self._sockets:
            one.setblocking(False)
            one.listen(_BACKLOG)
        self._tasks = {self._loop.create_task(self._serve(one)) for one in self._sockets}

    async def close(self) -> None:
        """Stop accepting connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in self._sockets:
            one.close()
        self._bound.close()

    async def _serve(self, listening: socket.socket) -> None:
        is_told = False
        while True:
            try:
                accepted, _address = await self._loop.sock_accept(listening)
            except ConnectionAbortedError:
                continue  # the waiting client has gone
            except OSError as error:
                if not is_told:
                    advice = "; raise the limit (ulimit -n)" if error.errno == errno.EMFILE else ""
                    _log.warning("No connection can be accepted at the moment: %s%s", error.strerror, advice)
                is_told = True
                await asyncio.sleep(_PAUSE)
                continue
            is_told = False
            task = self._loop.create_task(self._take(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, accepted: socket.socket) -> None:
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
