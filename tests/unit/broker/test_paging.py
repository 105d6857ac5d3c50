"""A broker whose queues grow: what waits is in files, and comes back as it was."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import pika
import pytest

from fedora_messaging.broker import Broker, ResourceLimits

if TYPE_CHECKING:
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

LIMIT = 20_000
BODIES = [os.urandom(size) for size in (0, 1, 127, 128, 1000, 20_000, 300_000)] * 20
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def on(broker: Broker) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(broker.amqp_url))


def filled(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    for body in BODIES:
        channel.basic_publish("", "q", body, PERSISTENT)


def taken(channel: BlockingChannel) -> list[bytes]:
    found: list[bytes] = []
    for method, _, body in channel.consume("q", inactivity_timeout=30):
        assert method is not None, f"{len(found)} of {len(BODIES)} bodies came"
        channel.basic_ack(method.delivery_tag)
        found.append(body)
        if len(found) == len(BODIES):
            break
    return found


@pytest.mark.parametrize("is_durable", [False, True], ids=["memory", "data"])
def test_bodies_that_wait_in_files_are_delivered_as_they_were(tmp_path: Path, is_durable: bool) -> None:
    resources = ResourceLimits(bodies=LIMIT)
    data = tmp_path if is_durable else None
    with (
        Broker(port=0, data=data, resources=resources) as broker,
        closing(on(broker)) as connection,
    ):
        channel = connection.channel()
        filled(channel)
        assert broker._broker._server.memory.bodies <= LIMIT + 127 * len(BODIES)
        assert taken(channel) == BODIES


def test_bodies_wait_in_files_after_a_restart(tmp_path: Path) -> None:
    resources = ResourceLimits(bodies=LIMIT)
    with Broker(port=0, data=tmp_path, resources=resources) as broker, closing(on(broker)) as connection:
        filled(connection.channel())
    with Broker(port=0, data=tmp_path, resources=resources) as broker:
        assert broker._broker._server.memory.bodies <= LIMIT + 127 * len(BODIES)
        with closing(on(broker)) as connection:
            assert taken(connection.channel()) == BODIES
