"""The client of the broker's management API."""

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx

from ...printable import printable

#: Seconds for each part of an answer, and for all of it.
_TIMEOUT: Final = 15.0
_DEADLINE: Final = 30.0
#: Most bytes of an answer; lists are asked for by page, so that only huge messages come near.
_LARGEST: Final = 64 * 1024 * 1024
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_NO_API: Final = "what answers there is no management API: check the host and port of its URL"
_NO_URL: Final = (
    "the management URL must look like http://user:password@host:15672; write signs of the password other "
    "than letters and digits as %XX, for example # as %23"
)


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

    async def tags(self) -> frozenset[str]:
        """Return the tags of the user.

        Raises:
            ManagementError: The broker does not let the user in.
        """
        if self._credentials is not None and not self._credentials[0]:
            raise ManagementError(401, "the name is empty")
        found = await self.get("whoami")
        tags = found.get("tags") if isinstance(found, dict) else None
        if isinstance(tags, str):  # before RabbitMQ 3.9
            tags = tags.split(",")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise ManagementError(502, "the broker does not say which tags the user has")
        return frozenset(tags)

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
        given = {name: value for name, value in query.items() if value is not None}
        if given:
            url += "?" + urlencode(given, errors="surrogateescape")
        try:
            async with asyncio.timeout(_DEADLINE):
                status, content = await self._answer(method, url, body)
        except TimeoutError:
            raise ManagementError(0, f"{self.name} does not answer within {_DEADLINE:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = printable(error) or type(error).__name__
            raise ManagementError(0, f"{self.name} does not answer: {reason}") from error
        if 200 <= status < 300:
            return _decoded(content)
        if 400 <= status < 600:
            raise ManagementError(status, _reason(status, content))
        raise ManagementError(502, _NO_API)

    async def _answer(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        headers = {} if body is None else {"content-type": "application/json"}
        login: dict[str, Any] = {}
        if self._credentials is not None:
            # Names may have bytes that are no text, which httpx's own authentication does not take. And the
            # client's must not take the place of this one: everybody would act as the user of its URL.
            both = ":".join(self._credentials).encode("utf-8", "surrogateescape")
            headers["authorization"] = f"Basic {base64.b64encode(both).decode()}"
            login["auth"] = None
        content = None if body is None else json.dumps(body).encode()
        pieces = bytearray()
        async with self._client.stream(
            method, url, content=content, headers=headers, timeout=_TIMEOUT, **login
        ) as response:
            async for piece in response.aiter_bytes():
                pieces += piece
                if len(pieces) > _LARGEST:
                    raise ManagementError(502, f"the answer of {self.name} has more than 64 MiB")
            return response.status_code, bytes(pieces)


def connect(url: str) -> Management:
    """Return the client for a URL such as ``http://user:password@host:15672``; without a user it is guest.

    Raises:
        ValueError: The URL cannot be used; the text says why, without the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(_NO_URL) from None
    # Signs in a password that are not quoted end it early, and the rest would be taken for something public.
    is_cut = bool(parts.query or parts.fragment or "@" in parts.path)
    if parts.scheme not in ("http", "https") or is_cut or _HOST.fullmatch(host) is None:
        raise ValueError(_NO_URL)
    shown = f"[{host}]" if ":" in host else host
    name = f"{shown}:{port}" if port else shown
    base = f"{parts.scheme}://{name}{parts.path.removesuffix('/').removesuffix('/api')}/"
    auth = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    client = httpx.AsyncClient(base_url=base, auth=auth, headers={"user-agent": "fedora-messaging"})
    return Management(client, name)


def _decoded(content: bytes) -> Any:
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManagementError(502, _NO_API) from error


def _reason(status: int, content: bytes) -> str:
    try:
        answer = json.loads(content)
        reason = answer.get("reason") or answer.get("error")
    except (ValueError, AttributeError, RecursionError):
        reason = None
    return printable(reason or f"status {status}")
