"""What a worker writes down, and how it names messages."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

STARTED: Final = "started"
READY: Final = "ready"
#: A publish is about to begin; is confirmed; has failed; has failed, and nothing was sent.
INTENT: Final = "intent"
CONFIRMED: Final = "confirmed"
FAILED: Final = "failed"
UNSENT: Final = "unsent"
#: A callback has begun; has ended well; is about to raise; was handed something that nobody sent.
DELIVERED: Final = "delivered"
ACKED: Final = "acked"
RAISED: Final = "raised"
CORRUPT: Final = "corrupt"
#: A message was found in the dead-letter queue.
DEAD: Final = "dead"

#: How many arguments each has.
EVENTS: Final = {
    STARTED: 1,
    READY: 0,
    INTENT: 1,
    CONFIRMED: 1,
    FAILED: 2,
    UNSENT: 2,
    DELIVERED: 2,
    ACKED: 1,
    RAISED: 2,
    CORRUPT: 1,
    DEAD: 1,
}


class Key(NamedTuple):
    """Name of a message.

    Attributes:
        run: Name of the soak.
        publisher: Name of the publisher, which stays the same when it is started again.
        topic: Topic.
        number: Counts the messages that this publisher has published with this topic.
    """

    run: str
    publisher: str
    topic: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ValueError: It is something else.
        """
        run, publisher, topic, number = text.split("/")
        return cls(run, publisher, topic, int(number))

    def __str__(self) -> str:
        return "/".join(map(str, self))
