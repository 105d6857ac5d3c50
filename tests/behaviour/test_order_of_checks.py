"""Of several things that are wrong with a request, the broker tells the same one as RabbitMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import closes, roundtrip, send

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.admin import Names

QUORUM = {"x-queue-type": "quorum"}


def test_queue_that_exists_is_compared_only(channel: BlockingChannel, queue: str) -> None:
    """A repeated declaration may have arguments that a first one may not, if they do not count."""
    channel.queue_declare(queue, arguments={"x-delivery-limit": 1})
    with closes(
        406, f"inequivalent arg 'x-max-length' for queue '{queue}' in vhost '/': received the value "
    ):
        channel.queue_declare(queue, arguments={"x-delivery-limit": 1, "x-max-length": -1})


def test_arguments_are_compared_in_an_order(channel: BlockingChannel, name: str) -> None:
    """The dead-letter exchange comes before the lengths, in whatever order a client sends them."""
    channel.queue_declare(name, arguments={"x-max-length": 1, "x-dead-letter-exchange": "amq.fanout"})
    with closes(
        406, f"inequivalent arg 'x-dead-letter-exchange' for queue '{name}' in vhost '/': received none"
    ):
        channel.queue_declare(name)


def test_durability_of_an_exclusive_queue_does_not_count(channel: BlockingChannel, name: str) -> None:
    """An exclusive queue ends with its connection, so a repeated declaration need not say durable."""
    channel.queue_declare(name, durable=True, exclusive=True)
    channel.queue_declare(name, durable=False, exclusive=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"x-max-priority": 256, "x-max-length": -1, "x-expires": 0},
            "'x-expires' for queue 'NAME' in vhost '/': {value_zero,0}",
        ),
        (
            {"x-delivery-limit": 1, "x-dead-letter-routing-key": "k"},
            "'x-dead-letter-routing-key' for queue 'NAME' in vhost '/': routing_key_but_no_dlx_defined",
        ),
        (
            {"x-dead-letter-routing-key": True},
            "'x-dead-letter-routing-key' for queue 'NAME' in vhost '/': {unacceptable_type,bool}",
        ),
        (
            {"x-max-length": "1"},
            "'x-max-length' for queue 'NAME' in vhost '/': \"expected integer, got longstr\"",
        ),
        ({"x-overflow": "drop"}, "'x-overflow' for queue 'NAME' in vhost '/': invalid_overflow"),
    ],
)
def test_first_wrong_argument(
    channel: BlockingChannel, name: str, arguments: dict[str, Any], told: str
) -> None:
    """Values are checked in an order, and before the names."""
    with closes(406, f"invalid arg {told.replace('NAME', name)}"):
        channel.queue_declare(name, arguments=arguments)


def test_arguments_of_a_quorum_queue_come_before_its_properties(channel: BlockingChannel, name: str) -> None:
    """What is wrong with an argument is told first."""
    with closes(406, "routing_key_but_no_dlx_defined"):
        channel.queue_declare(name, arguments={**QUORUM, "x-dead-letter-routing-key": "k"})


def test_properties_of_a_quorum_queue(channel: BlockingChannel, name: str) -> None:
    """Of the properties that it cannot have, auto-delete is told first."""
    with closes(406, f"invalid property 'auto-delete' for queue '{name}' in vhost '/'"):
        channel.queue_declare(name, exclusive=True, auto_delete=True, arguments=QUORUM)


@pytest.mark.parametrize("how", ["bind", "unbind"])
def test_default_exchange_comes_before_the_queue(channel: BlockingChannel, name: str, how: str) -> None:
    """Nobody may bind to it, or unbind from it, even a queue that does not exist."""
    with closes(403, "operation not permitted on the default exchange"):
        getattr(channel, f"queue_{how}")(name, "", "k")


def test_exchange_comes_before_the_queue(channel: BlockingChannel, names: Names) -> None:
    exchange = names("exchange")
    with closes(404, f"no exchange '{exchange}' in vhost '/'"):
        channel.queue_bind(names("queue"), exchange, "k")


def test_source_comes_before_the_destination(channel: BlockingChannel, names: Names) -> None:
    source = names("source")
    with closes(404, f"no exchange '{source}' in vhost '/'"):
        channel.exchange_bind(names("destination"), source, "k")


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_wrong_extra_keys_are_told_before_the_commit(
    channel: BlockingChannel, queue: str, header: str
) -> None:
    """A transaction does not put off what is wrong with a message."""
    channel.tx_select()
    send(channel, queue, b"x", headers={header: "text"})
    with closes(406, f'invalid message: {{unacceptable_type_in_header,"{header}",longstr}}'):
        roundtrip(channel)
