"""What the broker is told of what a callback did, what is counted, and what is logged."""

from __future__ import annotations

import logging

import pytest

from fedora_messaging.client.consuming.stats import ConsumerStats
from fedora_messaging.client.consuming.verdict import Action, raised, succeeded
from fedora_messaging.exceptions import Drop, HaltConsumer, Nack
from fedora_messaging.message import Message
from fedora_messaging.wire.properties import BasicProperties

MESSAGE = Message(topic="a.b", properties=BasicProperties(message_id="id-1"))


def test_callback_that_returns(caplog: pytest.LogCaptureFixture) -> None:
    stats = ConsumerStats()
    with caplog.at_level(logging.INFO):
        assert succeeded(MESSAGE, stats) == (Action.ACK, None)
    assert stats == ConsumerStats(processed=1)
    assert caplog.messages == ["Successfully consumed message from topic 'a.b' (message id 'id-1')"]


@pytest.mark.parametrize(
    ("error", "action", "ends", "counted", "line"),
    [
        (
            Nack(),
            Action.REQUEUE,
            False,
            ConsumerStats(rejected=1),
            "Returning message id 'id-1' to the queue",
        ),
        (
            Drop(),
            Action.REFUSE,
            False,
            ConsumerStats(dropped=1),
            "Consumer requested message id 'id-1' be dropped",
        ),
        (
            HaltConsumer(),
            Action.ACK,
            True,
            ConsumerStats(processed=1),
            "Consumer indicated it wishes consumption to halt, shutting down",
        ),
        (
            HaltConsumer(3, requeue=True),
            Action.REQUEUE,
            True,
            ConsumerStats(rejected=1),
            "Consumer indicated it wishes consumption to halt, shutting down",
        ),
        (
            ZeroDivisionError("no"),
            Action.REQUEUE_ALL,
            True,
            ConsumerStats(failed=1),
            "Received unexpected exception from consumer callback for message id 'id-1'",
        ),
        (
            KeyboardInterrupt(),
            Action.REQUEUE_ALL,
            True,
            ConsumerStats(failed=1),
            "Received unexpected exception from consumer callback for message id 'id-1'",
        ),
    ],
    ids=["Nack", "Drop", "HaltConsumer", "HaltConsumer and requeue", "an error", "the end of the program"],
)
def test_callback_that_raises(
    error: BaseException,
    action: Action,
    ends: bool,
    counted: ConsumerStats,
    line: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stats = ConsumerStats()
    with caplog.at_level(logging.INFO):
        assert raised(MESSAGE, error, stats) == (action, error if ends else None)
    assert stats == counted
    assert caplog.messages == [line]


def test_only_an_unexpected_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ZeroDivisionError("no")
    raised(MESSAGE, error, ConsumerStats())
    raised(MESSAGE, Nack(), ConsumerStats())
    unexpected, nacked = caplog.records
    assert unexpected.exc_info is not None
    assert (unexpected.levelname, unexpected.exc_info[1]) == ("ERROR", error)
    assert (nacked.levelname, nacked.exc_info) == ("WARNING", None)
