"""Serves an application over HTTP, in the event loop of the caller."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Final, Self

import uvicorn

from .timed_protocol import TimedProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

#: Seconds that requests have to end when the server stops.
_FAREWELL: Final = 2
#: Bytes that the kernel keeps for a client that does not read.
_SEND_BUFFER: Final = 256 * 1024
#: Connections that may wait to be accepted.
_BACKLOG: Final = 128
#: Connections at once; further ones are told to come back later, with 503.
_CONNECTIONS: Final = 1500


class HttpServerError(Exception):
    """The server cannot start; the text says why and what to do."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class HttpServer:
    """Serves an application: ``async with HttpServer(app)``.

    Args:
        app: The application.
        host: Address to listen on.
        port: TCP port; 0 takes a free one, see :attr:`port`.
        option: The option that chooses the port, for the error text.
        certificate: Files with the certificate chain and its key, to serve over TLS.
        before_stop: Called before the server stops, to end what would go on for ever.

    Raises:
        HttpServerError: On start: the port is in use, or a TLS file cannot be used.
    """

    def __init__(
        self,
        app: "ASGIApp",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        option: str = "--http-port",
        certificate: tuple[str, str] | None = None,
        before_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._host = host
        self._wanted = port
        self._option = option
        self._certificate = certificate
        self._before_stop = before_stop
        self.port: int = 0
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._certificate is None else 'https'}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            http=TimedProtocol,
            timeout_graceful_shutdown=_FAREWELL,
            limit_concurrency=_CONNECTIONS,
            server_header=False,
            # A header must not make a stranger one of this machine.
            proxy_headers=False,
            ws="none",
            ssl_certfile=self._certificate[0] if self._certificate else None,
            ssl_keyfile=self._certificate[1] if self._certificate else None,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise HttpServerError(f"The TLS files cannot be used: {error.strerror or error}") from error
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._server = _Uvicorn(config)
        listener.listen(_BACKLOG)
        # Connections wait in the listener until the server has begun.
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        return self

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named, asyncio switches off Nagle's algorithm, which would delay answers by 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The kernel would keep megabytes for each client of a stream that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        try:
            listener.bind((self._host, self._wanted))
        except OSError as error:
            listener.close()
            where = f"{self._host}:{self._wanted}"
            if error.errno == errno.EADDRINUSE:
                text = f"{where} is in use already: stop what listens there, or choose another {self._option}"
            else:
                text = f"Cannot listen on {where}: {error.strerror or error}"
            raise HttpServerError(text) from error
        return listener

    async def __aexit__(self, *exc_info: object) -> None:
        if self._before_stop is not None:
            await self._before_stop()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
