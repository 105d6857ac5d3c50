"""A delivery, and how its processing ends."""

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

#: Bytes of a body up to which it is decoded and checked in the event loop: some milliseconds.
_LARGE: Final = 65536


class Raw:
    """A delivery as it came.

    Attributes:
        exchange: Exchange it was published to.
        epoch: Which of the consumer's channels it came on; its tag means nothing on another.
        history: Where it came from; known in full once it is decoded.
    """

    __slots__ = (
        "body",
        "epoch",
        "exchange",
        "history",
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
        self.epoch = epoch
        self.tag = tag
        self.queue = queue
        self.exchange = exchange
        self.routing_key = routing_key
        self.redelivered = redelivered
        self.properties = properties
        self.body = body
        self.history = History(queue, exchange, routing_key)

    def decode(self) -> Message:
        """Build the message.

        Raises:
            ValidationError: It is no valid message, in whatever way.
        """
        if self.body is None:
            raise ValidationError("the body is larger than this client takes").of_kind("size")
        try:
            properties = decode_properties(self.properties)
        except WireError as error:
            text = f"the properties cannot be decoded: {error.text}"
            raise ValidationError(text).of_kind("properties") from error
        self.history = self.history.taken_from(properties)
        message = get_message(self.history.topic, properties, self.body)
        message.queue = self.queue
        return message


class Invalid(NamedTuple):
    """What :func:`receive` returns in place of a message that is none.

    Attributes:
        why: What is wrong with it, fit to be shown.
    """

    why: str


def is_large(raw: Raw) -> bool:
    """Whether to build the message may take so long that an event loop should not do it."""
    return raw.body is not None and len(raw.body) > _LARGE


async def receive_aside(raw: Raw, stats: ConsumerStats) -> Message | Invalid:
    """As :func:`receive`, but what may take long is done in a thread, for callers in an event loop."""
    if is_large(raw):
        return await asyncio.to_thread(receive, raw, stats)
    return receive(raw, stats)


def receive(raw: Raw, stats: ConsumerStats) -> Message | Invalid:
    """Build the message; an invalid one is counted and logged, and an :class:`Invalid` returned."""
    try:
        message = raw.decode()
        _log.info("Consuming message from topic %r (message id %r)", message.topic, message.id)
    except Exception as error:  # a ValidationError, or what an attribute of a schema class raises
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
