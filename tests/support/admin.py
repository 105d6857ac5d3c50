"""An independent client, pika, to look at a broker from outside; names that no other test uses."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import AMQPChannelError, AMQPConnectionError
from tests.support.waiting import WAIT

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

    from fedora_messaging.message import Message


def connect(url: str, **settings: Any) -> BlockingConnection:
    """Open a pika connection; settings are attributes of `pika.ConnectionParameters`."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    parameters.blocked_connection_timeout = WAIT
    for setting, value in settings.items():
        setattr(parameters, setting, value)
    return pika.BlockingConnection(parameters)


def close_quietly(connection: BlockingConnection) -> None:
    """Close a connection that the test may have closed or lost already."""
    with suppress(AMQPConnectionError, AMQPChannelError):
        connection.close()


def properties_of(message: Message, **headers: Any) -> pika.BasicProperties:
    """What this library would send with a message, perhaps with other headers."""
    return pika.BasicProperties(
        message_id=message.id,
        headers={**message._headers, **headers},
        content_encoding="utf-8",
        delivery_mode=2,
    )


class Names:
    """Makes names that no other test uses, and at the end deletes the queues and exchanges that bear them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[str] = []

    def __call__(self, label: str = "") -> str:
        made = f"behaviour.{uuid.uuid4().hex}{label and '.'}{label}"
        self._made.append(made)
        return made

    def keep(self, queue: str) -> str:
        """Have a queue with a name made by the broker deleted too."""
        self._made.append(queue)
        return queue

    def delete_all(self) -> None:
        if not self._made:
            return
        with connect(self._url) as connection:
            channel = connection.channel()
            for made in self._made:
                channel.queue_delete(made)
                channel.exchange_delete(made)


class Admin:
    """Looks at, and changes, queues by an independent client, connected when first used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    @property
    def channel(self) -> BlockingChannel:
        """A channel in confirm mode: a publish on it returns when the broker has it."""
        if self._connection is None or self._connection.is_closed:
            self._connection = connect(self._url)
        if self._channel is None or self._channel.is_closed:
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def declare(self, name: str, **arguments: Any) -> str:
        """Declare a queue as :func:`plan` does and bind it for its messages."""
        self.channel.queue_declare(name, durable=True, arguments=arguments)
        self.channel.queue_bind(name, "amq.topic", f"{name}.#")
        return name

    def ready(self, queue: str) -> int:
        """How many messages wait in the queue."""
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def consumers(self, queue: str) -> int:
        """How many consumers the queue has."""
        count: int = self.channel.queue_declare(queue, passive=True).method.consumer_count
        return count

    def publish(self, queue: str, body: bytes, properties: pika.BasicProperties | None = None) -> None:
        """Put a message into a queue, right or wrong."""
        self.channel.basic_publish("", queue, body, properties)

    def take(self, queue: str) -> list[bytes]:
        """Empty the queue of its ready messages."""
        found: list[bytes] = []
        while True:
            method, _, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append(body)

    def delete(self, queue: str) -> None:
        """Delete a queue."""
        self.channel.queue_delete(queue)

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
