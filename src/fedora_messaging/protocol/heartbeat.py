"""Heartbeats (AMQP 0-9-1 section 4.2.7)."""

from enum import Enum


class Beat(Enum):
    """What the clock asks for."""

    NOTHING = "nothing"
    SEND = "send"
    DEAD = "dead"


class Heartbeat:
    """Says when to send a heartbeat and when the peer counts as dead.

    We send after half an interval of silence of our own; the peer is dead after two intervals in
    which not one byte came, unless we are not listening. An interval of 0 switches both off.
    """

    __slots__ = ("_listening", "_received", "_sent", "interval")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._listening = True
        self._received = now
        self._sent = now

    def received(self, now: float) -> None:
        """Any bytes came."""
        self._received = now

    def sent(self, now: float) -> None:
        """Any bytes went."""
        self._sent = now

    def listen(self, listening: bool, now: float) -> None:
        """Bytes of the peer are read from now on, or are not."""
        self._listening = listening
        self._received = now

    def next_deadline(self) -> float | None:
        """When to call :meth:`poll` next; ``None`` never."""
        if not self.interval:
            return None
        next_beat = self._sent + self.interval / 2
        return min(next_beat, self._received + self.interval * 2) if self._listening else next_beat

    def poll(self, now: float) -> Beat:
        """Say what is due at ``now``."""
        if not self.interval:
            return Beat.NOTHING
        if self._listening and now >= self._received + self.interval * 2:
            return Beat.DEAD
        if now >= self._sent + self.interval / 2:
            return Beat.SEND
        return Beat.NOTHING
