"""Deciding what happens to a message whose callback failed, from the consumer's settings."""

from enum import Enum

from ...exceptions import Drop, HaltConsumer, Nack
from ...options import ConsumerOptions


class Decision(Enum):
    """What to do with a message; docs/how-to/failures.md describes it for users."""

    AS_RAISED = "what the exception itself asks for, as without settings"
    LEAVE = "nothing: the broker delivers it again by itself"
    RETRY = "try it again later"
    GIVE_UP = "keep it: it has been tried often enough"
    KEEP = "keep it: there is no sense in trying it again"


def decide(error: BaseException, attempts: int, options: ConsumerOptions, *, stale: bool) -> Decision:
    """Decide what happens to a message.

    Args:
        error: The exception that the callback raised.
        attempts: How many attempts failed before this one.
        options: The consumer's settings.
        stale: Whether the channel of the message is gone. Then the broker has taken the message back, and a
            copy would be a second one.
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
