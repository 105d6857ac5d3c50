"""Heartbeats (AMQP 0-9-1 section 4.2.7)."""

from enum import Enum


class Beat(Enum):
    """What is due."""

    NOTHING = "nothing"
    SEND = "send"
    DEAD = "dead"


class Heartbeat:
    """Decides when to send a heartbeat and when the peer counts as dead.

    A heartbeat is due half an interval after our last bytes. The peer counts as dead after two intervals
    without a byte from it, unless we are not reading. An interval of 0 switches both off.
    """

    __slots__ = ("_listening", "_received", "_sent", "interval")

    def __init__(self, interval: float, now: float) -> None:
        self.interval: float = interval
        self._listening = True
        self._received = now
        self._sent = now

    def received(self, now: float) -> None:
        """Note that bytes have arrived."""
        self._received = now

    def sent(self, now: float) -> None:
        """Note that bytes were sent."""
        self._sent = now

    def listen(self, listening: bool, now: float) -> None:
        """Note whether the peer's bytes are read from now on."""
        self._listening = listening
        self._received = now

    def next_deadline(self) -> float | None:
        """When to call :meth:`poll` next; ``None`` means never."""
        if not self.interval:
            return None
        next_beat = self._sent + self.interval / 2
        return min(next_beat, self._received + self.interval * 2) if self._listening else next_beat

    def poll(self, now: float) -> Beat:
        """Return what is due at ``now``."""
        if not self.interval:
            return Beat.NOTHING
        if self._listening and now >= self._received + self.interval * 2:
            return Beat.DEAD
        if now >= self._sent + self.interval / 2:
            return Beat.SEND
        return Beat.NOTHING
