"""The timer of a queue, for work that no client causes: expiring messages, or the queue itself."""

from collections.abc import Callable

from .message import Entry


class QueueTimer:
    """Asks for a call at the next time at which a message or the queue itself expires.

    Args:
        expires: Milliseconds that the queue may be unused; ``None`` means for ever.
        clock: Returns the time in seconds.
        schedule: Asks for a call at a given time.
    """

    __slots__ = ("_clock", "_expires", "_last_used", "_schedule", "_scheduled")

    def __init__(
        self, expires: int | None, clock: Callable[[], float], schedule: Callable[[float], None]
    ) -> None:
        self._expires = None if expires is None else expires / 1000
        self._clock = clock
        self._schedule = schedule
        self._last_used = clock()
        self._scheduled: float | None = None

    def change_expiry(self, expires: int | None) -> None:
        """Set another time that the queue may be unused, in milliseconds; it counts from now."""
        self._expires = None if expires is None else expires / 1000
        self.touch()

    def touch(self) -> None:
        """Begin ``x-expires`` anew, because the queue was used."""
        self._last_used = self._clock()
        self.ask_for_expiry()

    def ask_for_expiry(self) -> None:
        """Ask for a call when the queue will have been unused for too long."""
        if self._expires is not None:
            self._ask(self._last_used + self._expires)

    def ask_for(self, head: Entry | None) -> None:
        """Ask for a call when the first message expires."""
        if head is not None and head.expires_at is not None:
            self._ask(head.expires_at)

    def came(self) -> None:
        """Note that the time of the call has come."""
        self._scheduled = None

    def is_unused(self, when: float) -> bool:
        """Whether the queue has been unused for too long at a given time."""
        return self._expires is not None and when >= self._last_used + self._expires

    def _ask(self, when: float) -> None:
        if self._scheduled is None or when < self._scheduled:
            self._scheduled = when
            self._schedule(when)
