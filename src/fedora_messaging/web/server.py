"""Serves HTTP beside a running broker, in its event loop."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self

import uvicorn

from .management.app import make_app
from .timed_protocol import TimedProtocol

if TYPE_CHECKING:
    from ..broker.server import Server as BrokerServer

#: Seconds that requests have to end when the server stops.
_FAREWELL: Final = 2
#: Connections that may wait to be accepted.
_BACKLOG: Final = 128
#: Connections at once; further ones are told to come back later, with 503.
_CONNECTIONS: Final = 500


class HttpServerError(Exception):
    """The server cannot start; the text says why and what to do."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class HttpServer:
    """The management API of a running broker: ``async with HttpServer(broker.server)``.

    Args:
        broker: The broker.
        host: Address to listen on.
        port: TCP port; 0 takes a free one, see :attr:`port`.

    Raises:
        HttpServerError: On start: the port is in use.
    """

    def __init__(self, broker: "BrokerServer", host: str = "127.0.0.1", port: int = 0) -> None:
        self._broker = broker
        self._host = host
        self._wanted = port
        self.port = 0
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL of the API, without ``/api``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._wanted))
        except OSError as error:
            listener.close()
            where = f"{self._host}:{self._wanted}"
            if error.errno == errno.EADDRINUSE:
                text = f"{where} is in use already: stop what listens there, or choose another --http-port"
            else:
                text = f"Cannot listen on {where}: {error.strerror or error}"
            raise HttpServerError(text) from error
        self.port = listener.getsockname()[1]
        self._broker.http_port = self.port
        config = uvicorn.Config(
            make_app(self._broker),
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            http=TimedProtocol,
            timeout_graceful_shutdown=_FAREWELL,
            limit_concurrency=_CONNECTIONS,
            server_header=False,
            ws="none",
        )
        self._server = _Uvicorn(config)
        listener.listen(_BACKLOG)
        # Connections wait in the listener until the server has begun.
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._broker.http_port = 0
