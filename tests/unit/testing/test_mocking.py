"""`mock_sends`: what it records instead of publishing, and what it expects."""

from __future__ import annotations

import asyncio
import re
from unittest import mock

import jsonschema
import pytest

from fedora_messaging import aio, api, signals
from fedora_messaging.message import Message, register
from fedora_messaging.testing.mocking import mock_sends, recording_instead

WRAPPER = "fedora_messaging.api._twisted_publish_wrapper"
SENT = Message(topic="t", body={"a": 1})
OTHER = Message(topic="other", body={"a": 1})


@register("mocking.special")
class Special(Message):
    """A class of a program."""


def test_expected_messages_and_classes() -> None:
    special = Special(topic="s")
    with mock_sends(SENT, Message, Special, Message) as sent:
        for message in (SENT, OTHER, special, special):
            api.publish(message)
        # The list is filled at the end of the block.
        assert sent == []
    assert [id(message) for message in sent] == [id(one) for one in (SENT, OTHER, special, special)]


def test_equal_message_has_another_id() -> None:
    with mock_sends(SENT):
        api.publish(Message(topic="t", body={"a": 1}, severity=20))


def test_nothing_is_expected() -> None:
    with mock_sends() as sent:
        pass
    assert sent == []
    with (
        pytest.raises(AssertionError, match="^Expected 0 messages to be sent, but 1 were sent$"),
        mock_sends(),
    ):
        api.publish(SENT)


@pytest.mark.parametrize(
    ("expected", "published"), [([SENT], []), ([SENT], [SENT, SENT]), ([Message] * 3, [SENT])]
)
def test_number_of_messages(expected: list[Message | type[Message]], published: list[Message]) -> None:
    text = f"^Expected {len(expected)} messages to be sent, but {len(published)} were sent$"
    with pytest.raises(AssertionError, match=text), mock_sends(*expected):
        for message in published:
            api.publish(message)


def test_wrong_class() -> None:
    text = f"Expected message of type {Special}, but {Message} was sent"
    with pytest.raises(AssertionError, match=f"^{re.escape(text)}$"), mock_sends(Special):
        api.publish(SENT)


@pytest.mark.parametrize(
    "published",
    [
        OTHER,
        Message(topic="t", body={"a": 2}),
        Message(topic="t", body={"a": 1}, severity=30),
        Special(topic="t", body={"a": 1}),
    ],
    ids=["topic", "body", "severity", "class"],
)
def test_message_that_differs(published: Message) -> None:
    with pytest.raises(AssertionError), mock_sends(SENT):
        api.publish(published)


def test_order_counts() -> None:
    with pytest.raises(AssertionError), mock_sends(SENT, OTHER):
        api.publish(OTHER)
        api.publish(SENT)


@pytest.mark.parametrize("expected", [Message, Message(topic="t", body="text")])
def test_invalid_message_is_told_at_the_end(expected: type[Message] | Message) -> None:
    ended = False
    with (
        pytest.raises(jsonschema.ValidationError, match="'text' is not of type 'object'"),
        mock_sends(expected),
    ):
        api.publish(Message(topic="t", body="text"))
        ended = True
    assert ended


def test_no_signal_is_sent() -> None:
    heard: list[object] = []

    def hear(sender: object, **_arguments: object) -> None:
        heard.append(sender)

    with signals.pre_publish_signal.connected_to(hear), signals.publish_signal.connected_to(hear):
        with mock_sends(Message):
            api.publish(SENT)
    assert heard == []


def test_bus_of_asyncio() -> None:
    async def main() -> None:
        async with aio.connect("amqp://127.0.0.1:1") as bus:
            await bus.publish(SENT)

    with mock_sends(SENT):
        asyncio.run(main())


def test_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), mock_sends(SENT) as sent:
        raise ZeroDivisionError
    assert sent == []


def test_recorder_may_refuse() -> None:
    def refuse(message: Message) -> None:
        raise AssertionError(message.topic)

    with recording_instead(refuse), pytest.raises(AssertionError, match="^t$"):
        api.publish(SENT)
    assert api._twisted_publish_wrapper is api._own_publish_wrapper


# Suites that replace the function that `api.publish` calls


def test_mock_sends_inside_a_replaced_publish_wrapper() -> None:
    """A test suite makes every publish fail that no test expects; the innermost wins, and is undone."""
    unexpected = AssertionError("unexpected publish")
    with mock.patch(WRAPPER, side_effect=unexpected) as outer:
        with mock_sends(SENT):
            api.publish(SENT)
        with pytest.raises(AssertionError, match="unexpected publish"):
            api.publish(SENT)
        with pytest.raises(ValueError, match="canary"), mock_sends(SENT):
            raise ValueError("canary")
        with pytest.raises(AssertionError, match="Expected 1 messages"), mock_sends(SENT):
            pass
        assert api._twisted_publish_wrapper is outer
    assert api._twisted_publish_wrapper is api._own_publish_wrapper


def test_replaced_publish_wrappers_and_mock_sends_in_each_other() -> None:
    first, second, third = (Message(topic=topic) for topic in "abc")
    with mock_sends(first, first):
        api.publish(first)
        with mock.patch(WRAPPER) as wrapper:
            api.publish(second, "e")
            with mock_sends(third):
                api.publish(third)
                with mock_sends(second):
                    api.publish(second)
            assert wrapper.call_args_list == [mock.call(second, "e")]
        api.publish(first)


def test_replaced_publish_wrapper_that_outlives_mock_sends() -> None:
    patch = mock.patch(WRAPPER)
    with mock_sends():
        wrapper = patch.start()
    try:
        api.publish(SENT)
        wrapper.assert_called_once_with(SENT, None)
    finally:
        patch.stop()
    assert api._twisted_publish_wrapper is api._own_publish_wrapper
