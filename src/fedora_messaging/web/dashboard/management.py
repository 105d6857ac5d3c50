"""The client of the broker's management API."""

from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

import httpx

from ...printable import printable

#: Seconds for an answer.
_TIMEOUT: Final = 15.0


class ManagementError(Exception):
    """The management API does not do what it was asked.

    Attributes:
        status: HTTP status; 0 if there was no answer.
        reason: Why, for people.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Management:
    """Asks the management API as one user.

    Args:
        client: Its base URL ends where ``/api`` begins.
        name: What people call the broker; without a password.
        credentials: Name and password; ``None`` for those of the client.
    """

    def __init__(
        self, client: httpx.AsyncClient, name: str, credentials: tuple[str, str] | None = None
    ) -> None:
        self.name = name
        self._client = client
        self._credentials = credentials

    def as_user(self, name: str, password: str) -> Self:
        """Return a client for the same broker as another user."""
        return type(self)(self._client, self.name, (name, password))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, *path: str, **query: Any) -> Any:
        """Return what is at a path, whose parts need no quoting.

        Raises:
            ManagementError: The broker refuses, has no such thing, or does not answer.
        """
        return await self._ask("GET", path, query, None)

    async def send(self, method: str, *path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Change something, and return the answer; raises as :meth:`get`."""
        return await self._ask(method, path, query, body)

    async def _ask(
        self, method: str, path: tuple[str, ...], query: Mapping[str, Any], body: Mapping[str, Any] | None
    ) -> Any:
        url = "api/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in path)
        try:
            response = await self._client.request(
                method,
                url,
                params={name: value for name, value in query.items() if value is not None},
                json=body,
                timeout=_TIMEOUT,
                **({} if self._credentials is None else {"auth": self._credentials}),  # type: ignore[arg-type]
            )
        except httpx.HTTPError as error:
            reason = printable(error) or type(error).__name__
            raise ManagementError(0, f"{self.name} does not answer: {reason}") from error
        if response.is_success:
            return _decoded(response)
        raise ManagementError(response.status_code, _reason(response))


def connect(url: str) -> Management:
    """Return the client for a URL such as ``http://user:password@host:15672``; without a user it is guest.

    Raises:
        ValueError: The URL cannot be used; the text says why, without the password.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port in the management URL is no port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the management URL must look like http://user:password@host:15672")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    name = f"{host}:{port}" if port else host
    base = f"{parts.scheme}://{name}{parts.path.removesuffix('/').removesuffix('/api')}/"
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    client = httpx.AsyncClient(base_url=base, auth=auth, headers={"user-agent": "fedora-messaging"})
    return Management(client, name)


def _decoded(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise ManagementError(
            502, "what answers there is no management API: check the host and port of its URL"
        ) from error


def _reason(response: httpx.Response) -> str:
    try:
        answer = response.json()
        reason = answer.get("reason") or answer.get("error")
    except (ValueError, AttributeError):
        reason = None
    return printable(reason or f"{response.status_code} {response.reason_phrase}")
