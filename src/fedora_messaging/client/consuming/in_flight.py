"""Deliveries that are here and not settled."""

from typing import Final

from ...protocol.errors import NOT_ALLOWED, ConnectionError
from ...wire import methods as m
from .stream_position import offset_of

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
