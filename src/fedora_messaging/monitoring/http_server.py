"""HTTP endpoints that report the state of a process to a service manager.

``GET /live`` tells whether the library's event loop responds. ``GET /ready`` answers with the counters, and
with status 503 while messages cannot arrive (``always_ready`` restores the status of version 3.9).
``GET /status`` answers with the complete state, and ``GET /metrics`` with the same for Prometheus. The server
runs in its own threads, so that it can report a loop that is stuck.
"""

import errno
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from ..exceptions import ConfigurationException
from ..logs import logger
from .endpoints import Answer, Endpoint

_log = logger(__name__)

#: Seconds that a client has to send its request.
_REQUEST_TIMEOUT: Final = 10.0

#: Seconds to wait for a free file descriptor.
_PAUSE: Final = 1.0

#: Errors with which the system refuses to accept a connection that waits.
_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Monitor:
    """Listens for HTTP requests and answers them.

    Args:
        address: Address to listen on; empty means all.
        port: TCP port; 0 takes a free one.
        endpoints: Functions that make the answers, by the first part of the path.

    Raises:
        ConfigurationException: The port cannot be used.
    """

    def __init__(self, address: str, port: int, endpoints: Mapping[str, Endpoint]) -> None:
        handler = type("Handler", (_Handler,), {"endpoints": endpoints})
        try:
            self._server = _Server((address, port), handler)
        except (OSError, OverflowError, TypeError) as error:
            raise ConfigurationException(
                f"[monitoring] cannot listen on {shown_address(address, port)}: "
                f"{getattr(error, 'strerror', None) or error}"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port in use."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def family_of(address: str) -> socket.AddressFamily:
    """Return the address family to listen with: IPv6 if the address has no other.

    Raises:
        OSError: The address does not exist.
        TypeError: The address is not text.
    """
    if not address:
        return socket.AF_INET
    families = [found[0] for found in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)]
    return socket.AF_INET if socket.AF_INET in families else families[0]


def shown_address(address: object, port: int) -> str:
    """Return address and port in the form that URLs use; an asterisk stands for all addresses."""
    host = str(address) or "*"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family_of(address[0])
        self.closing = threading.Event()
        self._short_of_files = False
        super().__init__(address, handler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; pause if that fails, because the waiting one would wake us again at once."""
        try:
            accepted = super().get_request()
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                if not self._short_of_files:
                    _log.warning("Monitoring answers nobody at the moment: %s", error.strerror)
                self._short_of_files = True
                self.closing.wait(_PAUSE)
            raise
        self._short_of_files = False
        return accepted

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away during its request is not worth a warning.
        _log.debug("A monitoring request from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    endpoints: Mapping[str, Endpoint]
    timeout = _REQUEST_TIMEOUT
    server_version = "fedora-messaging"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def __getattr__(self, name: str) -> Any:
        # http.server looks for do_<METHOD>, and without one would answer 501 where 405 is right.
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def _answer(self, with_body: bool) -> None:
        # Only the first part of the path counts, as in version 3.9.
        endpoint = self.endpoints.get(self.path.partition("?")[0].strip("/").split("/")[0])
        if endpoint is None:
            self._send(Answer(HTTPStatus.NOT_FOUND, "application/json", b""), with_body)
        else:
            self._send(endpoint(), with_body)

    def _refuse_method(self) -> None:
        self.close_connection = True
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "HEAD, GET")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, answer: Answer, with_body: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
        _log.debug(format, *args)
