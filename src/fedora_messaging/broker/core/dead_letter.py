"""Dead letters: what a message carries when a queue refuses it (RabbitMQ's ``x-death``)."""

from datetime import UTC, datetime
from typing import Any

from ...wire.errors import WireError
from ...wire.fields import INT64_MAX, Int64
from ...wire.properties import decode_properties, edit_headers, with_text_property
from .message import BrokerMessage, Entry
from .queue import REJECTED, Queue


def make_dead_letter(queue: Queue, entry: Entry, reason: str, now: float, room: int) -> BrokerMessage:
    """Build the message to publish to the queue's dead-letter exchange.

    When the properties would not fit into a frame, the older half of the history of deaths is left out, again
    and again if need be, and at last all of it.

    Args:
        queue: The queue that refuses it; it has a dead-letter exchange.
        entry: The message.
        reason: ``rejected``, ``expired``, ``maxlen`` or ``delivery_limit``.
        now: Seconds since 1970.
        room: Most bytes of properties.
    """
    old = entry.message
    key = queue.arguments.dead_letter_routing_key
    properties = _with_new_death(queue, old, reason, now, room)
    message = BrokerMessage(
        queue.arguments.dead_letter_exchange or "",
        old.routing_key if key is None else key,
        properties,
        old.body,
    )
    # Headers that cannot be read, or have no room for all of their history, do not tell of a circle.
    message.passed = frozenset() if reason == REJECTED else old.passed | {queue.name}
    return message


def _with_new_death(queue: Queue, old: BrokerMessage, reason: str, now: float, room: int) -> bytes:
    """Return the properties with one more death in the headers, if these can be read and have room for it."""
    properties = old.properties
    if old.scan.expiration is not None:
        properties = with_text_property(properties, "expiration", None)
    try:
        headers = decode_properties(properties).headers or {}
    except WireError:
        # What cannot be read cannot be added to; it must get away from whoever refuses it nevertheless.
        return properties
    cc = headers.get("CC")
    # Only texts are keys; anything else would be nested deeper here than where it was.
    routing_keys = [old.routing_key, *(key for key in _items(cc) if isinstance(key, str))]
    death: dict[str, Any] = {
        "count": Int64(1),
        "reason": reason,
        "queue": queue.name,
        "time": datetime.fromtimestamp(int(now), UTC),
        "exchange": old.exchange,
        "routing-keys": routing_keys,
    }
    if old.scan.expiration is not None:
        death["original-expiration"] = old.scan.expiration
    added: dict[str, Any] = {}
    if "x-first-death-reason" not in headers:
        added["x-first-death-reason"] = reason
        added["x-first-death-queue"] = queue.name
        added["x-first-death-exchange"] = old.exchange
    removed = ("BCC",) if queue.arguments.dead_letter_routing_key is None else ("CC", "BCC")
    history = _with_death(headers.get("x-death"), death)
    while history:
        edited = edit_headers(properties, {"x-death": history, **added}, removed)
        if len(edited) <= room:
            return edited
        history = history[: len(history) // 2]
    return edit_headers(properties, {}, removed)


def _with_death(history: Any, death: dict[str, Any]) -> list[dict[str, Any]]:
    """Put a death in front; one entry per queue and reason, counted."""
    rest = []
    for entry in _deaths(history):
        if _is_of(entry, death["queue"]) and entry.get("reason") == death["reason"]:
            death = {**entry, "count": Int64(min(_count(entry) + 1, INT64_MAX)), "time": death["time"]}
        else:
            rest.append({**entry, "count": Int64(_count(entry))})
    return [death, *rest]


def _count(entry: dict[str, Any]) -> int:
    count = entry.get("count")
    return count if isinstance(count, int) else 0


def is_cycle(message: BrokerMessage, queue: Queue) -> bool:
    """Whether a dead letter comes back to a queue without anybody having rejected it on the way."""
    if queue.name in message.passed:
        return True
    for entry in _deaths(message.headers.get("x-death")):
        if entry.get("reason") == REJECTED:
            return False
        if _is_of(entry, queue.name):
            return True
    return False


def _is_of(death: dict[str, Any], queue: str) -> bool:
    name = death.get("queue")
    # A text in a table that is not UTF-8 is read as bytes.
    return (name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name) == queue


def _deaths(history: Any) -> list[dict[str, Any]]:
    return [entry for entry in _items(history) if isinstance(entry, dict)]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
