"""One message on its way to the broker."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...exceptions import EncodingError, PublishTimeout
from ...message import Message
from ...options import FRAME_MAX
from ...protocol.events import ContentReceived
from ...wire import methods as m
from ...wire.errors import WireError
from ...wire.frames import CONTENT_HEADER_SIZE, OVERHEAD
from ...wire.properties import decode_properties, encode_properties

Settled = Callable[[Exception | None], None]


class Outgoing:
    """One publish on its way.

    Attributes:
        exchange: Where it is published to.
        routing_key: With what routing key.
        settled: Called exactly once, in the event loop, with ``None`` when the broker has confirmed,
            or else with the reason.
        abandoned: True if the caller gave up waiting; then the message is not sent (again).
        attempts: How often it was sent.
    """

    __slots__ = (
        "abandoned",
        "attempts",
        "body",
        "error",
        "exchange",
        "mandatory",
        "method",
        "properties",
        "routing_key",
        "settled",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        method: bytes,
        properties: bytes,
        body: bytes,
        settled: Settled,
        mandatory: bool = False,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.method = method
        self.properties = properties
        self.body = body
        self.settled = settled
        self.abandoned = False
        self.attempts = 0
        # Set by basic.return, which comes before the confirm.
        self.error: Exception | None = None

    def abandon(self) -> None:
        """Note that the caller gave up waiting. Callable from any thread."""
        self.abandoned = True

    def release(self) -> None:
        """Free the body, the publish having been abandoned; to be called in the event loop.

        The properties stay: they tell a returned message from others that are equal to it but for their id.
        """
        self.body = b""

    def expire(self, timeout: float, blocked: str | None, trouble: str = "") -> PublishTimeout:
        """Abandon it because its time is over; returns the exception for the caller.

        Callable from any thread.

        Args:
            timeout: The seconds.
            blocked: Why the broker takes no publishes, or ``None`` if it does.
            trouble: Why there is no connection; empty if there is one.
        """
        self.abandon()
        # After the line above: see :meth:`begin`.
        error = PublishTimeout(f"Publishing timed out after waiting {timeout} seconds.")
        error.sent = self.attempts > 0
        if blocked is not None:
            error.add_note(f"The broker blocks publishing: {blocked}")
        if trouble:
            error.add_note(trouble)
        return error

    def begin(self) -> bool:
        """Count an attempt, unless it is abandoned; returns whether to send it."""
        # The broker may have returned it on another connection.
        self.error = None
        # In this order, and in the opposite one where it is abandoned, perhaps at this moment by another
        # thread: so either that thread learns of the attempt, or there is none.
        self.attempts += 1
        return not self.abandoned

    def may_be(self, returned: ContentReceived, method: m.BasicReturn) -> bool:
        """Whether this publish may be the one that the broker returns.

        Compares what no broker changes. The header table is not that: RabbitMQ 4 sorts it, and every RabbitMQ
        does so when it takes the header ``BCC`` out.

        Args:
            returned: The returned content.
            method: Its method.
        """
        return (
            self.mandatory
            and self.error is None
            and self.routing_key == method.routing_key
            and self.exchange == method.exchange
            and self._has_body(returned.body)
            and _message_id(self.properties) == _message_id(returned.properties)
        )

    def _has_body(self, body: bytes | None) -> bool:
        # The machine throws a body away that is too large; ours is gone when the publish was abandoned.
        return body is None or self.body == body or (self.abandoned and not self.body)


def _message_id(properties: bytes) -> str | None:
    try:
        return decode_properties(properties).message_id
    except WireError:
        return None


class Encoded(NamedTuple):
    """A message as it is sent.

    Attributes:
        exchange: Exchange to publish to.
        routing_key: Topic with its prefix.
        method: ``basic.publish``, encoded.
        properties: Encoded.
        body: The body.
        mandatory: Whether a queue must be bound for it.
    """

    exchange: str
    routing_key: str
    method: bytes
    properties: bytes
    body: bytes
    mandatory: bool


def encode(message: Message, exchange: Any, mandatory: bool) -> Encoded:
    """Encode a message once, however often it has to be sent.

    Raises:
        EncodingError: The topic is too long, a header has a type that AMQP lacks, or the headers are larger
            than any frame.
        TypeError: The body holds something that JSON lacks, or the exchange is no text.
    """
    if not isinstance(exchange, str):
        raise TypeError(f"the exchange must be text, but is a {type(exchange).__name__}")
    routing_key = message._encoded_routing_key
    method = m.BasicPublish(exchange, routing_key, mandatory).encode()
    properties = encode_properties(message._properties)
    if CONTENT_HEADER_SIZE + len(properties) > FRAME_MAX - OVERHEAD:
        # No connection ever takes it; a smaller frame_max is known when there is one.
        raise EncodingError(
            f"the headers and other properties of the message take {len(properties)} bytes, but AMQP has "
            f"room for {FRAME_MAX - OVERHEAD - CONTENT_HEADER_SIZE}; make them shorter, or move what is long "
            "to the body"
        )
    return Encoded(exchange, routing_key, method, properties, message._encoded_body, mandatory)


def outgoing(encoded: Encoded, settled: Settled) -> Outgoing:
    """Make a publish of a message."""
    exchange, routing_key, method, properties, body, mandatory = encoded
    return Outgoing(exchange, routing_key, method, properties, body, settled, mandatory)
