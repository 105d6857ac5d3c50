"""Where a consumer stands in a stream."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...wire.errors import WireError
from ...wire.properties import decode_properties

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET: Final = "x-stream-offset"


class StreamPosition:
    """Where to go on reading a stream (RabbitMQ), whose messages stay in it when they are acknowledged.

    Whatever was delivered and not settled comes again; with several callbacks at once, so may what was
    settled after it.

    Args:
        arguments: Of the first subscription; ``x-stream-offset`` in them says where to begin.
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
        # Until something has come, "next" means: from now on, and not from the next subscription on.
        if self._arguments.get(OFFSET, "next") == "next":
            self._arguments[OFFSET] = datetime.now(UTC)
        return first

    def arrived(self, tag: int, properties: bytes) -> None:
        """A delivery came; its offset is in its headers."""
        offset = offset_of(properties)
        if offset is not None:
            self._unsettled[tag] = offset
            self._next = offset + 1

    def settled(self, tag: int) -> None:
        """It was processed, or is given up."""
        self._unsettled.pop(tag, None)


def offset_of(properties: bytes) -> int | None:
    """Return where in a stream a delivery is, if it is of one."""
    try:
        headers = decode_properties(properties).headers
    except WireError:
        return None
    offset = headers.get(OFFSET) if headers else None
    return offset if isinstance(offset, int) else None


def is_stream(queue_arguments: "Mapping[str, Any]", arguments: "Mapping[str, Any]") -> bool:
    """Whether a queue, or how it is consumed, is said to be a stream."""
    return queue_arguments.get("x-queue-type") == "stream" or OFFSET in arguments
