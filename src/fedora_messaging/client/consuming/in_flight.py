"""Deliveries that are here and not settled, and where a stream goes on."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...protocol.errors import NOT_ALLOWED, ConnectionError
from ...wire import methods as m
from ...wire.errors import WireError
from ...wire.properties import decode_properties

if TYPE_CHECKING:
    from collections.abc import Mapping

OFFSET: Final = "x-stream-offset"

#: How many times the prefetch may be here because of redeliveries. When a quorum queue gets a new leader,
#: that one delivers again what is here already, on the same channel.
_LEADERS: Final = 10
#: How many more than the prefetch a stream may deliver: RabbitMQ sends a chunk of it as a whole.
_CHUNK: Final = 65536


class InFlight:
    """The unsettled deliveries of one channel, in order of arrival; times are those of the monotonic clock.

    Args:
        prefetch: How many there may be; 0 is no limit.

    Attributes:
        progress: When the last one was settled, or the first one came.
    """

    def __init__(self, prefetch: int = 0) -> None:
        self._arrivals: dict[int, float] = {}
        self._prefetch = prefetch
        self._limit = prefetch
        self.progress = 0.0

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, method: m.BasicDeliver, properties: bytes) -> None:
        """Look at a delivery before it is kept: what is kept is bounded by the prefetch.

        Raises:
            ConnectionError: The broker delivers more than it was asked for, or uses a tag twice.
        """
        if method.delivery_tag in self._arrivals:
            raise ConnectionError(
                NOT_ALLOWED,
                f"delivery tag {method.delivery_tag} was used again before it was settled",
                m.BasicDeliver,
            )
        if self._limit and len(self._arrivals) >= self._limit:
            self._exceed(method, properties)

    def _exceed(self, method: m.BasicDeliver, properties: bytes) -> None:
        """Let one more in than the limit is, if brokers have a reason to send it."""
        most = self._prefetch
        if method.redelivered:
            most *= _LEADERS
        if _offset(properties) is not None:
            most += _CHUNK
        if len(self._arrivals) >= most:
            raise ConnectionError(
                NOT_ALLOWED,
                f"more deliveries than the prefetch of {self._prefetch} without an acknowledgement",
                m.BasicDeliver,
            )
        self._limit = len(self._arrivals) + 1

    def arrived(self, tag: int, now: float) -> None:
        """A delivery came."""
        if not self._arrivals:
            self.progress = now
        self._arrivals[tag] = now

    def settled(self, tag: int, now: float) -> None:
        """The broker is told what became of it."""
        self.progress = now
        self._arrivals.pop(tag, None)

    def clear(self) -> None:
        """The broker takes all back."""
        self._arrivals.clear()
        self._limit = self._prefetch

    @property
    def oldest(self) -> float | None:
        """When the oldest one came; ``None`` without any. For any thread."""
        arrivals = list(self._arrivals.values())
        return arrivals[0] if arrivals else None


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
        offset = _offset(properties)
        if offset is not None:
            self._unsettled[tag] = offset
            self._next = offset + 1

    def settled(self, tag: int) -> None:
        """It was processed, or is given up."""
        self._unsettled.pop(tag, None)


def _offset(properties: bytes) -> int | None:
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
