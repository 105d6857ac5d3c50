"""The differences from RabbitMQ that remain, each with its reason.

The reference of the broker lists them under "Differences from RabbitMQ that remain", in this order and in the
same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
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


def _counts_gets(found: Difference) -> bool:
    """Whether quorum queues only have more consumers, after a get that needs an ack."""
    names = {f"queue {name}" for name in _declared(found)}
    gets = any(step.kind == "get" and not step.fields.get("no_ack") for step in found.operations)
    return gets and all(
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
    """Whether a queue is declared again with an empty type."""
    return (
        len(_declared(found, "")) > 0
        and found.operations[-1].fields.get("arguments", {}).get("x-queue-type") == ""
    )


def _sorts_headers(found: Difference) -> bool:
    """Whether nothing but an order differs, and the management API has published several headers."""
    return all(sorted(str(theirs)) == sorted(str(ours)) for theirs, ours in found.facts.values()) and any(
        step.kind == "http.publish" and len(step.fields.get("headers") or {}) > 1 for step in found.operations
    )


def _both_refuse_publish(found: Difference) -> bool:
    """Whether a full queue has refused a message of the management API."""
    theirs, ours = found.facts.get("answer", (None, None))
    return found.operations[-1].kind == "http.publish" and theirs[0] == 400 and ours[1] == {"routed": False}


def _is_redelivered(found: Difference) -> bool:
    """Whether nothing but the flag of a dead letter that was delivered differs."""

    def plain(value: Any) -> str:
        return re.sub(r"\b(True|False)\b", "", str(value)) if "x-death" in str(value) else str(value)

    return all(plain(theirs) == plain(ours) for theirs, ours in found.facts.values())


def _is_own_dead_letter(found: Difference) -> bool:
    """Whether the same messages are in another order, and a queue drops what it gets at once."""
    theirs, ours = found.facts.get("answer", (None, None))
    if found.operations[-1].kind != "drain" or not _mentions(found, "max-length"):
        return False
    return all(sorted(map(str, theirs[name])) == sorted(map(str, ours[name])) for name in theirs)


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
        "The management API of RabbitMQ 3.10 refuses some requests with another status or text than 4.3.",
        "The management API has one form of errors, that of 4.3; both refuse the same requests.",
        is_it=_both_refuse,
        profiles=("3",),
    ),
    Known(
        "RabbitMQ 4.3 accepts an empty `x-queue-type` again for a queue that was declared with it.",
        "The broker keeps the type that the empty one stands for, so the text differs.",
        is_it=_is_about_empty_type,
        profiles=("4",),
    ),
    Known(
        "A quorum queue counts each `basic.get` that is not settled among its consumers.",
        "It is none: the count is of use to those who look for consumers.",
        is_it=_counts_gets,
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
        "The management API of RabbitMQ 4.3 answers 400 when a full queue refuses a message.",
        "The broker answers that the message was not routed.",
        is_it=_both_refuse_publish,
        profiles=("4",),
    ),
    Known(
        "RabbitMQ 4.3 marks no dead letter as redelivered that a consumer of a classic queue gets at once.",
        "The broker marks every dead letter that was delivered before.",
        is_it=_is_redelivered,
        profiles=("4",),
    ),
    Known(
        "A message and the dead letter that it becomes at once in another queue arrive in either order.",
        "Queues of RabbitMQ work at the same time; the broker's work one after the other.",
        is_it=_is_own_dead_letter,
    ),
)


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
