"""The strict profile of the embedded broker: what RabbitMQ 4.3 refuses, and Debian's takes (P29, P30)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.peer import Peer
from tests.behaviour.support import closes
from tests.support.admin import connect

from fedora_messaging import api, config
from fedora_messaging.broker import Broker
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel


@pytest.fixture(scope="module")
def strict() -> Iterator[Broker]:
    with Broker(strict=True) as broker:
        yield broker


@pytest.fixture
def channel(strict: Broker) -> Iterator[BlockingChannel]:
    connection = connect(strict.amqp_url)
    yield connection.channel()
    if connection.is_open:
        connection.close()


def test_p30_transient_queue_that_others_may_use(channel: BlockingChannel) -> None:
    with closes(541, "Feature `transient_nonexcl_queues` is deprecated."):
        channel.queue_declare("q", durable=False, exclusive=False)


def test_p30_other_queues(channel: BlockingChannel) -> None:
    channel.queue_declare("durable", durable=True)
    channel.queue_declare("exclusive", exclusive=True)
    channel.queue_declare("durable", passive=True)


def test_p30_limit_for_a_whole_channel(channel: BlockingChannel) -> None:
    channel.basic_qos(prefetch_count=5)
    with closes(541, "Feature `global_qos` is deprecated."):
        channel.basic_qos(prefetch_count=5, global_qos=True)


@pytest.mark.parametrize(
    "arguments", [{"x-queue-mode": "lazy"}, {"x-queue-master-locator": "min-masters"}, {"x-queue-version": 1}]
)
def test_p30_arguments_that_are_gone(channel: BlockingChannel, arguments: dict[str, Any]) -> None:
    with closes(406, f"invalid arg '{next(iter(arguments))}'"):
        channel.queue_declare("q", durable=True, arguments=arguments)
    channel.connection.channel().queue_declare("q2", durable=True, arguments={"x-queue-version": 2})


def test_p29_small_frames(strict: Broker) -> None:
    with Peer(strict.amqp_url) as peer:
        with closes(530, "frame_max = 4096 is lower than the minimum allowed value (8192)"):
            peer.login(frame_max=4096)
    with Peer(strict.amqp_url) as peer:
        peer.login(frame_max=8192)


def test_p30_large_messages(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", "nowhere", bytes(16 * 1024 * 1024))
    with closes(406, "message is larger than configured max size 16777216"):
        channel.basic_publish("", "nowhere", bytes(16 * 1024 * 1024 + 1))


def test_p30_our_defaults_pass(strict: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program gets that configures nothing."""
    from tests.client.support import Consuming
    from tests.support.waiting import eventually

    monkeypatch.setattr(config, "conf", config.LazyConfig())
    config.conf["amqp_url"] = strict.amqp_url
    received: list[Message] = []
    try:
        with Consuming(received.append):
            eventually(lambda: api._twisted_service is not None and api._twisted_service.snapshot().consuming)
            api.publish(Message(topic="t"))
            eventually(lambda: received)
    finally:
        api.close()
