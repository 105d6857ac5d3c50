"""The bytes on the page are those that leave."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.printed import ROOT, Page

from fedora_messaging import config
from fedora_messaging.client.publishing.outgoing import encode
from fedora_messaging.message import Message
from fedora_messaging.wire.frames import encode_content

if TYPE_CHECKING:
    import pytest

PAGE = Page("docs/reference/wire-format.md")


def test_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "conf", config.LazyConfig().load_config(None))
    message = Message(topic="thing.created", body={"id": 1})
    message.id = "5b0d1a3e-8f6c-4b8e-9a55-0d9b7f3c2e11"
    message._headers["sent-at"] = "2026-11-30T12:00:00+00:00"
    encoded = encode(message, "amq.topic", mandatory=False)
    sent = encode_content(1, encoded.method, encoded.properties, encoded.body, 131072)
    (block,) = PAGE.blocks
    printed = b"".join(bytes.fromhex(line[6:53]) for line in block.text.splitlines())
    assert printed == sent
    for number, line in enumerate(block.text.splitlines()):
        assert line.startswith(f"{16 * number:04x}  ")
        shown = "".join(
            chr(byte) if 32 <= byte < 127 else "." for byte in sent[16 * number : 16 * number + 16]
        )
        assert line[55:] == shown


def test_places_in_the_table() -> None:
    (block,) = PAGE.blocks
    sent = b"".join(bytes.fromhex(line[6:53]) for line in block.text.splitlines())
    text = (ROOT / PAGE.path).read_text("utf-8")
    rows = re.findall(r"^\| ([0-9a-f]{4}) \| `([^`]+)` \|", text, re.MULTILINE)
    assert len(rows) == 10
    for place, shown in rows:
        expected = b""
        for part in shown.split():
            expected += part.strip('"').encode() if part.startswith('"') else bytes.fromhex(part)
        start = int(place, 16)
        assert sent[start : start + len(expected)] == expected, place
