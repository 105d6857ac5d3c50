"""One message on its way to the broker, and its encoding."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...exceptions import EncodingError, PublishTimeout
from ...limits import FRAME_MAX
from ...message import Message
from ...protocol.events import ContentReceived
from ...wire import methods as m
from ...wire.errors import WireError
from ...wire.frames import CONTENT_HEADER_SIZE, OVERHEAD
from ...wire.properties import decode_properties
from ...wire.property_codec import encode_properties

OnOutcome = Callable[[Exception | None], None]


class Outgoing:
    """One publish on its way.

    Attributes:
        exchange: Exchange that it is published to.
        routing_key: Routing key that it is published with.
        on_outcome: Called exactly once, in the event loop: with ``None`` when the broker has confirmed,
            otherwise with the error.
        abandoned: Whether the caller gave up waiting; then the message is not sent (again).
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
        "on_outcome",
        "properties",
        "routing_key",
    )

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        method: bytes,
        properties: bytes,
        body: bytes,
        on_outcome: OnOutcome,
        mandatory: bool = False,
    ) -> None:
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.mandatory: bool = mandatory
        self.method: bytes = method
        self.properties: bytes = properties
        self.body: bytes = body
        self.on_outcome: OnOutcome = on_outcome
        self.abandoned: bool = False
        self.attempts: int = 0
        # Set by basic.return, which comes before the confirm.
        self.error: Exception | None = None

    def abandon(self) -> None:
        """Note that the caller gave up waiting. Any thread may call this."""
        self.abandoned = True

    def release(self) -> None:
        """Free the body of an abandoned publish; to be called in the event loop.

        The properties stay, because their message id identifies the message if the broker returns it.
        """
        self.body = b""

    def expire(self, timeout: float, blocked: str | None, trouble: str = "") -> PublishTimeout:
        """Abandon it because its time is over; returns the exception for the caller.

        Any thread may call this.

        Args:
            timeout: The time limit that is over, in seconds.
            blocked: Why the broker accepts no publishes, or ``None`` if it does.
            trouble: Why there is no connection; empty if there is one.
        """
        self.abandon()
        # Read `attempts` only after abandoning: see :meth:`begin`.
        error = timed_out(timeout)
        error.sent = self.attempts > 0
        if blocked is not None:
            error.add_note(f"The broker blocks publishing: {blocked}")
        if trouble:
            error.add_note(trouble)
        return error

    def begin(self) -> bool:
        """Count an attempt, unless the publish is abandoned; returns whether to send it."""
        # The broker may have returned it on another connection.
        self.error = None
        # Count first, then look at `abandoned`. Another thread may abandon the publish at this moment: it
        # sets `abandoned` first and then looks at `attempts`. So it learns of the attempt, or there is none.
        self.attempts += 1
        return not self.abandoned

    def may_be(self, returned: ContentReceived, method: m.BasicReturn) -> bool:
        """Whether this publish may be the one that the broker returns.

        This compares only the parts that no broker changes. The header table is not among them: RabbitMQ 4
        sorts it, and every RabbitMQ sorts it when it removes the header ``BCC``.

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
        # The machine discards a body that is too large; ours is gone if the publish was abandoned.
        return body is None or self.body == body or (self.abandoned and not self.body)


def timed_out(timeout: float | None) -> PublishTimeout:
    """Return the error of a publish whose time limit, in seconds, is over; it may have been sent."""
    return PublishTimeout(f"Publishing timed out after waiting {timeout} seconds.")


def _message_id(properties: bytes) -> str | None:
    try:
        return decode_properties(properties).message_id
    except WireError:
        return None


class Encoded(NamedTuple):
    """A message in the form in which it is sent.

    Attributes:
        exchange: Exchange to publish to.
        routing_key: Topic with its prefix.
        method: ``basic.publish``, encoded.
        properties: The properties, encoded.
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
        TypeError: The body holds a value that JSON cannot express, or the exchange is not a text.
    """
    if not isinstance(exchange, str):
        raise TypeError(f"the exchange must be text, but is a {type(exchange).__name__}")
    routing_key = message._encoded_routing_key
    method = m.BasicPublish(exchange, routing_key, mandatory).encode()
    properties = encode_properties(message._properties)
    if CONTENT_HEADER_SIZE + len(properties) > FRAME_MAX - OVERHEAD:
        # No connection can send it. A connection may have a smaller limit, which is checked when sending.
        raise EncodingError(
            f"the headers and other properties of the message take {len(properties)} bytes, but AMQP has "
            f"room for {FRAME_MAX - OVERHEAD - CONTENT_HEADER_SIZE}; make them shorter, or move what is long "
            "to the body"
        )
    return Encoded(exchange, routing_key, method, properties, message._encoded_body, mandatory)


def outgoing(encoded: Encoded, on_outcome: OnOutcome) -> Outgoing:
    """Make a publish of a message."""
    exchange, routing_key, method, properties, body, mandatory = encoded
    return Outgoing(exchange, routing_key, method, properties, body, on_outcome, mandatory)
