"""Refusing a request, in the form of RabbitMQ's management API."""

from typing import Any, Final

NOT_FOUND_BODY: Final = {"error": "Object Not Found", "reason": "Not Found"}


class RequestError(Exception):
    """A request is refused.

    Attributes:
        status: HTTP status.
        body: What the client is told as JSON; ``None`` for an empty answer.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers: dict[str, str] = headers or {}


def bad_request(reason: Any) -> RequestError:
    """Make the answer to a request that is wrong in itself."""
    return RequestError(400, {"error": "bad_request", "reason": reason})


def not_found(reason: str | None = None) -> RequestError:
    """Make the answer to a request for something that does not exist."""
    body = NOT_FOUND_BODY if reason is None else {"error": "not_found", "reason": reason}
    return RequestError(404, body)


def not_authorised(reason: str) -> RequestError:
    """Make the answer to a user who may not do this."""
    return RequestError(401, {"error": "not_authorised", "reason": reason})
