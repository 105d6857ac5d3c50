"""Turning the outcome of a callback into a verdict: what to tell the broker, and whether consuming ends."""

from enum import Enum
from typing import TYPE_CHECKING, Final

from ...exceptions import Drop, HaltConsumer, Nack
from ...logs import CONSUMER, logger
from .stats import ConsumerStats

if TYPE_CHECKING:
    from ...message import Message

_log = logger(CONSUMER)


class Action(Enum):
    """What to tell the broker about a delivery."""

    ACK = "ack"
    REQUEUE = "put it back"
    REFUSE = "drop or dead-letter it"
    REQUEUE_ALL = "put back this one and all that are out"


#: What to tell the broker about a delivery, and the error with which consuming ends, if it does.
Verdict = tuple[Action, BaseException | None]
ACKED: Final[Verdict] = (Action.ACK, None)
REFUSED: Final[Verdict] = (Action.REFUSE, None)


def succeeded(message: "Message", stats: ConsumerStats) -> Verdict:
    """Count and log that the callback returned; returns the verdict."""
    stats.processed += 1
    _log.info("Successfully consumed message from topic %r (message id %r)", message.topic, message.id)
    return ACKED


def raised(message: "Message", error: BaseException, stats: ConsumerStats) -> Verdict:
    """Count and log that the callback raised; returns the verdict."""
    if isinstance(error, Nack):
        stats.rejected += 1
        _log.warning("Returning message id %r to the queue", message.id)
        return Action.REQUEUE, None
    if isinstance(error, Drop):
        stats.dropped += 1
        _log.warning("Consumer requested message id %r be dropped", message.id)
        return Action.REFUSE, None
    if isinstance(error, HaltConsumer):
        _log.info("Consumer indicated it wishes consumption to halt, shutting down")
        if error.requeue:
            stats.rejected += 1
            return Action.REQUEUE, error
        stats.processed += 1
        return Action.ACK, error
    stats.failed += 1
    _log.error(
        "Received unexpected exception from consumer callback for message id %r", message.id, exc_info=error
    )
    return Action.REQUEUE_ALL, error
