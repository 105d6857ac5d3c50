"""What becomes of a message whose callback has failed, by the consumer's settings."""

from enum import Enum

from ...exceptions import Drop, HaltConsumer, Nack
from ...options import ConsumerOptions


class Decision(Enum):
    """What to do; docs/how-to/failures.md says it to users."""

    AS_RAISED = "what the exception itself asks for, as without settings"
    LEAVE = "nothing: the broker delivers it again by itself"
    RETRY = "try it again later"
    GIVE_UP = "keep it: it has been tried often enough"
    KEEP = "keep it: there is no sense in trying it again"


def decide(error: BaseException, attempts: int, options: ConsumerOptions, *, stale: bool) -> Decision:
    """Decide what becomes of a message.

    Args:
        error: What the callback raised.
        attempts: How often it has failed before.
        options: The consumer's settings.
        stale: The channel on which the message came is gone, so the broker has taken it back: a copy would
            make two of it.
    """
    if isinstance(error, HaltConsumer | Drop) or not isinstance(error, Exception):
        return Decision.AS_RAISED
    if stale:
        return Decision.LEAVE
    if options.retry is not None and isinstance(error, options.retry.on):
        return Decision.RETRY if attempts + 1 < options.retry.attempts else Decision.GIVE_UP
    if options.dead_letter is not None and not isinstance(error, Nack):
        return Decision.KEEP
    return Decision.AS_RAISED
