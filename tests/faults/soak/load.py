"""What is published and consumed, and which messages make trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.faults.soak.journal import Key

#: Queues, and how topics begin whose messages go there. One is consumed as version 3.9 did, one by a policy.
PLAIN: Final = "soak.plain"
POLICY: Final = "soak.policy"
#: Where the policy puts what fails again and again.
DEAD_LETTERS: Final = "soak.dead"

#: Each so many messages of a topic one ...
_FLAKY: Final = 53  # ... fails when a process sees it for the first time.
_POISON: Final = 151  # ... fails always, if there is a policy.
_SLOW: Final = 97  # ... takes its time.
_LARGE: Final = 211  # ... is larger than any frame.

_SLOWNESS: Final = 0.3
_LARGE_SIZE: Final = 300_000
_SMALL_SIZE: Final = 2000

POLICY_TABLE: Final = """
[consumer]
concurrency = {concurrency}

[consumer.retry]
attempts = 4
delay = 0.5
max_delay = 2.0

[consumer.dead_letter]
queue = "soak.dead"
"""
#: Seconds after which a message that waits to be tried again has come.
LONGEST_DELAY: Final = 2.0

#: The delays of the policy in milliseconds, each also shortened as the library does at random.
_DELAYS: Final = [delay * tenths // 10 for delay in (500, 1000, 2000) for tenths in (10, 9, 8, 7)]


def delay_queues() -> dict[str, dict[str, Any]]:
    """Names and arguments of all queues in which messages of a quorum queue wait to be tried again."""
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": POLICY,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return {f"{POLICY}.retry.{delay}": {**arguments, "x-message-ttl": delay} for delay in _DELAYS}


def text_of(key: Key) -> str:
    """The text that a message carries, which tells whether it has come whole."""
    size = _LARGE_SIZE if key.number % _LARGE == 1 else key.number * 37 % _SMALL_SIZE
    return "x" * size


def body_of(key: Key) -> dict[str, Any]:
    """The body of a message."""
    return {"key": str(key), "text": text_of(key)}


def is_flaky(key: Key) -> bool:
    """Whether it is to fail once."""
    return key.number % _FLAKY == 5


def is_poison(key: Key) -> bool:
    """Whether it is to fail always, and to end among the dead letters."""
    return key.topic.startswith(POLICY) and key.number % _POISON == 11


def slowness(key: Key) -> float:
    """Seconds that its callback takes."""
    return _SLOWNESS if key.number % _SLOW == 3 else 0.0
