"""Topic patterns."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from tests.behaviour.support import bodies, closes

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel
    from tests.support.admin import Names
    from tests.support.brokers import Broker

TABLE: dict[str, dict[str, bool]] = {
    "": {"": True, ".": False, "a": False, "#": False},
    "a": {"a": True, "": False, "A": False, "b": False, "aa": False, "a.a": False, "a.": False, ".a": False},
    "a.b": {"a.b": True, "a": False, "a.b.c": False, "b.a": False, "ab": False, "a..b": False},
    "*": {"a": True, "": False, ".": False, "a.b": False, "*": True, "#": True, "long word": True},
    "#": {"": True, ".": True, "a": True, "a.b": True, "a.b.c.d.e": True, "...": True},
    "*.*": {
        "a.b": True,
        ".": True,
        "a.": True,
        ".a": True,
        "a": False,
        "": False,
        "a.b.c": False,
        "..": False,
    },
    "a.*": {"a.": True, "a.b": True, "a": False, "a.b.c": False, "b.a": False, "": False},
    "*.a": {".a": True, "b.a": True, "a": False, "b.b.a": False, "a.b": False},
    ".*": {".": True, ".a": True, "a.b": False, "": False, "..": False},
    "*.": {".": True, "a.": True, "a.b": False, "a": False},
    ".": {".": True, "": False, "a": False, "..": False},
    "..": {"..": True, ".": False, "a..": False},
    "a.#": {
        "a": True,
        "a.": True,
        "a.b": True,
        "a.b.c": True,
        "": False,
        "b": False,
        "ab": False,
        "b.a": False,
    },
    "#.a": {"a": True, ".a": True, "b.a": True, "c.b.a": True, "": False, "a.b": False, "ba": False},
    "a.#.b": {
        "a.b": True,
        "a..b": True,
        "a.x.b": True,
        "a.x.y.b": True,
        "a.b.b": True,
        "a.b.c": False,
        "a": False,
        "b": False,
    },
    "#.a.#": {
        "a": True,
        "b.a": True,
        "a.b": True,
        "x.y.a.z": True,
        "a.a": True,
        "b": False,
        "": False,
        "aa": False,
    },
    "#.#": {"": True, "a": True, ".": True, "a.b.c": True},
    "#.*": {"a": True, "a.b": True, ".": True, "": False},
    "*.#": {"a": True, "a.b": True, "a.b.c": True, ".": True, "": False},
    "#.*.#": {"a": True, "a.b": True, "": False},
    "*.#.*": {"a.b": True, "a.x.b": True, "a": False, "": False, ".": True},
    "#.#.#": {"": True, "a": True, "a.b": True},
    "a.*.c": {"a.b.c": True, "a..c": True, "a.c": False, "a.b.b.c": False, "a.b": False},
    "a.*.#.c": {"a.b.c": True, "a.b.x.c": True, "a.c": False, "a.c.c": True},
    "*.stock.#": {"usd.stock": True, "eur.stock.db": True, "stock.nasdaq": False, "a.b.stock": False},
    "a.#.b.#.c": {"a.b.c": True, "a.x.b.y.c": True, "a.b.b.c.c": True, "a.c.b": False, "a.b": False},
    "#.a.#.a": {"a.a": True, "a.b.a": True, "b.a.c.a": True, "a": False, "a.a.b": False},
    "a*": {"a*": True, "ab": False, "a": False},
    "*a": {"*a": True, "ba": False},
    "a#": {"a#": True, "ab": False, "a.b": False},
    "**": {"**": True, "a": False, "a.b": False},
    "##": {"##": True, "a": False, "": False},
    "*#": {"*#": True, "a": False},
    "a.+": {"a.+": True, "a.b": False},
    "ä.*": {"ä.ö": True, "ä.€😀": True, "a.ö": False},
    "a b.*": {"a b.c d": True, "a.b": False},
}
ROWS = [(pattern, key, routed) for pattern, keys in TABLE.items() for key, routed in keys.items()]


@pytest.fixture
def exchange(channel: BlockingChannel, name: str) -> str:
    """A topic exchange."""
    channel.exchange_declare(name, "topic")
    return name


def binds(broker: Broker, pattern: str) -> bool:
    """Whether the broker takes a pattern: RabbitMQ 4.3 allows two # in it."""
    return broker.version < (4, 3) or split(pattern).count("#") <= 2


