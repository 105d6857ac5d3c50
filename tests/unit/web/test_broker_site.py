"""What a broker serves to whom: users come and go, and other sites use the browser of whoever visits them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.web.dashboard.sites import GUEST, browser, on_site, post, sign_in

from fedora_messaging.broker import Accounts, AsyncBroker
from fedora_messaging.broker.accounts import User
from fedora_messaging.web.dashboard.dashboard import _CHANGES, _PAGES
from fedora_messaging.web.management.app import trusting

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send
    from tests.unit.web.dashboard.sites import Site

#: What shows messages, or anything else of the bus, to programs.
DATA = ["/v2/search", "/v2/id?id=x", "/raw", "/id?id=x", "/events", "/api/v1/messages", "/api/v1/status"]
#: Queries with which each page has something to show.
QUERY = {"vhost": "/", "name": "q", "id": "x", "action": "purge", "key": "a.b", "number": "5"}


async def definitions(site: Site) -> Any:
    """Return all that the broker has, and how many messages are where."""
    found = await site.api("GET", "definitions")
    queues = await site.api("GET", "queues")
    return {
        **found,
        "queues": [each for each in found["queues"] if not each["name"].startswith("dashboard-live-")],
        "bindings": [
            each for each in found["bindings"] if not each["destination"].startswith("dashboard-live-")
        ],
        "messages": {
            each["name"]: each["messages"]
            for each in queues
            if not each["name"].startswith("dashboard-live-")
        },
    }


async def waiting(site: Site) -> None:
    """Make a queue with messages, and one that drops messages which were delivered too often."""
    await site.api("PUT", "queues/%2F/q", json={"durable": True})
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2}
    await site.api("PUT", "queues/%2F/limited", json={"durable": True, "arguments": arguments})
    for queue in ("q", "q", "limited"):
        await site.put(queue)


@pytest.mark.parametrize("profile", ["3", "4"])
def test_looking_at_every_page_leaves_the_broker_as_it_was(profile: str) -> None:
    """The queue by which the live feed listens is its own, and goes."""

    async def test(site: Site) -> None:
        await waiting(site)
        before = await definitions(site)
        for path in [*_PAGES, *_CHANGES, "/login", "/logout", "/publish/check", *DATA]:
            if path == "/events":
                continue
            for method in ("GET", "HEAD"):
                query = None if "?" in path else QUERY
                answer = await site.visitor.request(method, path, params=query)
                assert answer.status_code < 500, path
        assert await definitions(site) == before

    on_site(test, profile=profile, allow_changes=True)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "CONNECT2"])
def test_other_methods_do_nothing(method: str) -> None:
    async def test(site: Site) -> None:
        await waiting(site)
        before = await definitions(site)
        for path in [*_PAGES, *_CHANGES, "/login", "/logout", "/publish/check"]:
            answer = await site.visitor.request(method, path, params=QUERY)
            assert answer.status_code == 405, path
        assert await definitions(site) == before

    on_site(test, allow_changes=True)


@pytest.mark.parametrize("where", ["cross-site", "same-site"])
def test_another_site_cannot_have_a_browser_look_into_queues(where: str) -> None:
    """A picture whose address is such a page is fetched unseen, as often as the other site likes.

    Each look counts as a delivery: with profile 3 a queue with a delivery limit would drop its messages.
    """

    async def test(site: Site) -> None:
        await waiting(site)
        for _ in range(5):
            answer = await site.visitor.get(
                "/queue/messages", params={"name": "limited"}, headers={"sec-fetch-site": where}
            )
            assert answer.status_code == 403
        assert await site.number_in("limited") == 1
        for path in ("/live", "/events"):
            image = {"sec-fetch-site": where, "sec-fetch-dest": "image"}
            assert (await site.visitor.get(path, headers=image)).status_code == 403
        queues = await site.api("GET", "queues")
        assert {each["name"] for each in queues} == {"q", "limited"}
        link = {"sec-fetch-site": where, "sec-fetch-dest": "document"}
        assert (await site.visitor.get("/live", headers=link)).status_code == 200

    on_site(test, profile="3")


def test_a_name_bound_to_this_address_does_not_reach_the_api_with_the_password_that_all_know() -> None:
    """DNS rebinding: a script of another site may send any headers to what it takes for its own host."""

    async def test(site: Site) -> None:
        for host in ("evil.example", f"evil.example:{site.url.rpartition(':')[2]}", "localhost.evil.example"):
            # A browser always sends this header; other programs may call the machine what they like.
            browser = {"host": host, "accept-language": "en"}
            answer = await site.visitor.get("/api/whoami", auth=GUEST, headers=browser)
            assert answer.status_code == 403
        for host in ("localhost", "127.0.0.1:80", "[::1]"):
            assert (await site.visitor.get("/api/whoami", auth=GUEST, headers={"host": host})).is_success

    on_site(test)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_does_not_reach_the_api(headers: dict[str, str]) -> None:
    """Its address may have the name and the password, and its fields can look like JSON."""

    async def test(site: Site) -> None:
        await waiting(site)
        form = b'{"count":5,"ackmode":"ack_requeue_false","encoding":"auto","x":"="}'
        path = "/api/queues/%2F/q/get"
        sent = {"content-type": "text/plain", **headers}
        refused = await site.visitor.post(path, auth=GUEST, content=form, headers=sent)
        assert refused.status_code == 403
        assert await site.number_in("q") == 2
        # Programs send none of these headers.
        assert (await site.visitor.post(path, auth=GUEST, content=form)).is_success
        assert await site.number_in("q") == 0

    on_site(test)


def test_when_guest_goes_everything_needs_a_login(tmp_path: Path) -> None:
    """The archive and the live feed are the site's own: the broker does not guard them."""

    async def test(site: Site) -> None:
        await site.add_user("root", "administrator", "%2F")
        root = ("root", "root!")
        for path in ("/queues", "/search", "/live", "/v2/search"):
            assert (await site.visitor.get(path)).status_code == 200
        for change in ({"password": "new", "tags": "administrator"}, None):
            method = "DELETE" if change is None else "PUT"
            await site.api(method, "users/guest", root, json=change)
            for path in _PAGES:
                answer = await site.visitor.get(path, params=QUERY)
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/login?next="), path
            for path in DATA:
                assert (await site.visitor.get(path)).status_code == 401, path
                assert (await site.visitor.get(path, auth=("guest", "guest"))).status_code == 401, path
            refused = await post(site.visitor, "/queue/delete", vhost="/", name="q")
            assert (refused.status_code, refused.headers["location"]) == (303, "/login?next=%2F")
        again = {"password": "guest", "tags": "administrator"}
        await site.api("PUT", "users/guest", root, json=again)
        await site.api("PUT", "permissions/%2F/guest", root, json=dict.fromkeys(PERMISSIONS, ".*"))
        assert (await site.visitor.get("/queues")).status_code == 200

    on_site(test, archive=str(tmp_path / "archive.db"), allow_changes=True)


