"""A development server with a thread for each request, as Flask's."""

from __future__ import annotations

import socketserver
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from wsgi import application  # type: ignore[import-not-found]


class ThreadedServer(socketserver.ThreadingMixIn, WSGIServer):
    """Joins its threads when it is closed."""

    request_queue_size = 128


class QuietHandler(WSGIRequestHandler):
    """Keeps no access log."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    with make_server("127.0.0.1", 0, application, ThreadedServer, QuietHandler) as server:
        print("port", server.server_port, flush=True)
        try:
            server.serve_forever(poll_interval=0.05)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
