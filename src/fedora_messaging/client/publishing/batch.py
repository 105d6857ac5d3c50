"""Many publishes whose outcomes one caller waits for."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from ...exceptions import OutboxError, PublishTimeout
from .outgoing import Encoded, OnOutcome, Outgoing, outgoing

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

#: Publishes of a batch that may be on their way at once: with more, brokers are no faster.
WINDOW: Final = 1000

_UNKNOWN: Final = object()


class Batch:
    """The outcomes of publishes, in the order of the messages.

    One thread adds publishes and waits. Their outcomes may come from another one.

    Args:
        wake: Called when no more publishes are on their way than `is_down_to` was asked for.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._outcomes: list[object] = []
        # Publishes without an outcome, by place; None stands for one that is not the publisher's.
        self._on_way: dict[int, Outgoing | None] = {}
        self._awaited = -1

    @property
    def is_full(self) -> bool:
        """Whether the next publish has to wait until others have their outcomes."""
        return len(self._on_way) >= WINDOW

    def publish(self, encoded: Encoded) -> Outgoing:
        """Add a publish, and return what the publisher takes."""
        place = self._place()
        out = outgoing(encoded, lambda error: self._settle(place, error))
        self._on_way[place] = out
        return out

    def begin(self) -> OnOutcome:
        """Add something else with an outcome, and return what to call with that."""
        place = self._place()
        self._on_way[place] = None
        return lambda error: self._settle(place, error)

    def note(self, outcome: Exception | None) -> None:
        """Add an outcome that is known already."""
        self._outcomes.append(outcome)

    def _place(self) -> int:
        self._outcomes.append(_UNKNOWN)
        return len(self._outcomes) - 1

    def _settle(self, place: int, error: Exception | None) -> None:
        # Taken out first: of two threads that know an outcome, one finds the place.
        if self._on_way.pop(place, _UNKNOWN) is _UNKNOWN:
            return
        self._outcomes[place] = error
        if len(self._on_way) <= self._awaited:
            self._awaited = -1
            self._wake()

    def is_down_to(self, number: int) -> bool:
        """Return whether at most so many publishes are on their way; if not, ``wake`` is called then."""
        # Set first: the outcome that comes between the two lines wakes, or is counted.
        self._awaited = number
        return len(self._on_way) <= number

    def expire(self, give_up: Callable[[Outgoing], PublishTimeout], otherwise: PublishTimeout) -> None:
        """Give up what is on its way.

        Args:
            give_up: Abandons a publish, and says why it was not confirmed in time.
            otherwise: The error of what is not the publisher's.
        """
        for place, out in list(self._on_way.items()):
            self._settle(place, otherwise if out is None else give_up(out))

    def abandon(self) -> None:
        """Do not send again what is on its way; nobody waits for it any more."""
        for out in list(self._on_way.values()):
            if out is not None:
                out.abandon()
        self._on_way.clear()

    def outcomes(self) -> list[Exception | None]:
        """Return an outcome for each publish: ``None`` if it was confirmed, otherwise the error."""
        return cast("list[Exception | None]", list(self._outcomes))


def outcome_of(stored: "asyncio.Future[Any] | concurrent.futures.Future[Any]") -> Exception | None:
    """Return the outcome that a future of the outbox tells."""
    if stored.cancelled():
        return OutboxError("the outbox was closed before the message was stored")
    error = stored.exception()
    return error if error is None or isinstance(error, Exception) else OutboxError(str(error))


def unsent() -> PublishTimeout:
    """Return the outcome of a message for which there was no time."""
    error = PublishTimeout("Publishing timed out before this message was sent.")
    error.sent = False
    return error
