"""What other programs do on the bus while somebody looks at its pages."""

from __future__ import annotations

import json
import uuid
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pika

if TYPE_CHECKING:
    from tests.support.admin import Admin

INFO: Final = 20


class Taken(NamedTuple):
    """A message that was taken off a queue."""

    id: str
    body: Any
    redelivered: bool
    headers: dict[str, Any]


def put(
    admin: Admin,
    exchange: str,
    key: str,
    *,
    schema: str = "base.message",
    severity: int = INFO,
    properties: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    **body: Any,
) -> str:
    """Publish a message, and return its id when the broker has it.

    Args:
        admin: Publishes it.
        exchange: Where to.
        key: Routing key.
        schema: Name of the schema.
        severity: Severity.
        properties: More properties.
        headers: More headers.
        **body: Fields of the body.
    """
    return put_bytes(
        admin,
        exchange,
        key,
        json.dumps(body).encode(),
        headers={"fedora_messaging_schema": schema, "fedora_messaging_severity": severity, **(headers or {})},
        **(properties or {}),
    )


def put_bytes(admin: Admin, exchange: str, key: str, body: bytes, **properties: Any) -> str:
    """Publish any bytes; return their id."""
    id = str(uuid.uuid4())
    known = {"message_id": id, "content_type": "application/json", "content_encoding": "utf-8"}
    admin.channel.basic_publish(
        exchange, key, body, pika.BasicProperties(**{**known, "delivery_mode": 2, **properties})
    )
    return id


def take(admin: Admin, queue: str) -> list[Taken]:
    """Empty a queue of its messages."""
    taken: list[Taken] = []
    while True:
        method, properties, body = admin.channel.basic_get(queue, auto_ack=True)
        if method is None:
            return taken
        assert properties is not None
        taken.append(
            Taken(
                str(properties.message_id),
                json.loads(body),
                bool(method.redelivered),
                dict(properties.headers or {}),
            )
        )


def ids(taken: list[Taken]) -> list[str]:
    """Return the ids of messages."""
    return [one.id for one in taken]


def samples() -> list[dict[str, Any]]:
    """Return the messages that `fedora-messaging demo` shows, of many applications."""
    text = (resources.files("fedora_messaging.cli") / "demo_messages.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def sample(topic: str) -> dict[str, Any]:
    """Return the first of them with this end of its topic."""
    return next(one for one in samples() if one["topic"].endswith(f".{topic}"))


def put_sample(admin: Admin, one: dict[str, Any], topic: str = "", severity: int = INFO) -> str:
    """Publish a copy of one of them to amq.topic; return its id.

    Args:
        admin: Publishes it.
        one: The sample.
        topic: The topic of the copy, by default the same.
        severity: Severity.
    """
    schema = one["headers"]["fedora_messaging_schema"]
    return put(admin, "amq.topic", topic or one["topic"], schema=schema, severity=severity, **one["body"])


#: What filters are tried with.
COMMENT: Final = sample("bodhi.update.comment")
BUILD: Final = sample("copr.build.end")


class Filter(NamedTuple):
    """A filter that fits `COMMENT` as a warning, but not `BUILD`."""

    parameter: str
    label: str
    value: str


#: By name; a value has the first word of the topics instead of `{}`.
FILTERS: Final = {
    "topic": Filter("topic", "Topic", "{}.*.comment"),
    "severity": Filter("severity", "At least", "warning"),
    "application": Filter("app", "Application", "bodhi"),
    "user": Filter("user", "User", "zofka"),
    "package": Filter("package", "Package", "heronctl"),
    "word": Filter("text", "Words", "PARÁDA"),
    "phrase": Filter("text", "Words", '"works for me"'),
    "beginning": Filter("text", "Words", "Silverb*"),
    "without": Filter("text", "Words", "-copr"),
}
