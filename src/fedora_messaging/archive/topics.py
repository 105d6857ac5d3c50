"""Topic patterns, compared with a topic outside of a broker."""

from collections.abc import Iterable


def topic_fits(pattern: str, topic: str) -> bool:
    """Whether a topic fits a pattern, in which ``*`` is one word and ``#`` any number of them.

    Source: AMQP 0-9-1, section 3.1.3.3. The time is bounded by the product of both numbers of words.
    """
    parts = _words(pattern)
    # The places in the pattern that the words so far may have led to.
    reached = _skip_hashes({0}, parts)
    for word in _words(topic):
        stays = {place for place in reached if place < len(parts) and parts[place] == "#"}
        moves = {place + 1 for place in reached if place < len(parts) and parts[place] in ("*", word)}
        reached = _skip_hashes(stays | moves, parts)
        if not reached:
            return False
    return len(parts) in reached


def fits_any(patterns: Iterable[str], topic: str) -> bool:
    """Whether a topic fits at least one of several patterns."""
    return any(topic_fits(pattern, topic) for pattern in patterns)


def category_of(topic: str) -> str:
    """Return the fourth word of a topic, where Fedora has the name of the application; else nothing."""
    words = topic.split(".")
    return words[3] if len(words) > 3 else ""


def _words(text: str) -> list[str]:
    # An empty topic has no words at all, but an empty text between two dots is a word.
    return text.split(".") if text else []


def _skip_hashes(places: set[int], parts: list[str]) -> set[int]:
    """Add the places behind each ``#``, which may stand for no word."""
    found = set(places)
    for place in sorted(places):
        following = place
        while following < len(parts) and parts[following] == "#":
            following += 1
            found.add(following)
    return found
