"""Who may address the site, who may change something, and what the answers allow a browser."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fedora_messaging.web.dashboard.dashboard import _CHANGES, _PAGES
from fedora_messaging.web.dashboard.serving import for_app
from fedora_messaging.web.dashboard.settings import DashboardSettings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

#: Users of the broker of these tests: password and tags.
USERS = {"anna": ("secret-of-anna", ["management"]), "molly": ("secret-of-molly", ["monitoring"])}


class Broker:
    """A management API that has no objects; it remembers what it was told to change, and by whom."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        name = password = ""
        if b"authorization" in headers:
            auth = httpx.BasicAuth("", "")
            for user, (secret, _tags) in USERS.items():
                if headers[b"authorization"] == auth._build_auth_header(user, secret).encode():
                    name, password = user, secret
            status = 200 if name else 401
        else:
            status = 200
        if scope["method"] != "GET" and not scope["path"].endswith("/get"):
            self.changes.append((name, scope["method"], scope["path"]))
        answer: Any = {"items": [], "page": 1, "page_count": 1, "filtered_count": 0, "total_count": 0}
        if scope["path"].endswith("whoami"):
            answer = {"name": name, "tags": USERS[name][1] if name else []}
        if scope["path"].endswith(("/get", "bindings", "source", "consumers", "nodes", "vhosts", "channels")):
            answer = []
        assert password is not None
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


def run(
    test: Callable[[httpx.AsyncClient, Broker], Awaitable[None]],
    base: str = "http://localhost",
    **settings: Any,
) -> None:
    async def main() -> None:
        broker = Broker()
        dashboard = for_app(broker, "a broker", DashboardSettings(**settings))
        transport = httpx.ASGITransport(dashboard.app)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            try:
                await test(client, broker)
            finally:
                await dashboard.close()

    asyncio.run(main())


async def token_of(client: httpx.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await client.get("/login")).text)
    assert found is not None
    return found[1]


