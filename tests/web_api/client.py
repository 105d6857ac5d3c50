"""Asks an application without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import ASGIApp


class Client:
    """Makes requests, one after the other; an error of the application is an answer with status 500.

    Starlette's own client would need another version of httpx than the library has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", trust_env=False)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request.

        Args:
            method: HTTP method.
            path: Path, which may have a query.
            **options: Those of `httpx.Client.request`.
        """
        return self._runner.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask for something."""
        return self.request("GET", path, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
