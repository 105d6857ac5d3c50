"""An archive of messages that answers as Datagrepper does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Archive:
    """Answers as Datagrepper does.

    Attributes:
        paths: What was asked for.
        answer: What it answers.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answer: dict[str, Any] = {"topic": "archived.topic", "body": {"number": 1}, "id": "canary"}
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.paths.append(self.path)
                body = json.dumps(archive.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def option(self) -> str:
        return f"--datagrepper-url=http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