async def sign_in(client: httpx.AsyncClient, name: str) -> httpx.Response:
    form = {"csrf": await token_of(client), "name": name, "password": USERS[name][0]}
    return await client.post("/login", data=form)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:80", "[::1]", "localhost.", "bus.example.org"],
)
def test_hosts_that_are_known(host: str) -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        assert (await client.get("/login", headers={"host": host})).status_code == 200

    run(test, hosts=frozenset({"bus.example.org"}))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost@evil",
    ],
)
def test_a_name_that_was_bound_to_this_address_is_refused(host: str) -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        for path in ("/", "/events", "/v2/search", "/api/v1/status", "/static/app.js"):
            answer = await client.get(path, headers={"host": host})
            assert (answer.status_code, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")

    run(test)


@pytest.mark.parametrize("path", sorted(_CHANGES))
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_changes_from_other_sites_are_refused(path: str, headers: dict[str, str]) -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        form = {"csrf": await token_of(client), "name": "q", "vhost": "/"}
        answer = await client.post(path, data=form, headers=headers)
        assert answer.status_code == 403
        assert broker.changes == []

    run(test, allow_changes=True)


@pytest.mark.parametrize("path", sorted(_CHANGES))
def test_changes_need_the_token_of_the_cookie(path: str) -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        for token in ("", "x" * 43, None):
            form = {"name": "q", "vhost": "/"} | ({} if token is None else {"csrf": token})
            answer = await client.post(path, data=form)
            assert answer.status_code == 403
            client.cookies.clear()
            await client.get("/login")
        assert broker.changes == []

    run(test, allow_changes=True)


@pytest.mark.parametrize("path", sorted(_CHANGES))
def test_who_may_only_look_changes_nothing(path: str) -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        answer = await client.post(path, data={"csrf": await token_of(client), "name": "q", "vhost": "/"})
        assert answer.status_code == 403
        assert "Sign in" in answer.text
        assert (await sign_in(client, "molly")).status_code == 303
        answer = await client.post(path, data={"csrf": await token_of(client), "name": "q", "vhost": "/"})
        assert answer.status_code == 403
        assert broker.changes == []

    run(test)


def test_a_user_changes_what_the_broker_lets_her_change() -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        await sign_in(client, "anna")
        form = {"csrf": await token_of(client), "name": "q", "vhost": "/"}
        assert (await client.post("/queue/purge", data=form)).status_code == 303
        assert broker.changes == [("anna", "DELETE", "/api/queues/%2F/q/contents")] or broker.changes == [
            ("anna", "DELETE", "/api/queues///q/contents")
        ]

    run(test)


@pytest.mark.parametrize("path", sorted(_PAGES))
def test_looking_changes_nothing(path: str) -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        for method in ("GET", "HEAD"):
            await client.request(
                method, path, params={"name": "q", "vhost": "/", "id": "x", "action": "purge"}
            )
        # The live feed makes a queue of its own, which is said on its page.
        own = [change for change in broker.changes if "dashboard-live-" not in change[2]]
        assert [change for change in own if "/bindings/" not in change[2]] == []

    run(test, allow_changes=True)


@pytest.mark.parametrize("path", sorted(_CHANGES))
def test_addresses_of_changes_are_no_pages(path: str) -> None:
    async def test(client: httpx.AsyncClient, broker: Broker) -> None:
        assert (await client.get(path)).status_code in (200, 404, 405)
        assert broker.changes == []

    run(test, allow_changes=True)


@pytest.mark.parametrize("path", [*sorted(_PAGES), "/events", "/v2/search", "/raw", "/api/v1/messages"])
def test_where_visitors_sign_in_strangers_see_nothing(path: str) -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        answer = await client.get(path)
        assert answer.status_code in (303, 401)
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/login?next=") or path == "/"

    run(test, sign_in=True)


def test_programs_log_in_with_each_request() -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        good = await client.get("/api/v1/openapi.json", auth=("anna", USERS["anna"][0]))
        assert good.status_code == 200
        for auth in (("anna", "wrong"), ("nobody", ""), ("", "")):
            assert (await client.get("/api/v1/openapi.json", auth=auth)).status_code == 401

    run(test, sign_in=True)


def test_signing_in_and_out() -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        form = {"csrf": await token_of(client), "name": "anna", "password": "wrong", "next": "/queues"}
        answer = await client.post("/login", data=form)
        assert answer.status_code == 403
        assert "fm_session" not in answer.headers.get("set-cookie", "")
        answer = await client.post("/login", data={**form, "password": USERS["anna"][0]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/queues")
        cookie = answer.headers["set-cookie"].lower()
        assert all(flag in cookie for flag in ("httponly", "samesite=strict", "path=/", "secure"))
        token = client.cookies["fm_session"]
        assert "anna" in (await client.get("/login")).text
        await client.post("/logout", data={"csrf": form["csrf"]})
        client.cookies.set("fm_session", token)
        assert (await client.get("/queues")).status_code == 303

    run(test, "https://localhost", sign_in=True, is_encrypted=True)


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\n/evil", ""],
)
def test_signing_in_leads_to_pages_of_this_site(target: str) -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        form = {"csrf": await token_of(client), "name": "anna", "password": USERS["anna"][0], "next": target}
        assert (await client.post("/login", data=form)).headers["location"] == "/"

    run(test)


def test_answers_forbid_scripts_of_others() -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        for path in ("/", "/nope", "/v2/search", "/api/v1/nope", "/static/app.js"):
            headers = (await client.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"

    run(test)


def test_forms_have_a_bound() -> None:
    async def test(client: httpx.AsyncClient, _broker: Broker) -> None:
        token = await token_of(client)
        large = await client.post("/publish", data={"csrf": token, "body": "x" * 5_000_000})
        assert large.status_code == 413
        many = await client.post("/publish", data={"csrf": token, **{str(n): "" for n in range(3000)}})
        assert many.status_code == 400

    run(test, allow_changes=True)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