@pytest.mark.parametrize("pattern", TABLE)
def test_pattern(broker: Broker, channel: BlockingChannel, exchange: str, queue: str, pattern: str) -> None:
    """Of the keys in the pattern's rows of the table those arrive that are marked, and no others."""
    if not binds(broker, pattern):
        with closes(406, f"Topic binding key '{pattern}' uses 3 '#' wildcards, at most 2 are allowed"):
            channel.queue_bind(queue, exchange, pattern)
        return
    channel.queue_bind(queue, exchange, pattern)
    for key in TABLE[pattern]:
        channel.basic_publish(exchange, key, key.encode())
    assert bodies(channel, queue) == [key.encode() for key, routed in TABLE[pattern].items() if routed]


def test_patterns_side_by_side(broker: Broker, channel: BlockingChannel, exchange: str, names: Names) -> None:
    """All patterns of the table, bound to one exchange, do not disturb each other."""
    queues = {pattern: names() for pattern in TABLE if binds(broker, pattern)}
    for pattern, queue in queues.items():
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange, pattern)
    for key in dict.fromkeys(key for _, key, _ in ROWS):
        channel.basic_publish(exchange, key, key.encode())
    arrived = {pattern: bodies(channel, queue) for pattern, queue in queues.items()}
    rows = [row for row in ROWS if row[0] in queues]
    wrong = [row for row in rows if (row[1].encode() in arrived[row[0]]) is not row[2]]
    assert wrong == []


def matches(pattern: list[str], words: list[str]) -> bool:
    """The rule in its plainest form, to compare with."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches(pattern[1:], words[1:])


def split(text: str) -> list[str]:
    return text.split(".") if text else []


def test_random_patterns(broker: Broker, channel: BlockingChannel, exchange: str, names: Names) -> None:
    """For 40 patterns and all keys of up to four words the broker agrees with the plain rule."""
    chooser = random.Random(20231)
    keys = [".".join(words) for length in range(5) for words in itertools.product("ab", repeat=length)]
    patterns = {".".join(chooser.choices("ab*#", k=chooser.randint(1, 5))) for _ in range(40)}
    queues = {pattern: names() for pattern in sorted(patterns) if binds(broker, pattern)}
    for pattern, queue in queues.items():
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange, pattern)
    for key in keys:
        channel.basic_publish(exchange, key, key.encode())
    for pattern, queue in queues.items():
        expected = [key.encode() for key in keys if matches(split(pattern), split(key))]
        assert bodies(channel, queue) == expected, pattern


@pytest.mark.parametrize("removed", ["a.*", "a.#", "#", "a.b"])
def test_unbinding_leaves_overlapping_patterns(
    channel: BlockingChannel, exchange: str, queue: str, removed: str
) -> None:
    """Patterns that share words with a removed one stay."""
    patterns = {"a.*": "a.x", "a.#": "a.x.y", "#": "other", "a.b": "a.b", "a.b.c": "a.b.c"}
    for pattern in patterns:
        channel.queue_bind(queue, exchange, pattern)
    channel.queue_unbind(queue, exchange, removed)
    for pattern in [pattern for pattern in patterns if pattern not in ("#", removed)]:
        channel.queue_unbind(queue, exchange, pattern)
    channel.basic_publish(exchange, "anything", b"x")
    assert bodies(channel, queue) == [b"x"] * (removed != "#")


def test_unbinding_the_only_pattern(channel: BlockingChannel, exchange: str, queue: str) -> None:
    """After the unbind of its only pattern a queue gets nothing."""
    for pattern in ("a.#.b", "a.*.b"):
        channel.queue_bind(queue, exchange, pattern)
        channel.queue_unbind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.x.b", b"x")
    assert bodies(channel, queue) == []


def test_overlapping_patterns_deliver_once(channel: BlockingChannel, exchange: str, queue: str) -> None:
    """The queue gets one copy of a message that several patterns match."""
    for pattern in ("a.b", "a.*", "a.#", "#", "*.b", "#.b", "#.#"):
        channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.b", b"once")
    assert bodies(channel, queue) == [b"once"]


@pytest.mark.parametrize("pattern", ["#", "#.a", "a.#", "#.a.#", "a.#.a", ".".join("*" * 128)])
def test_longest_key(channel: BlockingChannel, exchange: str, queue: str, pattern: str) -> None:
    """The longest key has 128 words in 255 bytes."""
    channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, ".".join("a" * 128), b"x")
    assert bodies(channel, queue) == [b"x"]
