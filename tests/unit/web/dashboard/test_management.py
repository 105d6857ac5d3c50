"""What answers in place of a management API: pages say so, and never hang, follow, or show a traceback."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.secrets.canary import PASSWORD, QUOTED, leaks
from tests.unit.web.dashboard.sites import answering, browser, on_answers, on_site, post

from fedora_messaging.web.dashboard import management
from fedora_messaging.web.dashboard.dashboard import _CHANGES, _PAGES
from fedora_messaging.web.dashboard.management import ManagementError, connect
from fedora_messaging.web.dashboard.serving import for_url
from fedora_messaging.web.dashboard.settings import DashboardSettings
from fedora_messaging.web.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx
    from tests.unit.web.dashboard.sites import Site

#: Pages that ask the broker for what they show.
ASKING = sorted(
    set(_PAGES)
    - {"/live", "/search", "/message", "/schemas", "/schema", "/publish"}
    - {"/connection/confirm"}
)
FORM = {
    "vhost": "/",
    "name": "q",
    "target": "t",
    "which": "all",
    "schema": "base.message",
    "topic": "a",
    "body": "{}",
}

#: Answers that no management API gives: value, status, headers.
NONSENSE: dict[str, tuple[Any, int, dict[str, str]]] = {
    "a page": (b"<html><script>alert(1)</script></html>", 200, {"content-type": "text/html"}),
    "bytes": (b"\xff\xfe\0", 200, {}),
    "half of an answer": (b'{"items": [', 200, {}),
    "brackets": (b"[" * 100_000, 200, {}),
    "an error": (b"<h1>Internal Server Error</h1>", 500, {}),
    "an error with brackets": (b"[" * 100_000, 500, {}),
    "an error with a reason that is no text": ({"reason": {"a": [1]}}, 500, {}),
    "no such page": (b"", 404, {}),
    "elsewhere": (b"", 302, {"location": "http://127.0.0.1:1/elsewhere"}),
    "elsewhere for good": (b"", 308, {"location": "//127.0.0.1:1/elsewhere"}),
    "not modified": (b"", 304, {}),
    "no limit": (b"", 599, {}),
}


@pytest.mark.parametrize("answer", NONSENSE)
def test_pages_say_what_answers(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    """With the status of an error, which a redirect or "not modified" is not: their answers have no body."""
    value, status, headers = NONSENSE[answer]

    async def test(client: httpx.AsyncClient) -> None:
        for path in ASKING:
            if path == "/waiting" and status == 404:
                continue  # a part of a page, which does without
            found = await client.get(path, params=FORM)
            assert 400 <= found.status_code < 600, path
            assert "That did not work" in found.text, path
            assert "Traceback" not in found.text
            assert "<script>alert" not in found.text
            assert "error of its own" not in found.text, path
            assert "location" not in found.headers
        for path in sorted(_CHANGES.keys() - {"/message/replay"}):
            found = await post(client, path, **FORM)
            assert 400 <= found.status_code < 600, path
            assert "error of its own" not in found.text, path

    on_answers(answering(value, status, **headers), test, allow_changes=True)
    assert not [record for record in caplog.records if record.exc_info]


SHAPES: list[Any] = [
    None,
    [],
    {},
    "x",
    5,
    1.5,
    True,
    [None],
    [5],
    [{}],
    {"items": 5},
    {"items": [None, 5, {}]},
]


@pytest.mark.parametrize("value", SHAPES, ids=repr)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_values_of_other_shapes(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No page shows a traceback, and those that keep something of their own show that."""
    caplog.set_level(logging.CRITICAL)

    async def test(client: httpx.AsyncClient) -> None:
        for path in ASKING:
            found = await client.get(path, params=FORM)
            assert found.headers["content-type"] == "text/html; charset=utf-8", path
            assert "Traceback" not in found.text
            assert "File &#34;" not in found.text
        for path in ("/schemas", "/publish", "/search", "/login"):
            assert (await client.get(path)).status_code == 200

    on_answers(answering(value), test)


@pytest.mark.parametrize(
    "value",
    [*SHAPES, {"tags": 5}, {"tags": [5]}, {"tags": None}, b"[" * 100_000],
    ids=lambda value: repr(value)[:30],
)
def test_nobody_is_let_in_by_an_answer_of_another_shape(value: Any) -> None:
    async def test(client: httpx.AsyncClient) -> None:
        answer = await post(client, "/login", name="anna", password="secret")
        assert answer.status_code >= 400
        assert "fm_session" not in client.cookies
        assert "error of its own" not in answer.text
        for path in ("/api/v1/status", "/v2/search", "/events"):
            assert (await client.get(path, auth=("anna", "secret"))).status_code == 401

    on_answers(answering(value), test, sign_in=True)


def test_passwords_are_not_sent_elsewhere() -> None:
    """A redirect would have the password brought to another program."""
    asked: list[str] = []

    async def main() -> None:
        async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readline()).decode())
            writer.close()

        other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        target = f"http://127.0.0.1:{port}/api/overview"
        async with HttpServer(answering(b"", 307, location=target)) as server:
            asking = connect(server.url)
            for ask in (asking.get("overview"), asking.send("DELETE", "queues", "/", "q")):
                with pytest.raises(ManagementError) as raised:
                    await ask
                assert raised.value.status == 502
            with pytest.raises(ManagementError):
                await asking.as_user("anna", "secret").get("whoami")
            await asking.close()
        other.close()
        await other.wait_closed()

    asyncio.run(main())
    assert asked == []


@asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A program that answers each request with bytes of its own; yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        task = asyncio.ensure_future(_tolerant(answer, writer))
        tasks.add(task)
        await task

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://bird:{QUOTED}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for task in tasks:
            task.cancel()
        server.close()


async def _tolerant(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], writer: asyncio.StreamWriter
) -> None:
    try:
        await answer(writer)
    except (ConnectionError, asyncio.CancelledError):
        pass
    writer.close()


async def page_about(url: str, path: str = "/queues") -> httpx.Response:
    """Return a page about what answers at an address."""
    dashboard = for_url(url, DashboardSettings())
    async with (
        HttpServer(dashboard.app, before_stop=dashboard.close) as server,
        browser(server.url) as client,
    ):
        return await client.get(path)


def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "_TIMEOUT", 0.2)

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with raw_server(silent) as url:
            page = await page_about(url)
        assert page.status_code == 502
        assert "does not answer" in page.text
        assert not leaks(page.text)

    asyncio.run(main())


def test_an_answer_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, but the page waits for all of them."""
    monkeypatch.setattr(management, "_DEADLINE", 0.5)

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def main() -> None:
        async with raw_server(dripping) as url:
            page = await page_about(url)
        assert page.status_code == 502
        assert "does not answer" in page.text

    asyncio.run(main())


def test_an_answer_without_a_bound() -> None:
    sent = 0

    async def flooding(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + b"[" * 0x100000 + b"\r\n"
        while True:
            writer.write(piece)
            sent += 1
            await writer.drain()

    async def main() -> None:
        async with raw_server(flooding) as url:
            page = await page_about(url)
        assert page.status_code == 502
        assert "more than 64 MiB" in page.text

    asyncio.run(main())
    assert sent < 200


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[]",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"\0" * 100_000,
    ],
    ids=["nothing", "words", "cut off", "status", "zeros"],
)
def test_an_answer_that_is_no_http(answer: bytes) -> None:
    async def answering_once(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async def main() -> None:
        async with raw_server(answering_once) as url:
            for path in ("/queues", "/", "/queue?name=q"):
                page = await page_about(url, path)
                assert page.status_code == 502
                assert "does not answer" in page.text
                assert not leaks(page.text)

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        f"http://bird:{PASSWORD}@host:15672",
        f"http://bird:{QUOTED}@host:99999",
        f"http://bird:{QUOTED}@host:port",
        f"http://bird:{QUOTED}@[::1",
        f"http://bird:{QUOTED}@h\u2100st",
        f"http://bird:{QUOTED}@h\x01st",
        f"http://bird:{QUOTED}@",
        f"ftp://bird:{QUOTED}@host",
        f"bird:{QUOTED}@host:15672",
        f"http:bird:{QUOTED}@host",
        f"http://host/?password={QUOTED}",
        f"http://host/#{QUOTED}",
        f"http://host/{QUOTED}@host",
        "http://bird:7391/Kanarie7391@host",
        "http://bird:7391#Kanarie7391@host",
        "http://bird:7391?Kanarie7391@host",
        "http://bird:a@Kanarie7391/b@host",
        "",
        "http://",
    ],
)
def test_a_url_that_cannot_be_used_is_not_told(url: str) -> None:
    """Nor a part of it, which may be a piece of a password that nobody has quoted."""
    with pytest.raises(ValueError, match="management URL") as raised:
        connect(url)
    assert not leaks(str(raised.value))
    assert "7391" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    "url", [f"http://bird:{QUOTED}@127.0.0.1:1", f"https://bird:{QUOTED}@localhost:1/base/api/"]
)
def test_a_password_is_on_no_page_about_a_broker_that_is_not_there(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        dashboard = for_url(url, DashboardSettings(allow_changes=True))
        assert not leaks(repr(vars(dashboard)))
        assert not leaks(repr(vars(dashboard.management)))
        async with (
            HttpServer(dashboard.app, before_stop=dashboard.close) as server,
            browser(server.url) as client,
        ):
            for path in [*_PAGES, "/login", "/api/v1/status", "/v2/search", "/nope"]:
                answer = await client.get(path, params={"name": "q"} if path in ASKING else None)
                assert not leaks(answer.text + repr(answer.headers)), path
            for path in _CHANGES:
                assert not leaks((await post(client, path, **FORM)).text), path

    asyncio.run(main())
    assert not leaks(caplog.text)


def test_any_name_can_be_asked_for() -> None:
    """Names of AMQP are bytes, and visitors write any address: none of them is an error of the page."""

    async def test(site: Site) -> None:
        for value in (
            "%FF",
            "%00",
            "%ED%A0%80",
            "%0D%0Ax:y",
            "a" * 20_000,
            "..%2F..%2Fapi",
            "%E2%80%AE",
            "%25",
        ):
            for number, path in enumerate(sorted(_PAGES)):
                names = ("vhost", "name", "key", "sort", "page", "number", "id", "schema", "topic", "action")
                for name in names[number % 3 :: 3]:
                    answer = await site.visitor.get(f"{path}?name=q&{name}={value}")
                    assert answer.status_code in (200, 400, 404, 414), (path, name, value[:20], answer.text)
            csrf = (await site.visitor.get("/login")) and site.visitor.cookies["fm_csrf"]
            for path in [*_CHANGES, "/publish/check"]:
                form = "&".join(
                    f"{name}={value}" for name in ("name", "vhost", "target", "id", "topic", "body")
                )
                answer = await site.visitor.post(
                    path,
                    content=f"csrf={csrf}&schema=base.message&{form}",
                    headers={"content-type": "application/x-www-form-urlencoded"},
                )
                assert answer.status_code in (200, 303, 400, 404), (path, value[:20])

    on_site(test, allow_changes=True)
