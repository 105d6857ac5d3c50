"""Connections that have not logged in: how many there may be, and how fast they may guess passwords."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..logs import logger

if TYPE_CHECKING:
    from .session import Session

_log = logger(__name__)

#: Most connections that may be about to log in; one that does so takes milliseconds.
_MOST: Final = 500
#: How many logins of an address may be refused within a minute before the refusals are delayed.
_FREE_REFUSALS: Final = 10
#: Seconds until a further refusal is told.
_DELAY: Final = 3.0
#: Seconds after which refusals are forgotten.
_MEMORY: Final = 60.0
#: Of how many addresses the refusals are remembered.
_ADDRESSES: Final = 1024


class Strangers:
    """Keeps connections that have not logged in from using up the broker, or trying password after password.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[Session, None] = {}
        # Whether the log says already that there are too many.
        self._is_flood = False
        # The number of refusals of an address, and when the first of them was.
        self._refused: OrderedDict[str | None, tuple[int, float]] = OrderedDict()

    def came(self, session: "Session") -> None:
        """Note a new connection; if there are too many, the oldest is cut."""
        self._waiting[session] = None
        if len(self._waiting) > _MOST:
            oldest = next(iter(self._waiting))
            self.went(oldest)
            if not self._is_flood:
                _log.warning(
                    "%s connections have not logged in: the oldest, from %s, is cut, and so are others while "
                    "there are so many",
                    _MOST + 1,
                    oldest.peer,
                )
            self._is_flood = True
            oldest.abort()

    def went(self, session: "Session") -> None:
        """Note that a connection has logged in, or has ended."""
        self._waiting.pop(session, None)
        if len(self._waiting) <= _MOST // 2:
            self._is_flood = False

    def delay_of_refusal(self, address: str | None) -> float:
        """Note a refused login; returns after how many seconds to tell the client."""
        now = self._clock()
        count, since = self._refused.pop(address, (0, now))
        if now - since >= _MEMORY:
            count, since = 0, now
        self._refused[address] = (count + 1, since)
        if len(self._refused) > _ADDRESSES:
            self._refused.popitem(last=False)
        return _DELAY if count >= _FREE_REFUSALS else 0.0
