"""Dead letters: what a message carries when a queue refuses it (RabbitMQ's ``x-death``)."""

from datetime import UTC, datetime
from typing import Any

from ...wire.errors import WireError
from ...wire.properties import decode_properties, encode_properties
from .message import Entry, Message
from .queue import REJECTED, Queue


def make_dead_letter(queue: Queue, entry: Entry, reason: str, now: float) -> Message:
    """Build the message to publish to the queue's dead-letter exchange.

    Args:
        queue: The queue that refuses it; it has a dead-letter exchange.
        entry: The message.
        reason: ``rejected``, ``expired``, ``maxlen`` or ``delivery_limit``.
        now: Seconds since 1970.
    """
    old = entry.message
    exchange = queue.arguments.dead_letter_exchange or ""
    key = queue.arguments.dead_letter_routing_key
    try:
        props = decode_properties(old.properties)
    except WireError:
        # What cannot be read cannot be added to; it must get away from whoever refuses it nevertheless.
        return Message(exchange, old.routing_key if key is None else key, old.properties, old.body)
    headers = dict(props.headers or {})
    cc = headers.get("CC")
    routing_keys = [old.routing_key, *(cc if isinstance(cc, list) else [])]
    death: dict[str, Any] = {
        "count": 1,
        "reason": reason,
        "queue": queue.name,
        "time": datetime.fromtimestamp(int(now), UTC),
        "exchange": old.exchange,
        "routing-keys": routing_keys,
    }
    if props.expiration is not None:
        death["original-expiration"] = props.expiration
        props.expiration = None
    headers["x-death"] = _with_death(headers.get("x-death"), death)
    if "x-first-death-reason" not in headers:
        headers["x-first-death-reason"] = reason
        headers["x-first-death-queue"] = queue.name
        headers["x-first-death-exchange"] = old.exchange
    if key is None:
        key = old.routing_key
    else:
        headers.pop("CC", None)
    headers.pop("BCC", None)
    props.headers = headers
    return Message(exchange, key, encode_properties(props), old.body)


def _with_death(history: Any, death: dict[str, Any]) -> list[dict[str, Any]]:
    """Put a death in front; one entry per queue and reason, counted."""
    rest = []
    for entry in _deaths(history):
        if entry.get("queue") == death["queue"] and entry.get("reason") == death["reason"]:
            count = entry.get("count")
            death = {**entry, "count": (count if isinstance(count, int) else 0) + 1, "time": death["time"]}
        else:
            rest.append(entry)
    return [death, *rest]


def is_cycle(message: Message, queue: Queue) -> bool:
    """Whether a dead letter comes back to a queue without anybody having rejected it on the way."""
    for entry in _deaths(message.headers.get("x-death")):
        if entry.get("reason") == REJECTED:
            return False
        if entry.get("queue") == queue.name:
            return True
    return False


def _deaths(history: Any) -> list[dict[str, Any]]:
    return [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
