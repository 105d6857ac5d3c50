"""Users of the broker sign in: what each of them may see and do, and when that ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from tests.unit.web.dashboard.sites import Clock, browser, on_guarded_site, post, sign_in, token_of

from fedora_messaging.web.dashboard.sessions import Session, Sessions

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from tests.unit.web.dashboard.sites import Site

    from fedora_messaging.web.dashboard.dashboard import Dashboard

HOUR = 3600.0
PROGRAMS = ["/v2/search", "/v2/id?id=x", "/raw", "/id?id=x", "/events", "/api/v1/messages", "/api/v1/topics"]


def test_who_is_let_in(tmp_path: Path) -> None:
    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        allowed = {"administrator": 303, "policymaker": 303, "management": 303, "monitoring": 303}
        for tags in (*allowed, "", "impersonator", "other"):
            name = tags or "none"
            await site.add_user(name, tags, "%2F")
            client.cookies.clear()
            assert (await sign_in(client, name, "wrong")).status_code == 403
            assert "fm_session" not in client.cookies
            assert (await sign_in(client, name)).status_code == allowed.get(tags, 403), tags
            assert ("fm_session" in client.cookies) is (tags in allowed)
        for name in ("", "nobody", "\ud800", "a" * 10_000, "x:y", "\0", "guest\n"):
            client.cookies.clear()
            fields = f"csrf={await token_of(client)}&password=%FF&name=".encode() + name.encode(
                "utf-8", "surrogatepass"
            )
            answer = await client.post(
                "/login", content=fields, headers={"content-type": "application/x-www-form-urlencoded"}
            )
            assert answer.status_code == 403, name[:20]

    on_guarded_site(test, tmp_path)


@pytest.mark.parametrize(("tags", "may"), [("management", True), ("monitoring", False)])
def test_who_may_change(tmp_path: Path, tags: str, may: bool) -> None:
    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", tags, "%2F")
        await site.api("PUT", "queues/%2F/q", json={})
        await site.put("q")
        await sign_in(client, "anna")
        page = (await client.get("/queue", params={"name": "q"})).text
        assert ("Delete its messages" in page) is may
        answer = await post(client, "/queue/purge", vhost="/", name="q")
        assert answer.status_code == (303 if may else 403)
        assert await site.number_in("q") == (0 if may else 1)

    on_guarded_site(test, tmp_path, allow_changes=True)


def test_the_broker_decides_what_a_user_may_see_and_do(tmp_path: Path) -> None:
    """Not the user whom the site has the password of."""

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.api("PUT", "vhosts/secret")
        await site.api(
            "PUT", "permissions/secret/guest", json=dict.fromkeys(("configure", "write", "read"), ".*")
        )
        await site.add_user("anna", "management", "%2F")
        await site.api(
            "PUT", "permissions/%2F/anna", json={"configure": "^mine", "write": "^mine", "read": "^mine"}
        )
        for queue in ("%2F/mine", "%2F/other", "secret/concealed"):
            await site.api("PUT", f"queues/{queue}", json={})
        await site.put("other", '{"word": "canary"}')
        await site.put("concealed", '{"word": "canary"}', vhost="secret")
        await sign_in(client, "anna")
        listed = (await client.get("/queues")).text
        assert "mine" in listed
        assert "concealed" not in listed
        assert "secret" not in (await client.get("/exchanges")).text
        for vhost, name in (("/", "other"), ("secret", "concealed")):
            place = {"vhost": vhost, "name": name}
            answer = await client.get("/queue/messages", params=place)
            assert answer.status_code in (401, 403, 404)
            assert "canary" not in answer.text
            for path in ("/queue/purge", "/queue/delete", "/queue/get"):
                answer = await post(client, path, **place)
                assert answer.status_code in (400, 401, 403, 404), (path, name)
                assert "canary" not in answer.text
        moved = await post(client, "/queue/move", vhost="/", name="other", target="mine")
        assert moved.status_code >= 400
        assert await site.number_in("other") == 1
        assert (await site.api("GET", "queues/secret/concealed"))["messages"] == 1

    on_guarded_site(test, tmp_path)


def test_a_session_ends_when_the_broker_no_longer_lets_the_user_in(tmp_path: Path) -> None:
    """The archive is the site's own: the broker is not asked for what is in it."""
    clock = Clock()

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        changes = [
            ("DELETE", "users/anna", None),
            ("PUT", "users/anna", {"password": "new", "tags": "management"}),
            ("PUT", "users/anna", {"password": "anna!", "tags": ""}),
        ]
        for method, path, body in changes:
            for page in ("/search", "/live", "/v2/search", "/events"):
                await site.add_user("anna", "management", "%2F")
                client.cookies.clear()
                await sign_in(client, "anna")
                assert (await client.get("/search")).status_code == 200
                await site.api(method, path, json=body)
                clock.now += 60
                answer = await client.get(page)
                assert answer.status_code == (401 if page in PROGRAMS else 303), (page, body)

    on_guarded_site(test, tmp_path, clock)


