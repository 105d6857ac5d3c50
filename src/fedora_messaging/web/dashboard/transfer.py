"""Moving messages from queue to queue over the management API, so that none is lost on the way."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .letters import Letter, letter_of
from .management import Management

#: Messages that one request moves; the page says to go on after that.
MOST_MOVED: Final = 1000
#: Bytes of a body that are shown.
_SHOWN: Final = 50_000


class Copy(NamedTuple):
    """What becomes of a message.

    Attributes:
        queue: Where it goes.
        properties: With these properties.
        payload: With this body.
        encoding: Encoding of the body: ``string`` or ``base64``.
    """

    queue: str
    properties: dict[str, Any]
    payload: str
    encoding: str


class TransferError(Exception):
    """A message cannot be moved; it is where it was."""


async def transfer(
    management: Management, vhost: str, queue: str, number: int, decide: Callable[[Letter], Copy | None]
) -> int:
    """Move messages from the head of a queue.

    Each message is looked at, published to its new place, and only then taken from the queue. So it may be
    there twice if this program dies in between, but it is never lost. A message that stays goes to the end of
    the queue.

    Args:
        management: The management API.
        vhost: Virtual host of all queues.
        queue: Queue to move from.
        number: How many messages to look at.
        decide: Says what becomes of a message; ``None`` if it stays.

    Returns:
        How many were moved, without those that stay.

    Raises:
        TransferError: A message has nowhere to go.
        ManagementError: The broker refuses something.
    """
    moved = 0
    for _ in range(min(number, MOST_MOVED)):
        seen = await _get(management, vhost, queue, "ack_requeue_true")
        if seen is None:
            break
        moved += await _send(management, vhost, queue, seen, decide)
        taken = await _get(management, vhost, queue, "ack_requeue_false")
        # A consumer may have taken the first one meanwhile; what we have removed must go somewhere, too.
        if taken is not None and (taken.id, taken.payload) != (seen.id, seen.payload):
            try:
                moved += await _send(management, vhost, queue, taken, decide)
            except Exception:
                # It is in no queue now.
                await _publish(management, vhost, _unchanged(queue, taken))
                raise
    return moved


async def _send(
    management: Management, vhost: str, queue: str, letter: Letter, decide: Callable[[Letter], Copy | None]
) -> int:
    copy = decide(letter)
    await _publish(management, vhost, copy or _unchanged(queue, letter))
    return copy is not None


def _unchanged(queue: str, letter: Letter) -> Copy:
    return Copy(queue, letter.properties_elsewhere(), letter.payload, letter.encoding)


async def _publish(management: Management, vhost: str, target: Copy) -> None:
    answer = await management.send(
        "POST",
        *("exchanges", vhost, "amq.default", "publish"),
        body={
            "routing_key": target.queue,
            "properties": target.properties,
            "payload": target.payload,
            "payload_encoding": target.encoding,
        },
    )
    if not answer["routed"]:
        raise TransferError(f"There is no queue {target.queue}: the message stays where it is.")


async def _get(management: Management, vhost: str, queue: str, mode: str) -> Letter | None:
    found = await management.send(
        "POST",
        *("queues", vhost, queue, "get"),
        body={"count": 1, "ackmode": mode, "encoding": "auto"},
    )
    return letter_of(found[0]) if found else None


async def look(management: Management, vhost: str, queue: str, number: int) -> list[Letter]:
    """Return the first messages of a queue, and leave them in it."""
    found = await management.send(
        "POST",
        *("queues", vhost, queue, "get"),
        body={
            "count": number,
            "ackmode": "ack_requeue_true",
            "encoding": "auto",
            "truncate": _SHOWN,
        },
    )
    return [letter_of(answer) for answer in found]
