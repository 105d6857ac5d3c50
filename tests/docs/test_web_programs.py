"""The programs of docs/how-to/web-programs.md publish what a request brings."""

from __future__ import annotations

import asyncio
import io
import json
import runpy
from typing import TYPE_CHECKING, Any

import httpx
from tests.support.printed import Page

if TYPE_CHECKING:
    from pathlib import Path

    from fedora_messaging.message import Message

PAGE = Page("docs/how-to/web-programs.md")


def program(directory: Path, name: str) -> Any:
    path = directory / name
    path.write_text(PAGE.first_version(name), encoding="utf-8")
    return runpy.run_path(str(path))["app"]


def test_asgi(bus: object, published: list[Message], tmp_path: Path) -> None:
    app = program(tmp_path, "app_asgi.py")

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            return (await client.post("/things", json={"id": 5})).status_code

    assert asyncio.run(ask()) == 201
    assert [(message.topic, message.body) for message in published] == [("thing.created", {"id": 5})]


def test_wsgi(bus: object, published: list[Message], tmp_path: Path) -> None:
    body = json.dumps({"id": 5}).encode()
    told: list[str] = []
    answer = program(tmp_path, "app_wsgi.py")(
        {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))},
        lambda status, headers: told.append(status),
    )
    assert (told, answer) == (["201 Created"], [b'{"id": 5}'])
    assert [(message.topic, message.body) for message in published] == [("thing.created", {"id": 5})]
