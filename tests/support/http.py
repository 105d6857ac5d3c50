"""Asking an HTTP server on this machine."""

from __future__ import annotations

import http.client
import json
from typing import Any, NamedTuple

from tests.support.waiting import WAIT


class Answer(NamedTuple):
    """Of an HTTP server."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """Headers and body."""
        headers = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{headers}\n{self.body.decode()}"

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    """Make one request."""
    connection = http.client.HTTPConnection(host, port, timeout=WAIT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
