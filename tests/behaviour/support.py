"""What the behaviour tests share: the broker's type, close assertions, message helpers, deadlines."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pika
import pytest
from pika.exceptions import ChannelClosed, ConnectionClosed
from tests.behaviour.peer import WAIT, ClosedByBrokerError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from tests.support.brokers import Broker


ResultT = TypeVar("ResultT")


def since(broker: Broker, start: tuple[int, int], new: ResultT, old: ResultT) -> ResultT:
    """Choose what a broker of this version is expected to do.

    Args:
        broker: The broker under test.
        start: First version that does the new thing, as far as known: the suite has seen 3.10, 4.0 and 4.3,
            so a change that came between two of them bears the number of the later one.
        new: Expectation from that version on.
        old: Expectation before.
    """
    return new if broker.version >= start else old


def smallest_frame(broker: Broker) -> int:
    """The smallest frame-max that a client may ask for."""
    return since(broker, (4, 1), 8192, 4096)


CHANNEL_CODES = frozenset({311, 313, 403, 404, 405, 406})
"""Reply codes that cost the channel only; all others cost the connection."""


@dataclass
class Closed:
    """What `closes` caught; filled when its block has ended."""

    text: str = ""


@contextmanager
def closes(code: int, text: str = "", *, on_channel: bool | None = None) -> Iterator[Closed]:
    """The block ends in a close by the broker with this code, a text with this fragment, on the right level.

    Args:
        code: Reply code.
        text: Part of the reply text.
        on_channel: Whether the channel is closed rather than the connection; by default the code tells.

    Yields:
        The reply text, for further checks after the block.
    """
    closed = Closed()
    with pytest.raises((ChannelClosed, ConnectionClosed, ClosedByBrokerError)) as caught:
        yield closed
    error = caught.value
    closed.text = error.reply_text
    level = error.on_channel if isinstance(error, ClosedByBrokerError) else isinstance(error, ChannelClosed)
    assert (error.reply_code, text in error.reply_text) == (code, True), f"{error!r} is not {code} {text!r}"
    assert level == (code in CHANNEL_CODES if on_channel is None else on_channel)


def roundtrip(channel: BlockingChannel) -> None:
    """Wait until the broker has worked through all this channel sent; raises if it closed the channel."""
    channel.exchange_declare("amq.direct", passive=True)


def ready(channel: BlockingChannel, queue: str) -> int:
    """Number of ready messages."""
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def consumers(channel: BlockingChannel, queue: str) -> int:
    """Number of consumers."""
    count: int = channel.queue_declare(queue, passive=True).method.consumer_count
    return count


def exists(connection: BlockingConnection, queue: str) -> bool:
    """Whether a queue exists, seen from a channel of its own."""
    return _declares(connection, lambda channel: channel.queue_declare(queue, passive=True))


def vanished(connection: BlockingConnection, queue: str) -> bool:
    """Whether a queue is gone; while it is the exclusive queue of another connection, the answer is 405."""
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelClosed as error:
        assert error.reply_code in {404, 405}
        return bool(error.reply_code == 404)
    channel.close()
    return False


def let_exclusive_queues_go(broker: Broker, connection: BlockingConnection, *queues: str) -> None:
    """Give the exclusive queues of a closed connection the time they need to vanish.

    Others delete them before their close-ok, and get no time; RabbitMQ 4.3 does so a moment after it.
    """
    if broker.version >= (4, 3):
        for queue in queues:
            eventually(partial(vanished, connection, queue))


def exchange_exists(connection: BlockingConnection, exchange: str) -> bool:
    """Whether an exchange exists, seen from a channel of its own."""
    return _declares(connection, lambda channel: channel.exchange_declare(exchange, passive=True))


def _declares(connection: BlockingConnection, declare: Callable[[BlockingChannel], object]) -> bool:
    channel = connection.channel()
    try:
        declare(channel)
    except ChannelClosed as error:
        assert error.reply_code == 404
        return False
    channel.close()
    return True


def send(channel: BlockingChannel, queue: str, *bodies: bytes | str, **properties: Any) -> None:
    """Publish bodies to a queue through the default exchange."""
    for body in bodies:
        channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as basic.deliver or basic.get-ok brought it."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Any
    body: bytes
    consumer: str = ""
    left: int = -1

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}


def get(channel: BlockingChannel, queue: str, *, auto_ack: bool = False) -> Delivery | None:
    """basic.get; None if the queue is empty."""
    method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
    if method is None:
        return None
    return Delivery(
        method.delivery_tag,
        method.redelivered,
        method.exchange,
        method.routing_key,
        properties,
        body,
        left=method.message_count,
    )


def take(channel: BlockingChannel, queue: str, *, auto_ack: bool = False) -> Delivery:
    """basic.get, repeated until there is a message."""
    return eventually(lambda: get(channel, queue, auto_ack=auto_ack))


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Empty the queue."""
    found = []
    while message := get(channel, queue, auto_ack=True):
        found.append(message.body)
    return found


@dataclass
class Inbox:
    """A consumer that notes what it gets."""

    channel: Any
    queue: str
    into: list[Delivery] = field(default_factory=list)
    tag: str = ""

    @classmethod
    def on(
        cls, channel: BlockingChannel, queue: str, into: list[Delivery] | None = None, **options: Any
    ) -> Inbox:
        """Subscribe; options are those of `basic_consume`.

        Args:
            channel: Channel to consume on.
            queue: Queue to consume.
            into: A list shared with other consumers, to see the order among them.
            **options: As in auto_ack=True.
        """
        inbox = cls(channel, queue, [] if into is None else into)
        inbox.tag = channel.basic_consume(queue, inbox._note, **options)
        return inbox

    def _note(self, _channel: object, method: Any, properties: object, body: bytes) -> None:
        self.into.append(
            Delivery(
                method.delivery_tag,
                method.redelivered,
                method.exchange,
                method.routing_key,
                properties,
                body,
                method.consumer_tag,
            )
        )

    def wait(self, count: int, timeout: float = WAIT) -> list[Delivery]:
        """Wait until this many deliveries came in all; more are an error."""
        deadline = time.monotonic() + timeout
        while len(self.into) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self.into)} deliveries of {count}"
            self.channel.connection.process_data_events(time_limit=min(left, 0.05))
        self.settle()
        assert len(self.into) == count
        return self.into

    def settle(self) -> None:
        """Take in what the broker sent so far."""
        roundtrip(self.channel)
        self.channel.connection.process_data_events(time_limit=0)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.into]
