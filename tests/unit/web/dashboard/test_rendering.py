"""What pages make of text that strangers wrote, and of messages that are larger than a page."""

from __future__ import annotations

import asyncio
import json
import time
import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.web.dashboard.sites import on_site, post

from fedora_messaging.archive.entry import entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.message import Message
from fedora_messaging.web.dashboard.rendering import shortened, visible

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.web.dashboard.sites import Site


def test_signs_that_would_move_or_hide_text_are_shown_as_escapes() -> None:
    for code in (*range(0x3000), *range(0xD7F0, 0xE010), *range(0xFE00, 0x10000), *range(0xE0000, 0xE0200)):
        char = chr(code)
        shown = visible(char)
        if unicodedata.category(char)[0] in "C" or unicodedata.category(char) in ("Zl", "Zp"):
            assert shown.isascii(), hex(code)
            assert shown.isprintable() or char in "\n\t", hex(code)
        elif char == " " or unicodedata.category(char) != "Zs":
            assert shown == char, hex(code)


def test_what_is_short_is_shown_in_full() -> None:
    value = {"a": [1, "x", None, {"b": []}], "c": 1.5}
    assert shortened(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        [1] * 1_000_000,
        {str(number): number for number in range(200_000)},
        [["x" * 1000] * 100] * 100,
        {"x" * 1_000_000: 1},
        [[[]] * 1000] * 1000,
    ],
    ids=["text", "list", "object", "texts", "name", "lists"],
)
def test_what_is_long_is_shown_in_part(value: Any) -> None:
    part = shortened(value)
    assert part != value
    assert len(json.dumps(part)) < 200_000


BODIES: dict[str, Any] = {
    "text": {"x": "y" * 9_000_000},
    "numbers": {"x": [1] * 1_000_000},
    "objects": {"x": [{}] * 1_000_000},
    "names": {f"{number:x}": "" for number in range(300_000)},
    "deep": json.loads('{"a":' * 60 + "1" + "}" * 60),
    "controls": {"x": "\u202e" * 1_000_000},
}


@pytest.mark.parametrize("body", BODIES)
def test_a_page_of_a_large_message_is_small_and_holds_nobody_up(body: str, tmp_path: Path) -> None:
    """The broker speaks to all its clients from the same event loop as its pages."""
    archive = str(tmp_path / "archive.db")
    id = _store(archive, Message(topic="a", body=BODIES[body]))

    async def test(site: Site) -> None:
        for path in (f"/message?id={id}", "/search", "/live"):
            pause = await longest_pause(site, path)
            assert pause < 20.0, path  # it was 42 s

    on_site(test, archive=archive)


def test_a_message_that_names_everybody(tmp_path: Path) -> None:
    archive = str(tmp_path / "archive.db")
    many = [f"name-{number}" for number in range(100_000)]
    id = _store(archive, Message(topic="a", body={}), users=tuple(many), packages=tuple(many))

    async def test(site: Site) -> None:
        for path in (f"/message?id={id}", "/search", "/live"):
            await longest_pause(site, path)

    on_site(test, archive=archive)


def _store(location: str, message: Message, **more: Any) -> str:
    archive = open_archive(location)
    archive.store([replace(entry_of(message, time.time()), **more)])
    archive.close()
    return str(message.id)


async def longest_pause(site: Site, path: str) -> float:
    """Load a page, which must not be large; return for how many seconds nothing else could run meanwhile."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    answer = await site.visitor.get(path)
    watching.cancel()
    assert answer.status_code == 200, path
    assert len(answer.content) < 1_000_000, path
    return longest


@pytest.mark.parametrize("depth", [60, 99, 200, 300, 1000, 5000])
def test_deep_messages_in_queues_can_be_looked_at(depth: int) -> None:
    async def test(site: Site) -> None:
        await site.api("PUT", "queues/%2F/q", json={})
        for opening, closing in (('{"a":', "}"), ("[", "]")):
            await site.put("q", opening * depth + "1" + closing * depth)
        answer = await site.visitor.get("/queue/messages?name=q")
        assert answer.status_code == 200
        assert answer.text.count('<article class="letter">') == 2
        taken = await post(site.visitor, "/queue/get", vhost="/", name="q")
        assert taken.status_code == 200

    on_site(test, allow_changes=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": "text"},
        {"x-death": [1, "x"]},
        {"x-death": [{"queue": 1, "reason": [], "count": "x", "routing-keys": "z"}]},
        {"x-death": [{"queue": {"a": 1}, "routing-keys": [5]}]},
        {"x-fedora-messaging-history": {"queue": 1, "attempts": "x", "error": []}},
        {"x-fedora-messaging-history": "text"},
        {"fedora_messaging_severity": "<b>", "fedora_messaging_schema": {"a": 1}},
        {"fedora_messaging_severity": 2**62, "sent-at": "\0"},
        {"sent-at": "9999999-13-45", "fedora_messaging_schema": "x" * 10_000},
    ],
    ids=repr,
)
def test_headers_of_strangers_break_no_page(headers: dict[str, Any]) -> None:
    async def test(site: Site) -> None:
        await site.api("PUT", "queues/%2F/q", json={})
        await site.put("q", **headers)
        assert (await site.visitor.get("/queue/messages?name=q")).status_code == 200
        await site.visitor.get("/live")
        message = {
            "routing_key": "a",
            "payload": "{}",
            "payload_encoding": "string",
            "properties": {"headers": headers, "message_id": "strange"},
        }
        await site.api("POST", "exchanges/%2F/amq.topic/publish", json=message)
        for _ in range(600):
            if (await site.visitor.get("/v2/id?id=strange")).status_code == 200:
                break
            await asyncio.sleep(0.05)
        for path in ("/message?id=strange", "/search", "/live", "/api/v1/message?id=strange"):
            assert (await site.visitor.get(path)).status_code == 200, path

    on_site(test)


def test_many_large_messages_in_a_queue() -> None:
    async def test(site: Site) -> None:
        await site.api("PUT", "queues/%2F/q", json={})
        for _ in range(50):
            await site.put("q", "z" * 200_000)
        answer = await site.visitor.get("/queue/messages?name=q&number=100")
        assert answer.text.count('<article class="letter">') == 50
        assert len(answer.content) < 2_000_000

    on_site(test)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 300_000,
        '{"a":' * 30_000,
        "{" + '"a":1,' * 20_000,
        "NaN",
        "1e999999",
        "1" * 100_000,
        '"\\ud800"',
        "\0",
    ],
    ids=["brackets", "objects", "half", "nan", "infinite", "digits", "surrogate", "zero"],
)
def test_a_form_may_have_any_body(body: str) -> None:
    async def test(site: Site) -> None:
        await site.api("PUT", "queues/%2F/q", json={})
        death: dict[str, Any] = {"x-death": [{"queue": "q", "reason": "rejected"}]}
        await site.put("q", **death)
        form = {"schema": "base.message", "topic": "a", "body": body}
        checked = await post(site.visitor, "/publish/check", **form)
        assert checked.status_code == 200
        assert "no JSON" in checked.text or "no object" in checked.text
        assert (await post(site.visitor, "/publish", **form)).status_code == 400
        edited = await post(site.visitor, "/queue/redrive", name="q", vhost="/", id="x", body=body)
        assert edited.status_code == 400
        assert await site.number_in("q") == 1

    on_site(test, allow_changes=True)