PERMISSIONS = ("configure", "write", "read")


def test_a_broker_with_users_of_its_own_shows_nothing_to_strangers() -> None:
    accounts = Accounts(guest=False)
    accounts.add_user("anna", "anna!")

    async def test(site: Site) -> None:
        for path in _PAGES:
            assert (await site.visitor.get(path, params=QUERY)).status_code == 303
        for path in DATA:
            assert (await site.visitor.get(path)).status_code == 401

    # Changes without signing in are for those who may look without.
    on_site(test, accounts=accounts, allow_changes=True)


def test_on_another_address_there_are_no_pages() -> None:
    async def main() -> None:
        accounts = Accounts(guest=False)
        accounts.add_user("anna", "anna!")
        async with AsyncBroker("0.0.0.0", 0, http_port=0, accounts=accounts) as broker:
            assert broker.management_url is not None
            url = broker.management_url.replace("0.0.0.0", "127.0.0.1")
            async with browser(url) as client:
                for path in [*_PAGES, "/login", "/static/app.js", *DATA]:
                    answer = await client.get(path)
                    assert answer.status_code == 403, path
                    assert "--management-url" in answer.text, path
                for path in [*_CHANGES, "/login", "/logout", "/publish/check"]:
                    assert (await client.post(path)).status_code == 403
                # The management API is RabbitMQ's: it answers by whatever name.
                assert (await client.get("/api/whoami", headers={"host": "broker"})).status_code == 401

    asyncio.run(main())


