"""A delivery, and decoding it into a message."""

import asyncio
from typing import Final, NamedTuple

from ...exceptions import ValidationError
from ...logs import CONSUMER, logger
from ...message import Message, get_message
from ...printable import printable
from ...wire.errors import WireError
from ...wire.properties import decode_properties
from .history import History
from .stats import ConsumerStats

_log = logger(CONSUMER)

#: Largest body that the event loop decodes and checks itself, in bytes; that takes some milliseconds.
_LARGE: Final = 65536


class Raw:
    """A delivery as it arrived, not decoded yet.

    Attributes:
        exchange: Exchange that it was published to.
        epoch: Number of the subscription that it arrived on; its tag is valid there only.
    """

    __slots__ = (
        "_history",
        "body",
        "epoch",
        "exchange",
        "properties",
        "queue",
        "redelivered",
        "routing_key",
        "tag",
    )

    def __init__(
        self,
        epoch: int,
        tag: int,
        queue: str,
        exchange: str,
        routing_key: str,
        redelivered: bool,
        properties: bytes,
        body: bytes | None,
    ) -> None:
        self.epoch: int = epoch
        self.tag: int = tag
        self.queue: str = queue
        self.exchange: str = exchange
        self.routing_key: str = routing_key
        self.redelivered: bool = redelivered
        self.properties: bytes = properties
        self.body: bytes | None = body
        self._history: History | None = None

    @property
    def history(self) -> History:
        """Its origin and earlier attempts; complete once the delivery is decoded."""
        return self._history or History(self.queue, self.exchange, self.routing_key)

    def decode(self) -> Message:
        """Build the message.

        Raises:
            ValidationError: The delivery is not a valid message.
        """
        if self.body is None:
            raise ValidationError("the body is larger than this client takes").of_kind("size")
        try:
            properties = decode_properties(self.properties)
        except WireError as error:
            text = f"the properties cannot be decoded: {error.text}"
            raise ValidationError(text).of_kind("properties") from error
        topic = self.routing_key
        if not self.exchange:  # only what was published to a queue itself may have come back
            self._history = self.history.taken_from(properties)
            topic = self._history.topic
        message = get_message(topic, properties, self.body)
        message.queue = self.queue
        return message


class Invalid(NamedTuple):
    """The result of :func:`receive` for an invalid message.

    Attributes:
        why: What is wrong with it, safe to print.
    """

    why: str


def is_large(raw: Raw) -> bool:
    """Whether building the message may take too long for an event loop."""
    return raw.body is not None and len(raw.body) > _LARGE


async def receive_aside(raw: Raw, stats: ConsumerStats) -> Message | Invalid:
    """As :func:`receive`, for callers in an event loop: a large message is built in a thread."""
    if is_large(raw):
        return await asyncio.to_thread(receive, raw, stats)
    return receive(raw, stats)


def receive(raw: Raw, stats: ConsumerStats) -> Message | Invalid:
    """Build the message; count and log an invalid one, and return :class:`Invalid`."""
    try:
        message = raw.decode()
        _log.info("Consuming message from topic %r (message id %r)", message.topic, message.id)
    except Exception as error:  # a ValidationError, or an exception from an attribute of a schema class
        stats.invalid += 1
        kind = error.kind if isinstance(error, ValidationError) else "class"
        stats.invalid_kinds[kind] += 1
        explanation = printable(error.summary if isinstance(error, ValidationError) else error)
        _log.warning(
            "A message on queue %r with topic %r did not pass validation; ignoring message (%s): %s",
            raw.queue,
            raw.routing_key,
            kind,
            explanation,
        )
        return Invalid(explanation)
    stats.received += 1
    stats.redelivered += raw.redelivered
    return message
