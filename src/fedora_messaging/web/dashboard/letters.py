"""Messages in queues, as the management API returns them: what they say of their past."""

import re
from dataclasses import dataclass
from typing import Any, Final

from ...client.consuming.history import HEADER, History
from ...validation import json_body
from .feed import body_of_answer
from .rendering import cut, pretty, shortened

#: Characters of a body that are shown.
_LONGEST: Final = 10_000
#: Headers that a broker adds when a message dies, and those that name more queues, which have had it by now.
_DEATHS: Final = re.compile(r"x-(death|first-death-.*|last-death-.*|delivery-count|acquired-count)|B?CC")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in a queue, which may have died in another one.

    Attributes:
        id: Its id, or an empty text.
        topic: The routing key that it was first published with, if that is known.
        headers: Its headers.
        properties: Its properties, as the management API takes them.
        payload: Its body, as the management API takes it.
        encoding: Encoding of ``payload``: ``string`` or ``base64``.
        body: The value of a body that is JSON, else ``None``.
        size: Bytes of the whole body; ``payload`` may be its beginning.
        redelivered: Whether it was delivered before.
        origin: The queue that it came from, or an empty text.
        reason: Why it is here: ``rejected``, ``expired``, ``exhausted`` and so on; empty if it has not died.
        attempts: How often it was tried; 0 if that is unknown.
        error: Exception of the last attempt, or an empty text.
    """

    id: str
    topic: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    payload: str
    encoding: str
    body: Any
    size: int
    redelivered: bool
    origin: str
    reason: str
    attempts: int
    error: str

    @property
    def text(self) -> str:
        """The body for people."""
        if self.encoding == "base64":
            return f"({self.size} bytes that are no text)"
        if self.body is None:
            return cut(self.payload, _LONGEST)
        return cut(pretty(shortened(self.body)), _LONGEST)

    def properties_elsewhere(self) -> dict[str, Any]:
        """Return the properties for another queue: without names of more queues, which have had it by now."""
        headers = {name: value for name, value in self.headers.items() if name not in ("CC", "BCC")}
        return {**self.properties, "headers": headers}

    def properties_again(self) -> dict[str, Any]:
        """Return the properties for publishing it again, without what a broker has noted of its deaths."""
        headers = {
            name: value
            for name, value in self.headers.items()
            if name != HEADER and _DEATHS.fullmatch(name) is None
        }
        return {**self.properties, "headers": headers}


def letter_of(answer: dict[str, Any]) -> Letter:
    """Read a message that the management API has returned."""
    properties = answer["properties"] or {}  # an empty list, if there are none
    headers = properties.get("headers") or {}
    table = headers.get(HEADER)
    history = History.from_table(table) if isinstance(table, dict) else None
    origin, reason, attempts, topic = _death(headers)
    if history is not None:
        origin, reason, topic = history.queue, history.reason, history.topic
        attempts = history.attempts
    return Letter(
        id=str(properties.get("message_id") or ""),
        topic=topic or answer["routing_key"],
        headers=headers,
        properties=properties,
        payload=answer["payload"],
        encoding=answer["payload_encoding"],
        body=_value(answer),
        size=int(answer.get("payload_bytes") or 0),
        redelivered=bool(answer.get("redelivered")),
        origin=origin,
        reason=reason,
        attempts=attempts,
        error=history.error if history is not None else "",
    )


def _death(headers: dict[str, Any]) -> tuple[str, str, int, str]:
    """Return queue, reason, count and routing key of the first death that the broker has noted."""
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[-1], dict):
        return "", "", 0, ""
    first = deaths[-1]
    keys = first.get("routing-keys")
    key = keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], str) else ""
    count = first.get("count")
    return (
        str(first.get("queue", "")),
        str(first.get("reason", "")),
        count if isinstance(count, int) else 0,
        key,
    )


def _value(answer: dict[str, Any]) -> Any:
    try:
        return json_body.decode_text(body_of_answer(answer).decode())
    except ValueError:
        return None
