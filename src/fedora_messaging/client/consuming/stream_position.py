"""The position of a consumer in a stream."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...wire.errors import WireError
from ...wire.properties import decode_properties

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET: Final = "x-stream-offset"


class StreamPosition:
    """Where to continue reading a stream of RabbitMQ, which keeps its messages after they are acknowledged.

    Messages that were delivered and not settled come again. With several callbacks at once, so may messages
    that were settled but follow an unsettled one.

    Args:
        arguments: Arguments of the first subscription; their ``x-stream-offset`` says where to begin.
    """

    def __init__(self, arguments: "Mapping[str, Any]") -> None:
        self._arguments = dict(arguments)
        self._unsettled: dict[int, int] = {}
        self._next: int | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the next subscription."""
        position = min(self._unsettled.values(), default=self._next)
        self._unsettled.clear()
        self._next = position
        if position is not None:
            return {**self._arguments, OFFSET: position}
        first = dict(self._arguments)
        # Until a message has arrived, "next" means from this first subscription on, not from a later one on.
        if self._arguments.get(OFFSET, "next") == "next":
            self._arguments[OFFSET] = datetime.now(UTC)
        return first

    def arrived(self, tag: int, properties: bytes) -> None:
        """Note that a delivery has arrived; its offset is in its headers."""
        offset = offset_of(properties)
        if offset is not None:
            self._unsettled[tag] = offset
            self._next = offset + 1

    def settled(self, tag: int) -> None:
        """Note that a delivery was processed or given up."""
        self._unsettled.pop(tag, None)


def offset_of(properties: bytes) -> int | None:
    """Return the offset of a delivery in its stream; ``None`` if it is not from a stream."""
    try:
        headers = decode_properties(properties).headers
    except WireError:
        return None
    offset = headers.get(OFFSET) if headers else None
    return offset if isinstance(offset, int) else None


def is_stream(queue_arguments: "Mapping[str, Any]", arguments: "Mapping[str, Any]") -> bool:
    """Whether the arguments of a queue, or of its subscription, are those of a stream."""
    return queue_arguments.get("x-queue-type") == "stream" or OFFSET in arguments
