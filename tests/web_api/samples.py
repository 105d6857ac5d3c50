"""Messages to store: those of the demonstration, and ones with names that a test chooses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from fedora_messaging.message import Message, load_message

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The time from which the tests count: long ago on every clock.
START = int(datetime(2021, 6, 25, 6, 0, tzinfo=UTC).timestamp())


def demo() -> list[Message]:
    """Return the messages of the demonstration, which have real schemas; one is sent each minute."""
    return [load_message(_sent(record, START + 60 * minute)) for minute, record in enumerate(_demo_records())]


def sample(schema: str, at: float = START) -> Message:
    """Return the first message of the demonstration with a schema."""
    return load_message(_sent(_record(schema), at))


def build(package: str, owner: str = "mkaur", at: float = START) -> Message:
    """Return Koji's message that a package's build has begun, for its owner."""
    record = _record("koji_fedoramessaging.build.BuildStateChangeV1")
    del record["id"]
    record["body"] |= {"name": package, "owner": owner}
    return load_message(_sent(record, at))


def comment(
    agent: str = "anna",
    owner: str = "otto",
    packages: Sequence[str] = ("ant",),
    text: str = "an apple",
    topic: str = "org.fedoraproject.prod.bodhi.update.comment",
    at: float = START + 60,
) -> Message:
    """Return Bodhi's message that an agent has commented on an owner's update of packages."""
    record = _record("bodhi.update.comment.v1")
    del record["id"]
    record["topic"] = topic
    said = record["body"]["comment"]
    said |= {"text": text, "user": {"name": agent}}
    said["update"] |= {
        "user": {"name": owner},
        "title": " ".join(packages),
        "builds": [{"nvr": f"{package}-1-1.fc44", "epoch": 0, "signed": True} for package in packages],
    }
    return load_message(_sent(record, at))


def note(text: str = "", at: float = START, topic: str = "org.fedoraproject.prod.notes.note") -> Message:
    """Return a message without a schema, about nobody."""
    return load_message(_sent({"topic": topic, "body": {"text": text}, "headers": {}}, at))


def _demo_records() -> list[dict[str, Any]]:
    lines = (resources.files("fedora_messaging.cli") / "demo_messages.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.splitlines()]


def _record(schema: str) -> dict[str, Any]:
    return next(one for one in _demo_records() if one["headers"]["fedora_messaging_schema"] == schema)


def _sent(record: dict[str, Any], at: float) -> dict[str, Any]:
    record["headers"]["sent-at"] = datetime.fromtimestamp(at, UTC).isoformat()
    return record
