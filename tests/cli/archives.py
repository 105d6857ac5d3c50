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
        logins: The header `Authorization` of each request.
        answer: What it answers, as JSON unless it is bytes.
        status: The status of its answers.
        moved: Path that it answers instead, if it is asked for another one.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.logins: list[str | None] = []
        self.status = 200
        self.moved: str | None = None
        self.answer: Any = {"topic": "archived.topic", "body": {"number": 1}, "id": "canary"}
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.paths.append(self.path)
                archive.logins.append(self.headers["Authorization"])
                answer = archive.answer
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                if archive.moved is None or self.path == archive.moved:
                    self.send_response(archive.status)
                else:
                    self.send_response(302)
                    self.send_header("Location", archive.moved)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def option(self) -> str:
        return f"--datagrepper-url={self.url}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