def test_a_session_loses_what_the_user_loses(tmp_path: Path) -> None:
    clock = Clock()

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        await sign_in(client, "anna")
        assert "Sign in as a user who may" not in (await client.get("/publish")).text
        await site.add_user("anna", "monitoring")
        clock.now += 60
        assert "Sign in as a user who may" in (await client.get("/publish")).text

    on_guarded_site(test, tmp_path, clock)


def test_a_session_ends_after_eight_hours_without_a_request(tmp_path: Path) -> None:
    clock = Clock()

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        await sign_in(client, "anna")
        for _ in range(3):
            clock.now += 7.9 * HOUR
            assert (await client.get("/search")).status_code == 200
        clock.now += 8.1 * HOUR
        assert (await client.get("/search")).status_code == 303

    on_guarded_site(test, tmp_path, clock)


def test_signing_in_makes_a_new_session_and_signing_out_ends_it(tmp_path: Path) -> None:
    """A cookie that somebody else has put into the browser does not become the session (fixation)."""

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        planted = "A" * 43
        client.cookies.set("fm_session", planted, domain="127.0.0.1", path="/")
        assert (await client.get("/search")).status_code == 303
        await sign_in(client, "anna")
        first = client.cookies["fm_session"]
        assert first != planted
        await sign_in(client, "anna")
        second = client.cookies["fm_session"]
        assert len({planted, first, second}) == 3
        assert (await post(client, "/logout")).status_code == 303
        assert "fm_session" not in client.cookies
        for token in (planted, second):
            client.cookies.set("fm_session", token, domain="127.0.0.1", path="/")
            assert (await client.get("/search")).status_code == 303

    on_guarded_site(test, tmp_path)


def test_forms_need_the_token_of_their_own_browser(tmp_path: Path) -> None:
    """Signing in and out as well: nobody can make a browser sign in as somebody else."""

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        async with browser(str(client.base_url)) as other:
            stolen = await token_of(other)
        await token_of(client)
        form = {"csrf": stolen, "name": "anna", "password": "anna!"}
        assert (await client.post("/login", data=form)).status_code == 403
        assert "fm_session" not in client.cookies
        await sign_in(client, "anna")
        assert (await client.post("/logout", data={"csrf": stolen})).status_code == 403
        assert (await client.post("/logout", headers={"x-csrf-token": stolen})).status_code == 403
        short = {"cookie": f"fm_session={client.cookies['fm_session']}; fm_csrf=short"}
        assert (await client.post("/logout", data={"csrf": "short"}, headers=short)).status_code == 403
        empty = {"cookie": f"fm_session={client.cookies['fm_session']}"}
        assert (await client.post("/logout", data={"csrf": ""}, headers=empty)).status_code == 403
        assert (await client.get("/search")).status_code == 200

    on_guarded_site(test, tmp_path)