def test_nobody_can_claim_to_come_from_this_machine() -> None:
    """Guest may log in from it alone, and wrong passwords are counted for each address."""

    async def test(site: Site) -> None:
        for claim in ("203.0.113.9", "127.0.0.1, 203.0.113.9", "::1"):
            headers = {"x-forwarded-for": claim, "x-forwarded-proto": "https", "forwarded": f"for={claim}"}
            answer = await site.visitor.get("/api/whoami", auth=GUEST, headers=headers)
            assert answer.status_code == 200, "the address was taken from a header"

    on_site(test)


def test_requests_from_outside_are_not_trusted() -> None:
    """The pages ask as a user who needs no password; a header cannot make anybody that user."""

    async def test(site: Site) -> None:
        assert (await site.visitor.get("/queues")).status_code == 200
        for headers in (
            {"user": "guest"},
            {"x-user": "guest"},
            {"remote-user": "guest"},
            {"cookie": "user=a"},
        ):
            assert (await site.visitor.get("/api/whoami", headers=headers)).status_code == 401
        for path in ("//api/whoami", "/./api/whoami", "/x/../api/whoami", "/API/whoami", "/api%2Fwhoami"):
            answer = await site.visitor.get(f"{site.url}{path}")
            assert '"tags"' not in answer.text

    on_site(test)


@pytest.mark.parametrize("target", ["http://localhost/queues", "http://evil.example/api/whoami", "*"])
def test_a_target_that_is_no_path(target: str) -> None:
    async def test(site: Site) -> None:
        status, body = await raw_request(site, f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert status == 404
        assert "queue" not in body.lower()

    on_site(test)


@pytest.mark.parametrize("hosts", [["localhost", "evil.example"], ["evil.example", "localhost"], []])
def test_a_request_has_one_host(hosts: list[str]) -> None:
    async def test(site: Site) -> None:
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        assert (await raw_request(site, f"GET /queues HTTP/1.1\r\n{lines}\r\n"))[0] == 400
        assert (await raw_request(site, f"GET /queues HTTP/1.0\r\n{lines}\r\n"))[0] in (400, 403)

    on_site(test)


async def raw_request(site: Site, text: str) -> tuple[int, str]:
    """Send bytes that no client would send; return the status and the body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
    writer.write(text.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


def test_who_logs_in_is_not_the_trusted_user() -> None:
    """With credentials a request is that user's, whoever else is trusted."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["user"])

    async def main() -> None:
        user = User("", None, ("administrator",))
        for who in (user, None):
            await trusting(app, lambda who=who: who)(  # type: ignore[misc]
                {"type": "http", "user": "from outside"}, _receive, _send
            )
        assert seen == [user, None]

    asyncio.run(main())

    async def test(site: Site) -> None:
        await waiting(site)
        await site.add_user("mary", "management")
        await sign_in(site.visitor, "mary")
        assert (await site.visitor.get("/queue", params={"name": "q"})).status_code == 404
        site.visitor.cookies.clear()
        assert (await site.visitor.get("/queue", params={"name": "q"})).status_code == 200

    on_site(test)


async def _receive() -> Any:
    raise AssertionError("nobody reads")


async def _send(_message: Any) -> None:
    raise AssertionError("nobody answers")


def test_cookies_of_the_site_are_for_the_site_alone() -> None:
    async def test(site: Site) -> None:
        answer = await site.visitor.get("/login")
        (cookie,) = answer.headers.get_list("set-cookie")
        assert {"httponly", "samesite=strict", "path=/"} <= {
            part.strip().lower() for part in cookie.split(";")
        }
        assert "domain" not in cookie.lower()

    on_site(test)
