"""Deliveries that have arrived and are not settled."""

from typing import Final

from ...protocol.errors import NOT_ALLOWED, ConnectionError
from ...wire import methods as m
from .stream_position import offset_of

#: Limit for redeliveries, as a multiple of the prefetch. The new leader of a quorum queue delivers messages
#: again that have arrived already, on the same channel.
_LEADERS: Final = 10
#: How many messages a stream may deliver beyond the prefetch: RabbitMQ always sends a whole chunk of it.
_CHUNK: Final = 65536


class InFlight:
    """The unsettled deliveries of one channel, in order of arrival; times are those of the monotonic clock.

    Args:
        prefetch: How many there may be; 0 means no limit.

    Attributes:
        progress: When the last one was settled, or the first one arrived.
    """

    def __init__(self, prefetch: int = 0) -> None:
        self._arrivals: dict[int, float] = {}
        self._prefetch = prefetch
        self._limit = prefetch
        self.progress: float = 0.0

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, method: m.BasicDeliver, properties: bytes) -> None:
        """Check a delivery before it is kept, so that the prefetch bounds the memory that deliveries take.

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
        """Accept a delivery beyond the limit, if brokers have a reason to send it."""
        most = self._prefetch
        if method.redelivered:
            most *= _LEADERS
        if offset_of(properties) is not None:
            most += _CHUNK
        if len(self._arrivals) >= most:
            raise ConnectionError(
                NOT_ALLOWED,
                f"more deliveries than the prefetch of {self._prefetch} without an acknowledgement",
                m.BasicDeliver,
            )
        self._limit = len(self._arrivals) + 1

    def arrived(self, tag: int, now: float) -> None:
        """Note that a delivery has arrived."""
        if not self._arrivals:
            self.progress = now
        self._arrivals[tag] = now

    def settled(self, tag: int, now: float) -> None:
        """Note that the broker gets the outcome of a delivery."""
        self.progress = now
        self._arrivals.pop(tag, None)

    @property
    def oldest(self) -> float | None:
        """When the oldest one arrived; ``None`` if there is none. Any thread may ask."""
        arrivals = list(self._arrivals.values())
        return arrivals[0] if arrivals else None