def test_strangers_learn_nothing(tmp_path: Path) -> None:
    """Neither which schemas are installed, nor where the archive is."""

    async def test(_site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        form = {"schema": "base.message", "topic": "a", "body": "{}"}
        answer = await post(client, "/publish/check", **form)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/login?next=%2F")
        login = (await client.get("/login")).text
        assert str(tmp_path) not in login
        for path in PROGRAMS:
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="bus"'
            for header in ("Basic", "Basic !", "Basic /w==", "Basic Og==", "Bearer x", "Basic \xff"):
                refused = await client.get(path, headers={b"authorization": header.encode("latin-1")})
                assert refused.status_code == 401, header

    on_guarded_site(test, tmp_path)


def test_programs_bring_name_and_password_with_each_request(tmp_path: Path) -> None:
    async def test(site: Site, client: httpx.AsyncClient, dashboard: Dashboard) -> None:
        await site.add_user("molly", "monitoring", "%2F")
        await site.add_user("none", "", "%2F")
        assert (await client.get("/v2/search", auth=("molly", "molly!"))).status_code == 200
        assert "set-cookie" not in (await client.get("/v2/search", auth=("molly", "molly!"))).headers
        assert (await client.get("/v2/search")).status_code == 401
        assert (await client.get("/v2/search", auth=("none", "none!"))).status_code == 401
        # Browsers that remember such credentials send them along with requests of other sites, too.
        assert (await client.get("/queues", auth=("molly", "molly!"))).status_code == 303
        assert (await client.post("/publish", auth=("molly", "molly!"))).status_code == 403

    on_guarded_site(test, tmp_path)


def test_guessing_passwords_is_slow(tmp_path: Path) -> None:
    """The broker makes clients wait after ten wrong passwords; meanwhile others are served."""

    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        for _ in range(10):
            assert (await sign_in(client, "anna", "wrong")).status_code == 403
        start = time.monotonic()
        guess = asyncio.create_task(sign_in(client, "anna", "wrong"))
        async with browser(str(client.base_url)) as other:
            assert (await sign_in(other, "anna")).status_code == 303
        assert not guess.done()
        assert (await guess).status_code == 403
        assert time.monotonic() - start >= 2.5

    on_guarded_site(test, tmp_path)


def test_sessions_have_a_bound() -> None:
    """Who signs in 2000 times loses the oldest sessions, and so does nobody who is active."""
    clock = Clock()
    sessions = Sessions(clock)
    active = sessions.begin("anna", "secret", frozenset())
    tokens = []
    for _ in range(2000):
        tokens.append(sessions.begin("molly", "secret", frozenset()))
        assert sessions.find(active) is not None
    kept = [token for token in tokens if sessions.find(token) is not None]
    assert kept == tokens[-999:]
    assert all(len(token) >= 43 for token in tokens)
    assert len(set(tokens)) == 2000


def test_a_session_does_not_show_its_password() -> None:
    session = Session("anna", "canary", frozenset(), 0.0, 0.0)
    assert "canary" not in repr(session)
    assert "canary" not in f"{session}"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\r\nlocation: http://evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        " //evil.example",
        "\u2028//evil.example",
        "/\u202e/evil",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(tmp_path: Path, target: str) -> None:
    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        page = await client.get("/login", params={"next": target})
        assert 'name="next" value="/"' in page.text
        answer = await sign_in(client, "anna", next=target)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")

    on_guarded_site(test, tmp_path)


def test_signing_in_leads_back_to_where_one_was(tmp_path: Path) -> None:
    async def test(site: Site, client: httpx.AsyncClient, _dashboard: Dashboard) -> None:
        await site.add_user("anna", "management", "%2F")
        answer = await client.get("/queue", params={"vhost": "/", "name": 'a&b=c"#é'})
        page = await client.get(answer.headers["location"])
        assert 'value="/queue?vhost=%2F&amp;name=a%26b%3Dc%22%23%C3%A9"' in page.text

    on_guarded_site(test, tmp_path)
