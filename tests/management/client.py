"""A client of the management API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import httpx
from tests.support.waiting import WAIT

if TYPE_CHECKING:
    from types import TracebackType

#: The user that every broker has at first.
GUEST: Final = ("guest", "guest")
NOT_FOUND: Final = {"error": "Object Not Found", "reason": "Not Found"}
#: The default virtual host in a path.
ROOT: Final = "%2F"


def part(text: str) -> str:
    """Write a name as one part of a path."""
    return quote(text, safe="", errors="surrogateescape")


def bad_request(reason: Any) -> dict[str, Any]:
    """The body of an answer with status 400."""
    return {"error": "bad_request", "reason": reason}


def refused(reason: str) -> dict[str, str]:
    """The body of an answer with status 401 to a user who is logged in."""
    return {"error": "not_authorised", "reason": reason}


class Api:
    """Asks one broker as one user.

    Args:
        url: URL of the management API; a user and password in it do not matter.
        login: User and password; `None` logs in nobody.
    """

    def __init__(self, url: str, login: tuple[str, str] | None = GUEST) -> None:
        self.user = "" if login is None else login[0]
        self.url = httpx.URL(url).copy_with(userinfo=b"")
        # A connection for each request: RabbitMQ closes those on which it has refused one.
        self._client = httpx.Client(
            base_url=self.url,
            auth=login,
            timeout=WAIT,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Make a request.

        Args:
            method: HTTP method.
            path: Path below `/api/`, or from the root if it begins with a slash.
            body: What to send as JSON.
            **options: Those of `httpx.Client.request`.
        """
        if body is not None:
            options["json"] = body
        return self._client.request(method, path if path.startswith("/") else f"/api/{path}", **options)

    def get(self, path: str) -> Any:
        """Return what there is."""
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, body: Any = None) -> int:
        """Make or change something; returns the status."""
        answer = self.ask("PUT", path, {} if body is None else body)
        assert answer.is_success, answer.text
        assert not answer.content
        return answer.status_code

    def post(self, path: str, body: Any = None) -> Any:
        """Do something; returns what the answer says."""
        answer = self.ask("POST", path, {} if body is None else body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def delete(self, path: str) -> None:
        """Delete what there is."""
        answer = self.ask("DELETE", path)
        assert answer.status_code == 204, answer.text
        assert not answer.content

    def error(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Return what the answer to a request says that must fail with this status."""
        answer = self.ask(method, path, body, **options)
        assert answer.status_code == status, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
