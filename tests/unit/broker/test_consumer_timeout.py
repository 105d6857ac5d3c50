"""A delivery that its consumer does not settle in time closes the channel, and goes back to its queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import Inbox, closes, roundtrip, take
from tests.support.admin import connect

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

QUORUM = {"x-queue-type": "quorum"}
NO_CANCEL = {"capabilities": {"consumer_cancel_notify": False}}


def ask_until_closed(channel: BlockingChannel) -> None:
    """Call the broker until it has closed the channel."""
    while True:
        roundtrip(channel)


@pytest.mark.parametrize(
    ("profile", "arguments"),
    [("3", {}), ("3", QUORUM), ("4", QUORUM), ("4", {**QUORUM, "x-consumer-timeout": 50})],
    ids=["3 classic", "3 quorum", "4 quorum", "4 quorum with its own"],
)
def test_channel_is_closed(profile: str, arguments: dict[str, Any]) -> None:
    """With profile 4, that of a client that would not notice that its consumer is cancelled."""
    timeout = 100.0 if "x-consumer-timeout" in arguments else 0.05
    # The time between two looks depends on the timeout of the broker.
    with (
        Broker(profile=profile, consumer_timeout=timeout) as broker,
        connect(broker.amqp_url, client_properties=NO_CANCEL) as connection,
    ):
        channel = connection.channel()
        channel.queue_declare("q", durable=True, arguments=arguments)
        channel.basic_publish("", "q", b"x")
        Inbox.on(channel, "q").wait(1)

        with closes(406, "delivery acknowledgement on channel 1 timed out"):
            ask_until_closed(channel)
        assert take(connection.channel(), "q").redelivered


def test_consumer_of_a_quorum_queue_is_cancelled() -> None:
    """What it has goes back, and counts as delivered, not as failed; its late answers mean nothing."""
    with Broker(consumer_timeout=0.05) as broker, connect(broker.amqp_url) as connection:
        channel, other = connection.channel(), connection.channel()
        channel.queue_declare("q", durable=True, arguments=QUORUM)
        cancelled: list[str] = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("", "q", body)
        inbox = Inbox.on(channel, "q", consumer_tag="late")
        inbox.wait(3)
        while not cancelled:
            connection.process_data_events(0.01)
        assert cancelled == ["late"]
        found = [take(other, "q") for _ in range(3)]
        assert [(one.body, one.redelivered, one.headers) for one in found] == [
            (body, True, {"x-acquired-count": 1}) for body in (b"1", b"2", b"3")
        ]
        channel.basic_ack(1)
        channel.basic_ack(3, multiple=True)
        with closes(406, "unknown delivery tag 1"):
            channel.basic_ack(1)
            roundtrip(channel)


@pytest.mark.parametrize(("profile", "timeout"), [("4", 0.02), ("3", None)])
def test_no_timeout(profile: str, timeout: float | None) -> None:
    """Classic queues of RabbitMQ 4.3 have none; the broker has looked when the other channel is closed."""
    with Broker(profile=profile, consumer_timeout=timeout) as broker, connect(broker.amqp_url) as connection:
        channel, other = connection.channel(), connection.channel()
        channel.queue_declare("q", durable=True)
        other.queue_declare("quorum", durable=True, arguments=QUORUM)
        for queue, at in (("q", channel), ("quorum", other)):
            at.basic_publish("", queue, b"x")
            assert take(at, queue)

        if timeout is not None:
            with closes(406, "timed out"):
                ask_until_closed(other)
        channel.basic_ack(1)
        channel.queue_declare("q", passive=True)
