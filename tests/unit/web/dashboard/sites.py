"""The web application beside a broker, as a browser or a program sees it, without a browser."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from fedora_messaging.archive.location import open_archive
from fedora_messaging.broker import AsyncBroker
from fedora_messaging.web.dashboard.serving import for_app, for_url
from fedora_messaging.web.dashboard.sessions import Sessions
from fedora_messaging.web.dashboard.settings import DashboardSettings
from fedora_messaging.web.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from fedora_messaging.web.dashboard.dashboard import Dashboard

GUEST = ("guest", "guest")


class Site:
    """A real broker that serves its pages.

    Attributes:
        visitor: A browser that has not signed in.
        url: Address of the site.
        broker: The broker.
    """

    def __init__(self, broker: AsyncBroker, visitor: httpx.AsyncClient) -> None:
        assert broker.management_url is not None
        self.broker = broker
        self.url = broker.management_url
        self.visitor = visitor

    async def api(self, method: str, path: str, auth: tuple[str, str] = GUEST, **options: Any) -> Any:
        """Ask the management API; return what it answers."""
        answer = await self.visitor.request(method, f"/api/{path}", auth=auth, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def add_user(self, name: str, tags: str, *vhosts: str) -> None:
        """Add a user, whose password is her name with an exclamation mark."""
        await self.api("PUT", f"users/{name}", json={"password": f"{name}!", "tags": tags})
        for vhost in vhosts:
            may = {"configure": ".*", "write": ".*", "read": ".*"}
            await self.api("PUT", f"permissions/{vhost}/{name}", json=may)

    async def put(self, queue: str, body: str = "{}", vhost: str = "%2F", **headers: Any) -> None:
        """Publish a message to a queue."""
        message = {
            "routing_key": queue,
            "payload": body,
            "payload_encoding": "string",
            "properties": {"headers": headers, "delivery_mode": 2, "content_type": "application/json"},
        }
        answer = await self.api("POST", f"exchanges/{vhost}/amq.default/publish", json=message)
        assert answer == {"routed": True}

    async def number_in(self, queue: str) -> int:
        """Return how many messages a queue has."""
        return int((await self.api("GET", f"queues/%2F/{queue}"))["messages"])


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """What keeps cookies, as a browser does."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def on_site(test: Callable[[Site], Awaitable[None]], **options: Any) -> None:
    """Run a test on the site of a broker.

    Args:
        test: The test.
        **options: Of the broker.
    """

    async def main() -> None:
        async with AsyncBroker(port=0, http_port=0, **options) as broker:
            assert broker.management_url is not None
            async with browser(broker.management_url) as visitor:
                await test(Site(broker, visitor))

    asyncio.run(main())


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def on_guarded_site(
    test: Callable[[Site, httpx.AsyncClient, Dashboard], Awaitable[None]],
    tmp_path: Path,
    clock: Clock | None = None,
    **settings: Any,
) -> None:
    """Run a test on pages of their own, where visitors sign in, beside a broker."""

    async def on_broker(site: Site) -> None:
        archive = open_archive(str(tmp_path / "archive.db"))
        url = site.url.replace("://", "://guest:guest@")
        dashboard = for_url(url, DashboardSettings(sign_in=True, **settings), archive)
        if clock is not None:
            dashboard.sessions = Sessions(clock)
        async with HttpServer(dashboard.app, before_stop=dashboard.close) as server:
            async with browser(server.url) as client:
                await test(site, client, dashboard)
        archive.close()

    on_site(on_broker)


def on_answers(app: ASGIApp, test: Callable[[httpx.AsyncClient], Awaitable[None]], **settings: Any) -> None:
    """Run a test on pages about what an application answers in place of a management API."""

    async def main() -> None:
        dashboard = for_app(app, "a broker", DashboardSettings(**settings))
        transport = httpx.ASGITransport(dashboard.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            try:
                await test(client)
            finally:
                await dashboard.close()

    asyncio.run(main())


def answering(value: Any, status: int = 200, **headers: str) -> ASGIApp:
    """Return an application that answers each request with the same bytes, or with a value as JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw = [(name.encode(), text.encode()) for name, text in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return app


async def token_of(client: httpx.AsyncClient) -> str:
    """Return the token that forms repeat."""
    found = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/login")).text)
    assert found is not None
    return found[1]


async def post(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Send a form, as a page of the site does."""
    return await client.post(path, data={"csrf": await token_of(client), **fields})


async def sign_in(client: httpx.AsyncClient, name: str, password: str = "", **fields: str) -> httpx.Response:
    """Send the form to sign in."""
    return await post(client, "/login", name=name, password=password or f"{name}!", **fields)
