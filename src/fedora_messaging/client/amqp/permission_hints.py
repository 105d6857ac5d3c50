"""The permissions of RabbitMQ that operations need, so that an error can name the missing one."""

from typing import Final, TypeVar

from ...exceptions import AMQPError
from ...protocol.errors import ACCESS_REFUSED

Refusal = TypeVar("Refusal", bound=Exception)

DECLARE_QUEUE: Final = (
    'declaring a queue needs the permission "configure" on it; where an administrator declares queues, set '
    "passive_declares = true"
)
DECLARE_EXCHANGE: Final = 'declaring an exchange needs the permission "configure" on it'
BIND: Final = 'binding needs the permissions "write" on the queue and "read" on the exchange'
CONSUME: Final = 'consuming needs the permission "read" on the queue'
PUBLISH: Final = (
    'publishing needs the permission "write" on the exchange, and on the topic if topics are restricted'
)


def name_permission(refusal: Refusal, answer: AMQPError, needs: str) -> Refusal:
    """Add a note to an error that names the missing permission, if one is missing; returns the error."""
    if answer.reply_code == ACCESS_REFUSED:
        refusal.add_note(needs)
    return refusal
