"""What a message in a queue says of its past: headers of the broker, and of this library."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedora_messaging.client.consuming.history import HEADER, History
from fedora_messaging.web.dashboard.feed import entry_of_answer
from fedora_messaging.web.dashboard.letters import letter_of

#: What may be in a table that arrives as JSON.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def answer(payload: str = '{"a": 1}', *, encoding: str = "string", **more: Any) -> dict[str, Any]:
    """A message as the management API returns it."""
    properties = more.pop("properties", [])
    return {
        "payload_bytes": len(payload if encoding == "string" else base64.b64decode(payload)),
        "redelivered": False,
        "exchange": "amq.topic",
        "routing_key": "key.of.queue",
        "message_count": 0,
        "properties": properties,
        "payload": payload,
        "payload_encoding": encoding,
        **more,
    }


def with_headers(**headers: Any) -> dict[str, Any]:
    return answer(properties={"message_id": "m", "headers": headers})


def death(**changes: Any) -> dict[str, Any]:
    """A record of a death, as RabbitMQ writes it."""
    return {
        "count": 2,
        "exchange": "amq.topic",
        "queue": "work",
        "reason": "rejected",
        "routing-keys": ["first.key"],
        "time": 1_764_504_000,
        **changes,
    }


def test_a_message_that_has_no_past() -> None:
    """RabbitMQ writes an empty table as an empty list."""
    found = letter_of(answer())
    assert (found.id, found.topic, found.headers, found.properties) == ("", "key.of.queue", {}, {})
    assert (found.origin, found.reason, found.attempts, found.error) == ("", "", 0, "")
    assert found.body == {"a": 1}
    assert found.text == '{\n  "a": 1\n}'
    assert found.size == 8


def test_a_message_that_has_died() -> None:
    found = letter_of(with_headers(**{"x-death": [death()]}))
    assert (found.id, found.topic) == ("m", "first.key")
    assert (found.origin, found.reason, found.attempts) == ("work", "rejected", 2)


def test_the_first_death_is_where_it_comes_from() -> None:
    """The broker puts the latest in front."""
    deaths = [death(queue="retry", reason="expired", count=7), death()]
    found = letter_of(with_headers(**{"x-death": deaths}))
    assert (found.origin, found.reason, found.attempts) == ("work", "rejected", 2)


def test_the_history_of_this_library_tells_more() -> None:
    history = History(queue="q", exchange="e", topic="the.topic").failed("exhausted", ValueError("no"))
    found = letter_of(with_headers(**{"x-death": [death()], HEADER: history.as_table()}))
    assert (found.origin, found.topic, found.reason) == ("q", "the.topic", "exhausted")
    assert (found.attempts, found.error) == (1, "ValueError: no")


@pytest.mark.parametrize(
    "deaths",
    [
        None,
        "x",
        {},
        [],
        ["x"],
        [None],
        [{}],
        [death(), None],
        [death(**{"routing-keys": None})],
        [death(**{"routing-keys": []})],
        [death(**{"routing-keys": [1]})],
        [death(count="many", queue=None, reason=["x"])],
        [death(count=2.5)],
    ],
)
def test_odd_deaths(deaths: Any) -> None:
    found = letter_of(with_headers(**{"x-death": deaths}))
    assert all(isinstance(text, str) for text in (found.topic, found.origin, found.reason, found.error))
    assert isinstance(found.attempts, int)
    assert found.topic in ("key.of.queue", "first.key")


@pytest.mark.parametrize(
    ("payload", "text"), [("", ""), ("no json", "no json"), ("null", "null"), ("{", "{")]
)
def test_bodies_that_are_no_json_are_shown_as_they_are(payload: str, text: str) -> None:
    found = letter_of(answer(payload))
    assert (found.body, found.text) == (None, text)


def test_bytes_are_not_shown() -> None:
    found = letter_of(answer(base64.b64encode(b"\xff\xfe\xfd").decode(), encoding="base64"))
    assert (found.body, found.size, found.text) == (None, 3, "(3 bytes that are no text)")


def test_what_goes_to_another_queue_names_no_others() -> None:
    """The broker would give it to them once more."""
    deaths = [{"queue": "q", "reason": "rejected"}]
    found = letter_of(
        answer(properties={"headers": {"CC": ["a"], "BCC": ["b"], "mine": 1, "x-death": deaths}})
    )
    assert found.properties_elsewhere()["headers"] == {"mine": 1, "x-death": deaths}
    assert set(found.headers) == {"CC", "BCC", "mine", "x-death"}


def test_what_is_published_again_has_no_past() -> None:
    headers = {
        "mine": 1,
        "x-mine": 2,
        "x-death": [death()],
        "x-first-death-queue": "work",
        "x-last-death-reason": "rejected",
        "x-delivery-count": 4,
        "x-acquired-count": 4,
        # With these the broker would give it to other queues, which have had it, once more.
        "CC": ["other"],
        "BCC": ["hidden"],
        HEADER: {"attempts": 5},
    }
    found = letter_of(answer(properties={"message_id": "m", "delivery_mode": 2, "headers": headers}))
    assert found.properties_again() == {
        "message_id": "m",
        "delivery_mode": 2,
        "headers": {"mine": 1, "x-mine": 2},
    }
    # The message itself is as it was.
    assert found.headers == headers


PROPERTIES: st.SearchStrategy[Any] = st.one_of(
    st.just([]),
    st.fixed_dictionaries(
        {},
        optional={
            "headers": st.dictionaries(
                st.sampled_from(
                    [
                        *(
                            HEADER,
                            "x-death",
                            "sent-at",
                            "fedora_messaging_schema",
                            "fedora_messaging_severity",
                        ),
                        *("fedora_messaging_user_x", "fedora_messaging_rpm_x", "priority", "other"),
                    ]
                ),
                VALUES,
                max_size=4,
            ),
            "message_id": st.text(),
            "priority": st.integers(0, 255),
            "content_encoding": st.sampled_from(["utf-8", "UTF-8", "latin-1", "gzip", "", "\0", "x" * 300]),
            "content_type": st.text(),
        },
    ),
)
PAYLOADS = st.one_of(
    st.tuples(st.text().filter(lambda text: text.isprintable()), st.just("string")),
    st.tuples(st.sampled_from(["{}", "[]", '{"a": [1, null]}', '"x"', "NaN", "[" * 3000]), st.just("string")),
    st.tuples(st.binary().map(lambda data: base64.b64encode(data).decode()), st.just("base64")),
)


@settings(max_examples=300, deadline=None)
@given(properties=PROPERTIES, payload=PAYLOADS, key=st.text(max_size=10))
def test_anything_in_a_queue_can_be_shown(properties: Any, payload: tuple[str, str], key: str) -> None:
    """Whoever may publish decides about all of it."""
    text, encoding = payload
    found = letter_of(answer(text, encoding=encoding, properties=properties, routing_key=key))
    assert isinstance(found.text, str)
    assert found.size >= 0
    assert all(
        isinstance(text, str) for text in (found.id, found.topic, found.origin, found.reason, found.error)
    )
    again = found.properties_again()
    assert HEADER not in again["headers"]
    assert "x-death" not in again["headers"]


@settings(max_examples=300, deadline=None)
@given(properties=PROPERTIES, payload=PAYLOADS, key=st.text(max_size=10))
def test_anything_in_the_queue_of_the_live_feed_can_be_kept(
    properties: Any, payload: tuple[str, str], key: str
) -> None:
    text, encoding = payload
    found = entry_of_answer(
        answer(text, encoding=encoding, properties=properties, routing_key=key), "q", 1000.0
    )
    assert found.id
    assert orjson.loads(found.record)["topic"] is not None


def test_what_is_no_message_is_kept_with_the_reason() -> None:
    found = entry_of_answer(answer("no json"), "q", 1000.0)
    assert found.summary.startswith("This is no message: ")
    assert orjson.loads(found.record)["body_base64"] == base64.b64encode(b"no json").decode()


def test_a_message_of_the_live_feed() -> None:
    headers = {"sent-at": "2026-11-30T08:00:00+00:00", "fedora_messaging_severity": 30}
    found = entry_of_answer(
        answer('{"a": "words"}', properties={"message_id": "m", "headers": headers}), "q", 1000.0
    )
    assert (found.id, found.topic, found.sent, found.severity) == ("m", "key.of.queue", 1796025600.0, 30)
    assert "words" in found.words
