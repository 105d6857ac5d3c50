"""What is published: numbered messages whose bodies and ids follow from their numbers."""

from __future__ import annotations

import json
import uuid
from typing import Any, Final, NamedTuple, Self

QUEUE: Final = "p17"
EXCHANGE: Final = "amq.topic"
#: All publishers use all of them, so that each has messages of several processes.
TOPICS: Final = ("p17.a", "p17.b", "p17.c", "p17.d")
#: Table of the application whose transactions record messages: the keys that were committed.
WORK: Final = "work"
#: Lanes of messages that transactions record.
TRANSACTIONS: Final = "transactions"

#: Some messages take several frames, most take one.
_LARGE: Final = 200_000
_EVERY_LARGE: Final = 97
_LENGTHS: Final = 1500
_IDS: Final = uuid.UUID("00000000-0000-4000-8000-000000000017")


class Key(NamedTuple):
    """Name of a message.

    Attributes:
        publisher: Name of the publisher, which stays the same when it is started again.
        lane: What publishes one message after the other there: a thread, or a forked child.
        topic: Topic.
        number: Counts the messages of this publisher, lane and topic.
    """

    publisher: str
    lane: str
    topic: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ValueError: It is something else.
        """
        publisher, lane, topic, number = text.split("/")
        return cls(publisher, lane, topic, int(number))

    def __str__(self) -> str:
        return "/".join(map(str, self))


def body_of(key: Key) -> dict[str, Any]:
    """The body that belongs to a key."""
    length = key.number * 37 % _LENGTHS if key.number % _EVERY_LARGE else _LARGE
    unit = f"{key} ä "
    return {"key": str(key), "text": (unit * (length // len(unit) + 1))[:length]}


def id_of(key: Key) -> str:
    """The id that belongs to a key."""
    return str(uuid.uuid5(_IDS, str(key)))


def key_of(topic: str, message_id: str | None, body: bytes) -> Key | None:
    """Name a message that has arrived; ``None`` if nobody has published it like that."""
    try:
        value = json.loads(body)
        key = Key.parse(value["key"])
    except (ValueError, KeyError, TypeError):
        return None
    is_whole = (topic, message_id, value) == (key.topic, id_of(key), body_of(key))
    return key if is_whole else None
