"""Deliveries become messages; invalid ones are counted, logged and told apart."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from fedora_messaging import message
from fedora_messaging.client.consuming.delivery import Invalid, Raw, is_large, receive, receive_aside
from fedora_messaging.client.consuming.history import HEADER, History
from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.exceptions import ValidationError
from fedora_messaging.wire.errors import WireError
from fedora_messaging.wire.properties import BasicProperties
from fedora_messaging.wire.property_codec import encode_properties

TRIED = History("q", "amq.topic", "a.b", attempts=3, first=5, last=6, reason="retry")


def encoded(schema: Any = "base.message", **headers: Any) -> bytes:
    return encode_properties(
        BasicProperties(
            message_id="id-1",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"fedora_messaging_schema": schema, "fedora_messaging_severity": 20, **headers},
        )
    )


def delivery(
    properties: bytes | None = None,
    body: bytes | None = b'{"n": 1}',
    redelivered: bool = False,
    source: tuple[str, str] = ("amq.topic", "a.b"),
) -> Raw:
    given = encoded() if properties is None else properties
    return Raw(7, 3, "q", *source, redelivered, given, body)


def test_delivery_is_kept_as_it_arrived() -> None:
    raw = delivery(redelivered=True)
    assert (raw.epoch, raw.tag, raw.queue, raw.exchange, raw.routing_key) == (7, 3, "q", "amq.topic", "a.b")
    assert (raw.redelivered, raw.properties, raw.body) == (True, encoded(), b'{"n": 1}')
    assert raw.history == History("q", "amq.topic", "a.b")


def test_message_of_a_delivery() -> None:
    raw = delivery()
    decoded = raw.decode()
    assert type(decoded) is message.Message
    assert (decoded.topic, decoded.body, decoded.id, decoded.queue) == ("a.b", {"n": 1}, "id-1", "q")
    assert raw.history == History("q", "amq.topic", "a.b", attempts=0)


def test_message_that_was_tried_before_has_its_first_topic() -> None:
    """A delay queue hands it back under the name of the queue that it waits for."""
    properties = encoded(**{HEADER: TRIED.as_table()})
    raw = delivery(properties, source=("", "q"))
    assert raw.decode().topic == "a.b"
    assert raw.history == TRIED


@pytest.mark.parametrize(
    ("kind", "properties", "body", "text"),
    [
        ("size", None, None, "the body is larger than this client takes"),
        ("properties", b"\x20\x00\xff\xff\xff\xff", b"{}", "the properties cannot be decoded: "),
        ("json", None, b"{", ""),
    ],
)
def test_error_tells_what_is_wrong(
    kind: str, properties: bytes | None, body: bytes | None, text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        delivery(properties, body).decode()
    assert caught.value.kind == kind
    assert str(caught.value).startswith(text)
    if kind == "properties":
        assert isinstance(caught.value.__cause__, WireError)
        assert str(caught.value) == text + caught.value.__cause__.text


@pytest.mark.parametrize(
    ("kind", "properties", "body"),
    [("properties", b"\x20\x00\xff\xff\xff\xff", b"{}"), ("size", b"\x00\x00", None)],
)
def test_p08_kinds_that_clients_do_not_publish(kind: str, properties: bytes, body: bytes | None) -> None:
    stats = ConsumerStats()
    assert isinstance(receive(delivery(properties, body), stats), Invalid)
    assert stats.invalid_kinds == {kind: 1}


@pytest.mark.parametrize("redelivered", [False, True])
def test_valid_message_is_counted_and_logged(redelivered: bool, caplog: pytest.LogCaptureFixture) -> None:
    stats = ConsumerStats()
    with caplog.at_level(logging.INFO):
        received = receive(delivery(redelivered=redelivered), stats)
    assert isinstance(received, message.Message)
    assert received.body == {"n": 1}
    assert stats == ConsumerStats(received=1, redelivered=int(redelivered))
    assert caplog.messages == ["Consuming message from topic 'a.b' (message id 'id-1')"]


def test_invalid_message_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    stats = ConsumerStats()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            # One that comes again is no valid one.
            found = receive(delivery(body=None, redelivered=True), stats)
            assert found == Invalid("the body is larger than this client takes")
    assert (stats.invalid, stats.invalid_kinds, stats.received, stats.redelivered) == (2, {"size": 2}, 0, 0)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "A message on queue 'q' with topic 'a.b' did not pass validation; ignoring message (size): "
            "the body is larger than this client takes",
        )
    ] * 2


class Failing(message.Message):
    """A schema class with a mistake."""

    @property
    def body_schema(self) -> dict[str, Any]:  # type: ignore[override]
        raise ZeroDivisionError("a mistake\x1b[31m")


def test_mistake_in_a_schema_class_is_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    message.get_class("base.message")
    monkeypatch.setitem(message._schema_name_to_class, "failing", Failing)
    monkeypatch.setitem(message._class_to_schema_name, Failing, "failing")
    stats = ConsumerStats()
    assert receive(delivery(encoded("failing")), stats) == Invalid(r"a mistake\x1b[31m")
    assert stats.invalid_kinds == {"class": 1}
    assert caplog.messages[-1].endswith(r"ignoring message (class): a mistake\x1b[31m")


@pytest.mark.parametrize(("size", "large"), [(None, False), (0, False), (65536, False), (65537, True)])
def test_size_of_a_large_message(size: int | None, large: bool) -> None:
    assert is_large(delivery(body=None if size is None else b"x" * size)) is large


@pytest.mark.parametrize("pad", [0, 65536])
def test_only_a_large_message_is_built_in_a_thread(pad: int, caplog: pytest.LogCaptureFixture) -> None:
    """The event loop goes on meanwhile."""
    stats = ConsumerStats()
    with caplog.at_level(logging.INFO):
        raw = delivery(body=b'{"n": "' + b"x" * pad + b'"}')
        received = asyncio.run(receive_aside(raw, stats))
    assert isinstance(received, message.Message)
    assert (received.body, received.queue) == ({"n": "x" * pad}, "q")
    assert stats == ConsumerStats(received=1)
    [record] = [record for record in caplog.records if record.getMessage().startswith("Consuming")]
    assert (record.thread == threading.get_ident()) == (pad == 0)


@pytest.mark.parametrize("pad", [0, 65536])
def test_invalid_message_of_any_size_is_told(pad: int) -> None:
    stats = ConsumerStats()
    found = asyncio.run(receive_aside(delivery(body=b"{" + b"x" * pad), stats))
    assert isinstance(found, Invalid)
    assert (stats.invalid, stats.invalid_kinds) == (1, {"json": 1})
