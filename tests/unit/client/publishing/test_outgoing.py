"""One message on its way: what is sent, when it is given up, and whether it is the one that came back."""

from __future__ import annotations

import pytest

from fedora_messaging import config
from fedora_messaging.client.publishing.outgoing import Encoded, Outgoing, encode, outgoing
from fedora_messaging.exceptions import EncodingError, PublishTimeout
from fedora_messaging.message import Message
from fedora_messaging.protocol.events import ContentReceived
from fedora_messaging.wire import methods as m
from fedora_messaging.wire.properties import BasicProperties, decode_properties
from fedora_messaging.wire.property_codec import encode_properties

PROPERTIES = encode_properties(BasicProperties(message_id="id-1", headers={"b": 1, "a": 2}))
#: The same as a broker returns it that sorts the headers.
SORTED = encode_properties(BasicProperties(message_id="id-1", headers={"a": 2, "b": 1}))
BROKEN = b"\x20\x00\xff\xff\xff\xff"
RETURN = m.BasicReturn(312, "NO_ROUTE", "amq.topic", "a.b")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> config.LazyConfig:
    """The defaults, in a configuration that the test may change."""
    fresh = config.LazyConfig().load_config("")
    monkeypatch.setattr(config, "conf", fresh)
    return fresh


def make(properties: bytes = PROPERTIES, mandatory: bool = True) -> Outgoing:
    encoded = Encoded("amq.topic", "a.b", b"method", properties, b"body", mandatory)
    return outgoing(encoded, lambda _error: None)


def returned(properties: bytes = SORTED, body: bytes | None = b"body") -> ContentReceived:
    return ContentReceived(1, RETURN, properties, body)


def test_message_is_encoded_once(settings: config.LazyConfig) -> None:
    settings["topic_prefix"] = "org.example"
    properties = BasicProperties(message_id="id-1", headers={"a": 1})
    encoded = encode(Message({"n": 1}, topic="a.b", properties=properties), "amq.topic", True)
    assert encoded == Encoded(
        exchange="amq.topic",
        routing_key="org.example.a.b",
        method=m.BasicPublish("amq.topic", "org.example.a.b", True).encode(),
        properties=encoded.properties,
        body=b'{"n": 1}',
        mandatory=True,
    )
    assert decode_properties(encoded.properties) == properties
    out = outgoing(encoded, print)
    assert (out.exchange, out.routing_key, out.method, out.properties, out.body, out.mandatory) == encoded
    assert (out.on_outcome, out.attempts, out.abandoned) == (print, 0, False)


@pytest.mark.parametrize("exchange", [None, 5, b"amq.topic"])
def test_exchange_must_be_text(exchange: object) -> None:
    with pytest.raises(TypeError, match=f"^the exchange must be text, but is a {type(exchange).__name__}$"):
        encode(Message(topic="a.b"), exchange, False)


def test_properties_that_fit_no_frame_are_refused() -> None:
    """A frame of 131072 bytes has room for 131052 after its own 8, and the 12 of a content header."""

    def sized(text: int) -> Message:
        return Message(topic="a.b", properties=BasicProperties(headers={"k": "x" * text}))

    # Flags, the table's length, the name, the type and length of the text.
    rest = 2 + 4 + 2 + 1 + 4
    assert len(encode(sized(131_052 - rest), "", False).properties) == 131_052
    with pytest.raises(EncodingError) as caught:
        encode(sized(131_053 - rest), "", False)
    assert str(caught.value) == (
        "the headers and other properties of the message take 131053 bytes, but AMQP has room for 131052; "
        "make them shorter, or move what is long to the body"
    )


def test_attempts_are_counted_until_it_is_abandoned() -> None:
    out = make()
    out.error = ValueError("returned on another connection")
    assert out.begin()
    assert out.error is None
    assert out.attempts == 1
    assert out.begin()
    out.abandon()
    assert not out.begin()


@pytest.mark.parametrize(
    ("sent", "blocked", "trouble", "notes"),
    [
        (False, None, "", []),
        (True, "low on memory", "", ["The broker blocks publishing: low on memory"]),
        (False, None, "no broker at h:1", ["no broker at h:1"]),
        (True, "", "gone", ["The broker blocks publishing: ", "gone"]),
    ],
)
def test_its_time_is_over(sent: bool, blocked: str | None, trouble: str, notes: list[str]) -> None:
    out = make()
    if sent:
        out.begin()
    error = out.expire(2.5, blocked, trouble)
    assert isinstance(error, PublishTimeout)
    assert str(error) == "Publishing timed out after waiting 2.5 seconds."
    assert (error.sent, getattr(error, "__notes__", [])) == (sent, notes)
    assert out.abandoned


def test_returned_message_is_found_by_what_no_broker_changes() -> None:
    assert PROPERTIES != SORTED
    assert make().may_be(returned(), RETURN)
    # A body beyond the limit was thrown away.
    assert make().may_be(returned(body=None), RETURN)


@pytest.mark.parametrize(
    "method",
    [m.BasicReturn(312, "NO_ROUTE", "other", "a.b"), m.BasicReturn(312, "NO_ROUTE", "amq.topic", "a.c")],
)
def test_message_returned_from_elsewhere_is_another(method: m.BasicReturn) -> None:
    assert not make().may_be(returned(), method)


def test_message_that_differs_or_cannot_be_returned_is_another() -> None:
    assert not make().may_be(returned(body=b"other"), RETURN)
    assert not make().may_be(returned(encode_properties(BasicProperties(message_id="id-2"))), RETURN)
    assert not make().may_be(returned(BROKEN), RETURN)
    assert not make(mandatory=False).may_be(returned(), RETURN)
    out = make()
    out.error = ValueError("returned already")
    assert not out.may_be(returned(), RETURN)


def test_body_that_was_freed_is_any() -> None:
    out = make()
    out.abandon()
    assert not out.may_be(returned(body=b"other"), RETURN)
    out.release()
    assert out.may_be(returned(), RETURN)
    assert out.may_be(returned(body=b"other"), RETURN)
    assert not out.may_be(returned(BROKEN), RETURN)
