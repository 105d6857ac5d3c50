"""A message: how its headers are written, and what a place in a queue takes from it."""

from __future__ import annotations

import pytest
from tests.unit.wire.test_fields import sized

from fedora_messaging.broker.core import message as message_module
from fedora_messaging.broker.core.message import (
    MOST_EFFORT,
    NEW,
    in_canonical_order,
    new_entry,
    new_message,
    restored_message,
)
from fedora_messaging.broker.storage.pages import FilePages
from fedora_messaging.protocol.errors import ChannelError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties


@pytest.mark.parametrize(
    "properties",
    [
        encode_properties(BasicProperties()),
        encode_properties(BasicProperties(priority=3)),
        encode_properties(BasicProperties(headers={})),
        encode_properties(BasicProperties(headers={"a": 1, "b": 2}, priority=3)),
        b"\x20\x00" + sized(b"\x01bV\x01a?"),
    ],
    ids=["nothing", "no headers", "empty headers", "ordered", "unreadable"],
)
def test_message_that_is_already_in_order(properties: bytes) -> None:
    message = new_message("e", "k", properties, b"body")
    assert in_canonical_order(message) is message


def test_message_is_put_in_order() -> None:
    properties = encode_properties(BasicProperties(headers={"b": 2, "a": 1}, priority=3, reply_to="r"))
    message = in_canonical_order(new_message("e", "k", properties, b"body"))
    assert message.properties == encode_properties(
        BasicProperties(headers={"a": 1, "b": 2}, priority=3, reply_to="r")
    )
    assert (message.exchange, message.routing_key, message.body) == ("e", "k", b"body")
    assert (message.scan.priority, message.scan.reply_to) == (3, "r")


def test_new_place_in_a_queue() -> None:
    message = new_message("e", "k", b"\0\0", b"")
    assert message.past is NEW
    entry = new_entry(message, 7)
    assert (entry.redelivered, entry.returns, entry.acquisitions, entry.stored) == (False, 0, 0, False)


def test_routing_has_an_end() -> None:
    """A message with very many words or headers must not keep the broker from serving others."""
    message = new_message("e", "k", b"\0\0", b"")
    message.count_effort(MOST_EFFORT - 1)
    message.count_effort(1)
    with pytest.raises(ChannelError, match="routing this message takes too many steps"):
        message.count_effort(1)


def test_stored_message_reads_its_properties_when_asked() -> None:
    properties = encode_properties(BasicProperties(delivery_mode=2, priority=3))
    stored = restored_message("e", "k", properties, b"body")
    assert (stored.properties, stored.body, stored.persistent, stored.scan.priority) == (
        properties,
        b"body",
        True,
        3,
    )
    assert stored.scan is stored.scan
    assert stored.address == new_message("e", "k", b"\0\0", b"").address


def test_stored_message_reads_its_properties_from_a_page() -> None:
    properties = encode_properties(BasicProperties(priority=3))
    stored = restored_message("e", "k", properties, b"x" * 1000)
    pages = FilePages(None, lambda: True)
    assert stored.page_out(pages) == 1000 + len(properties)
    assert (stored.scan.priority, stored.properties, stored.body) == (3, properties, b"x" * 1000)
    pages.close()


@pytest.mark.parametrize("damaged", [b"", b"\x20", b"\x20\x00\x00\x00\xff\xff"])
def test_damaged_properties_of_a_stored_message(damaged: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """They count as none, and are told once: a queue that holds such a message goes on."""
    stored = restored_message("e", "k", damaged, b"body")
    assert not stored.persistent
    assert stored.headers == {}
    assert stored.scan.priority is None
    [line] = caplog.messages
    assert line.startswith("The properties of a stored message cannot be read, and count as none: ")


def test_names_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_module, "_MOST_NAMES", 10)
    pages = FilePages(None, lambda: True)
    for number in range(100):
        one = new_message(
            "e", f"key {number}", encode_properties(BasicProperties(priority=number)), b"x" * number
        )
        one.page_out(pages)
        assert (one.routing_key, one.scan.priority, one.size) == (f"key {number}", number, number)
    assert len(message_module._names) <= 10
    assert len(message_module._scans) <= 10
    assert len(message_module._sizes) <= 10
    pages.close()
