"""The differences from RabbitMQ that remain, each with its reason.

The reference of the broker lists them under "Differences from RabbitMQ that remain", in this order and in the
same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.differential.comparing import Difference


@dataclass(frozen=True)
class Known:
    """A difference that remains.

    Attributes:
        what: What RabbitMQ does that the embedded broker does not, as the reference says it.
        reason: Why it remains, as the reference says it.
        is_it: Whether a difference is this one.
        same: What texts of both brokers are changed to before they are compared, as pattern and replacement.
        profiles: Where it is.
    """

    what: str
    reason: str
    is_it: Callable[[Difference], bool] | None = None
    same: tuple[str, str] | None = None
    profiles: tuple[str, ...] = ("3", "4")


def _both_refuse(found: Difference) -> bool:
    """Whether both management APIs refuse a request, with different status or text."""
    answers = found.facts.get("answer", (None, None))
    return (
        found.operations[-1].kind.startswith("http.")
        and len(found.facts) == 1
        and all(isinstance(answer, tuple) and answer[0] >= 400 for answer in answers)
    )


def _declared(found: Difference, kind: str = "quorum") -> set[str]:
    """Return the names of the queues of a type that were declared."""
    return {
        step.fields["queue"]
        for step in found.operations
        if step.fields.get("arguments", {}).get("x-queue-type") == kind
    }


def _mentions(found: Difference, *words: str) -> bool:
    return all(any(word in str(step) for step in found.operations) for word in words)


def _counts_unsettled(found: Difference) -> bool:
    """Whether quorum queues only have more consumers, after a get that needs an ack or after a cancel."""
    names = {f"queue {name}" for name in _declared(found)}
    leaves = any(
        step.kind == "cancel" or (step.kind == "get" and not step.fields.get("no_ack"))
        for step in found.operations
    )
    return leaves and all(
        name in names
        and isinstance(theirs, tuple)
        and isinstance(ours, tuple)
        and (theirs[0] == ours[0] and theirs[1] > ours[1])
        for name, (theirs, ours) in found.facts.items()
    )


def _is_about_bytes(found: Difference) -> bool:
    """Whether a quorum queue is limited in bytes."""
    return bool(_declared(found)) and _mentions(found, "max-length-bytes")


def _is_about_expired(found: Difference) -> bool:
    """Whether something has expired that was given back to a quorum queue."""
    return bool(_declared(found)) and (
        _mentions(found, "expiration='0'") or _mentions(found, "'x-message-ttl': 0")
    )


def _is_about_empty_type(found: Difference) -> bool:
    """Whether a queue is declared again, once with an empty type."""
    return found.operations[-1].fields.get("queue") in _declared(found, "") and "x-queue-type" in str(
        found.facts
    )


def _sorts_headers(found: Difference) -> bool:
    """Whether nothing but an order differs, and the management API has published several headers."""
    return all(sorted(str(theirs)) == sorted(str(ours)) for theirs, ours in found.facts.values()) and any(
        step.kind == "http.publish" and len(step.fields.get("headers") or {}) > 1 for step in found.operations
    )


def _has_crashed(found: Difference) -> bool:
    """Whether RabbitMQ has closed the connection because it did not expect something itself."""
    return found.operations[-1].kind in ("consume", "queue.declare") and any(
        "541 INTERNAL_ERROR (0, 0)" in str(theirs) for theirs, _ in found.facts.values()
    )


def _is_own_dead_letter(found: Difference) -> bool:
    """Whether the same messages are in another order, and a queue drops what it gets at once."""
    theirs, ours = found.facts.get("answer", (None, None))
    if found.operations[-1].kind != "drain" or not _mentions(found, "max-length"):
        return False
    return all(sorted(map(str, theirs[name])) == sorted(map(str, ours[name])) for name in theirs)


def _is_passed_on(found: Difference) -> bool:
    """Whether channels of the connection that fails get what its other channels leave."""
    last = found.operations[-1]
    places = {(step.connection, step.channel) for step in found.operations if step.kind == "consume"}
    own = {f"{last.connection}/{channel} got" for _, channel in places}
    return last.kind == "consume" and len(places) > 1 and set(found.facts) <= own


def _is_about_lost_queue(found: Difference) -> bool:
    """Whether a transaction does not find a queue that was there when the message was published."""
    return found.operations[-1].kind == "tx.commit" and any(
        step.kind in ("queue.delete", "http.delete", "cancel") for step in found.operations
    )


def _gets_from_stream(found: Difference) -> bool:
    """Whether both management APIs refuse to get from a stream."""
    last = found.operations[-1]
    is_stream = last.fields.get("queue") in _declared(found, "stream")
    return last.kind == "http.get" and is_stream and _both_refuse(found)


def _is_counted_twice(found: Difference) -> bool:
    """Whether nothing but a count of deliveries differs, and two channels of a connection had consumers."""
    places = {(step.connection, step.channel) for step in found.operations if step.kind == "consume"}
    several = len(places) > len({connection for connection, _ in places})

    def plain(value: Any) -> str:
        return re.sub(r"('x-(?:delivery|acquired)-count', )\d+", r"\1", str(value))

    return several and all(plain(theirs) == plain(ours) for theirs, ours in found.facts.values())


def _waits_for_expired(found: Difference) -> bool:
    """Whether a priority queue has more messages, one of which has expired."""
    return (
        _mentions(found, "x-max-priority")
        and (_mentions(found, "expiration='0'") or _mentions(found, "'x-message-ttl': 0"))
        and all(
            name.startswith("queue ")
            and isinstance(theirs, tuple)
            and isinstance(ours, tuple)
            and (theirs[0] > ours[0] and theirs[1] == ours[1])
            for name, (theirs, ours) in found.facts.items()
        )
    )


def _is_about_locked(found: Difference) -> bool:
    """Whether a binding with wrong arguments, to a queue of another connection, is refused by both."""
    return found.operations[-1].kind == "queue.bind" and all(
        "closed 406 PRECONDITION_FAILED - Invalid x-match" in str(theirs) and "closed 405" in str(ours)
        for theirs, ours in found.facts.values()
    )


def _loses_arrays(found: Difference) -> bool:
    """Whether a message of a stream has lost an array."""
    return (
        bool(_declared(found, "stream"))
        and "x-stream-offset" in str(found.facts)
        and any(
            isinstance(value, list)
            for step in found.operations
            for value in (step.fields.get("headers") or {}).values()
        )
    )


KNOWN: Final = (
    Known(
        "The texts of errors name the exact type of a number, such as byte or short, float or double.",
        "The broker reads numbers of all widths alike, and names the width that the value needs.",
        same=(r"\b(byte|short|signedint|long|float|double)\b(?=[' ,}\"])", "number"),
    ),
    Known(
        "The refusal of an `x-match` that is no text shows tables and arrays as Erlang terms.",
        "What is wrong is the type, which the broker names too.",
        same=(r"\(value .*\); expected longstr", "; expected longstr"),
    ),
    Known(
        "RabbitMQ 3.10 puts the headers that it adds, such as `x-delivery-count`, among the others by name.",
        "The broker adds them at the end; headers are a table, whose order says nothing.",
    ),
    Known(
        "RabbitMQ 4.3 writes a queue type in some texts of errors as an Erlang term.",
        "The text of RabbitMQ 3.10 says the same to people.",
        same=(r'<<"quorum">> queues', "quorum queues"),
        profiles=("4",),
    ),
    Known(
        "RabbitMQ 3.10 quotes a stream twice when it refuses a consumer without a prefetch.",
        "The text of RabbitMQ 4.3 says the same to people.",
        same=(r"for '(queue '\w+' in vhost '/')'", r"for stream \1"),
        profiles=("3",),
    ),
    Known(
        'RabbitMQ 3.10 says "stream queues queue" when it refuses a consumer that does not acknowledge.',
        "The text of RabbitMQ 4.3 says the same to people.",
        same=(r"stream queues queue", "stream queue"),
        profiles=("3",),
    ),
    Known(
        "The management API of RabbitMQ 4.3 names no error 540 when it refuses to get from a stream, or "
        "fails with 500.",
        "The broker names it, as other errors.",
        is_it=_gets_from_stream,
        profiles=("4",),
    ),
    Known(
        "The management API of RabbitMQ 3.10 refuses some requests with another status or text than 4.3.",
        "The management API has one form of errors, that of 4.3; both refuse the same requests.",
        is_it=_both_refuse,
        profiles=("3",),
    ),
    Known(
        "RabbitMQ 4.3 takes an empty `x-queue-type` for another one than the default type when a queue is "
        "declared again.",
        "The broker takes it for the type that it stands for.",
        is_it=_is_about_empty_type,
        profiles=("4",),
    ),
    Known(
        "A quorum queue counts each `basic.get` and each cancelled consumer with unsettled messages.",
        "They are no consumers: the count is of use to those who look for consumers.",
        is_it=_counts_unsettled,
    ),
    Known(
        "In a quorum queue of RabbitMQ 4.3, `x-max-length-bytes` limits properties and bodies together.",
        "As in classic queues and in RabbitMQ 3.10, the bodies count.",
        is_it=_is_about_bytes,
        profiles=("4",),
    ),
    Known(
        "A quorum queue drops an expired message that was given back at once, wherever it stands.",
        "The broker drops it when it comes to the head. No consumer gets it in either broker.",
        is_it=_is_about_expired,
    ),
    Known(
        "The management API of RabbitMQ 3.10 publishes headers in the order of their names.",
        "The broker keeps the order in which they were given.",
        is_it=_sorts_headers,
        profiles=("3",),
    ),
    Known(
        "RabbitMQ 3.10 fails, and ends the connection, at a server-named queue of an unknown type and at a "
        "wrong `x-stream-offset`.",
        "The broker closes the channel, as RabbitMQ 4.3 does.",
        is_it=_has_crashed,
        profiles=("3",),
    ),
    Known(
        "When a connection fails, a quorum queue may deliver what one of its channels leaves to another one, "
        "and count that.",
        "The broker ends all channels of a connection together.",
        is_it=_is_counted_twice,
    ),
    Known(
        "When a connection fails, one of its channels may still get what another one leaves.",
        "The broker ends all channels of a connection together.",
        is_it=_is_passed_on,
    ),
    Known(
        "RabbitMQ 4.3 fails when it commits a message for a queue that was deleted in the meantime.",
        "The broker drops the message, as RabbitMQ 3.10 does.",
        is_it=_is_about_lost_queue,
        profiles=("4",),
    ),
    Known(
        "A priority queue drops an expired message of a high priority when it is used again.",
        "The broker drops it at once. No consumer gets it in either broker.",
        is_it=_waits_for_expired,
    ),
    Known(
        "A stream loses headers that are arrays.",
        "The broker keeps all headers.",
        is_it=_loses_arrays,
    ),
    Known(
        "A stream of RabbitMQ 4.3 marks messages without a delivery mode as transient.",
        "The broker keeps properties as they were published.",
        profiles=("4",),
    ),
    Known(
        "RabbitMQ refuses wrong arguments of a binding before it refuses an exclusive queue of others.",
        "The broker does it the other way round.",
        is_it=_is_about_locked,
    ),
    Known(
        "A message and the dead letter that it becomes at once in another queue arrive in either order.",
        "Queues of RabbitMQ work at the same time; the broker's work one after the other.",
        is_it=_is_own_dead_letter,
    ),
)


@lru_cache(maxsize=10_000)
def same_text(text: str) -> str:
    """Return a broker's text without what is known to differ."""
    for known in KNOWN:
        if known.same is not None:
            text = re.sub(*known.same, text)
    return text


def known(found: Difference, profile: str) -> Known | None:
    """Return the entry that says why a difference remains, or None if it is news."""
    fitting = (one for one in KNOWN if profile in one.profiles and one.is_it is not None)
    return next((one for one in fitting if one.is_it is not None and one.is_it(found)), None)
