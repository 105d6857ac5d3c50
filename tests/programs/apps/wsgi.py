"""A WSGI application that announces its start and every request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fedora_messaging import api
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

api.publish(Message(topic="app.started", body={"started": os.getpid()}))


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Publish the number that the request's body is, and answer with our process id."""
    number = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    api.publish(Message(topic="app.request", body={"number": int(number), "pid": os.getpid()}))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
