"""The messages that wait for a delayed exchange outlast a restart of the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
from tests.behaviour.support import take
from tests.support.admin import connect

from fedora_messaging.broker import Broker

if TYPE_CHECKING:
    from pathlib import Path


def test_persistent_messages_wait_on_after_a_restart(tmp_path: Path) -> None:
    """The time during which the broker does not run counts."""
    with Broker(data=tmp_path) as broker, connect(broker.amqp_url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(
            "later", "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"}
        )
        channel.queue_declare("q", durable=True)
        channel.queue_bind("q", "later")
        for body, mode, delay in ((b"lost", 1, 200), (b"second", 2, 200), (b"first", 2, 100)):
            properties = pika.BasicProperties(delivery_mode=mode, headers={"x-delay": delay})
            channel.basic_publish("later", "", body, properties)
    with Broker(data=tmp_path) as broker, connect(broker.amqp_url) as connection:
        channel = connection.channel()
        assert [take(channel, "q", auto_ack=True).body for _ in range(2)] == [b"first", b"second"]
        channel.exchange_delete("later")
    with Broker(data=tmp_path) as broker, connect(broker.amqp_url) as connection:
        assert connection.channel().basic_get("q") == (None, None, None)
