"""From a request to its answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NoReturn

import httpx
import pytest

from fedora_messaging.broker.server import Server
from fedora_messaging.web.management import app, overview
from fedora_messaging.web.management.routes import Endpoint

GUEST = ("guest", "guest")


def ask(
    method: str,
    path: str,
    *,
    login: tuple[str, str] | None = GUEST,
    first: str | None = None,
    **options: Any,
) -> httpx.Response:
    """Make a request to a new broker, after one that puts the thing of the path `first` there."""

    async def main() -> httpx.Response:
        broker = Server()
        await broker.start("127.0.0.1", 0)
        try:
            transport = httpx.ASGITransport(app.make_app(broker), client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://x", auth=login) as client:
                if first is not None:
                    assert (await client.put(first, json={"durable": True})).status_code == 201
                return await client.request(method, path, **options)
        finally:
            await broker.stop()

    return asyncio.run(main())


def test_a_final_slash_does_not_matter() -> None:
    assert ask("GET", "/api/whoami/").json()["name"] == "guest"
    assert ask("GET", "/api/queues/%2F/").json() == []
    assert ask("GET", "/api/whoami//").status_code == 404


def test_an_encoded_slash_is_part_of_a_name() -> None:
    put = "/api/vhosts/a%2Fb"
    assert ask("GET", "/api/vhosts/a%2Fb", first=put).json()["name"] == "a/b"
    assert ask("GET", "/api/vhosts/a/b", first=put).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "bindings/%2F/e/%FF/q/q", 404),
        ("POST", "bindings/%2F/e/amq.topic/q/%FF", 404),
        ("PUT", "queues/%2F/%FF", 400),
    ],
)
def test_names_that_are_no_text_do_not_spoil_the_answer(method: str, path: str, status: int) -> None:
    answer = ask(method, f"/api/{path}", json={"arguments": {"x-max-length": -1}})
    assert answer.status_code == status
    assert "\ufffd" in answer.json()["reason"]


@pytest.mark.parametrize(
    "path", ["vhosts/%FF", "users/%FF", "policies/%2F/%FF", "global-parameters/%ED%A0%80"]
)
def test_names_that_must_be_text(path: str) -> None:
    answer = ask("PUT", f"/api/{path}", json={"tags": "", "pattern": ".", "definition": {}, "value": 1})
    assert (answer.status_code, answer.content) == (400, b"")


def test_names_of_amqp_may_be_any_bytes() -> None:
    path = "/api/queues/%2F/%FF"
    assert ask("GET", path, first=path).json()["name"] == "Not UTF-8, base64 is: /w=="


def test_only_the_first_parameter_of_a_name_counts() -> None:
    answer = ask("GET", "/api/overview?columns=node&columns=rates_mode")
    assert set(answer.json()) == {"node"}


def test_who_is_refused() -> None:
    assert ask("GET", "/api/whoami", login=None).headers["www-authenticate"].startswith("Basic ")
    assert ask("GET", "/api/whoami", login=("guest", "x")).json()["reason"] == "Not_Authorized"
    assert ask("GET", "/api/whoami", login=None, headers={"authorization": "Foo"}).status_code == 400


def test_refusals_are_in_the_log_without_passwords(caplog: pytest.LogCaptureFixture) -> None:
    ask("GET", "/api/whoami", login=("no\nbody", "canary"))
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith("HTTP login of no\\nbody from 127.0.0.1 refused: ")
    assert "canary" not in record.getMessage()


def test_an_internal_error_is_logged_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(call: object) -> NoReturn:
        """Fail."""
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app, "ENDPOINTS", (Endpoint("fail", {"GET": fail}),))
    answer = ask("GET", "/api/fail")
    assert (answer.status_code, answer.content) == (500, b"")
    assert "Internal error while answering /api/fail" in caplog.text


def test_bodies_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_LARGEST_BODY", 10)
    monkeypatch.setattr(app, "_LARGEST_DEFINITIONS", 20)
    reason = "Exceeded HTTP request body size limit"
    for path, size in (("vhosts/v", 10), ("definitions", 20), ("all-configuration", 20)):
        method = "PUT" if path == "vhosts/v" else "POST"
        exact = b"{" + b" " * (size - 2) + b"}"
        json = {"content-type": "application/json"}
        assert ask(method, f"/api/{path}", content=exact, headers=json).is_success
        answer = ask(method, f"/api/{path}", content=exact + b" ", headers=json)
        assert (answer.status_code, answer.json()["reason"]) == (400, reason)


def test_methods() -> None:
    answer = ask("PATCH", "/api/overview", login=None)
    assert (answer.status_code, answer.content) == (405, b"")
    options = ask("OPTIONS", "/api/cluster-name", login=None)
    assert options.headers["allow"] == "HEAD, GET, PUT, OPTIONS"


def test_the_document_needs_no_login() -> None:
    document = ask("GET", "/api/openapi.json", login=None).json()
    assert len(document["paths"]) == len({e.path for e in app.ENDPOINTS if "4" in e.profiles})
    assert overview.ENDPOINTS[0] in app.ENDPOINTS
