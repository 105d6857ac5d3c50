"""Users who have signed in."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

#: Seconds without a request after which a session ends.
_IDLE: Final = 8 * 3600.0
#: Seconds after which the broker is asked whether the user is still let in.
CHECK: Final = 30.0
#: Most sessions at once; the one that was idle longest makes room.
_MOST: Final = 1000
#: Tags of users who may change what their permissions allow; ``monitoring`` alone is for looking.
_CHANGING: Final = frozenset({"administrator", "policymaker", "management"})


@dataclass(slots=True)
class Session:
    """A user who has signed in.

    Attributes:
        name: Name of the user.
        password: Password, which the management API needs with each request.
        tags: Tags of the user.
        used_at: When the last request came.
        checked_at: When the broker has last let the user in.
    """

    name: str
    password: str = field(repr=False)
    tags: frozenset[str]
    used_at: float
    checked_at: float

    @property
    def may_change(self) -> bool:
        """Whether the user's tags are for more than looking."""
        return bool(self.tags & _CHANGING)


class Sessions:
    """The sessions, in memory only: they end with the process.

    Attributes:
        clock: Tells the seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, name: str, password: str, tags: frozenset[str]) -> str:
        """Begin a session and return its token."""
        token = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MOST:
            self._sessions.popitem(last=False)
        self._sessions[token] = Session(name, password, tags, self.clock(), self.clock())
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a token, if it has not ended."""
        session = self._sessions.get(token)
        if session is None:
            return None
        now = self.clock()
        if now - session.used_at > _IDLE:
            del self._sessions[token]
            return None
        session.used_at = now
        self._sessions.move_to_end(token)
        return session

    def is_due(self, session: Session) -> bool:
        """Whether it is time to ask the broker again; if so, the next time is later."""
        now = self.clock()
        if now - session.checked_at < CHECK:
            return False
        session.checked_at = now
        return True

    def end(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(token, None)
