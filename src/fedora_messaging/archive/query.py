"""What to find in an archive."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .entry import words_in

_DEFAULT_LIMIT: Final = 50
_PIECE: Final = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """Which messages to find, and in which order.

    Within an attribute one of the values must fit, but each attribute that is not empty must.

    Attributes:
        since: Sent at this time or later, in seconds since 1970.
        until: Sent before this time.
        topics: Topic patterns, as in bindings.
        users: Names of users.
        packages: Names of packages.
        categories: Words in the fourth place of the topic: in Fedora, the name of an application.
        apps: Names of applications.
        severity: The lowest severity.
        text: Words that must all be in the message. ``"two words"`` must follow each other, ``word*`` may go
            on, and ``-word`` must be missing.
        contains: Texts of which one must be in the message, as whole words that follow each other.
        agents: Names of users who have caused it.
        without_topics: Patterns that must not fit; so with the next four.
        without_users: Names of users.
        without_packages: Names of packages.
        without_categories: Names of categories.
        without_agents: Names of users who have not caused it.
        newest_first: Whether the latest comes first; otherwise it comes last.
        before: Only keys below this one, for the next page of the newest first.
        after: Only keys above this one.
        limit: Most messages to return.
        offset: How many to leave out first.
    """

    since: float | None = None
    until: float | None = None
    topics: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    severity: int | None = None
    text: str = ""
    contains: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    without_topics: tuple[str, ...] = ()
    without_users: tuple[str, ...] = ()
    without_packages: tuple[str, ...] = ()
    without_categories: tuple[str, ...] = ()
    without_agents: tuple[str, ...] = ()
    newest_first: bool = True
    before: int | None = None
    after: int | None = None
    limit: int = _DEFAULT_LIMIT
    offset: int = 0

    @property
    def words(self) -> "Words":
        """What the texts ask for."""
        found = [Phrase(tuple(words_in(text)), False) for text in self.contains]
        all_of, none_of = _phrases_in(self.text)
        # A text without words is in no message; but if no text was given, all messages will do.
        return Words(all_of, [one for one in found if one.words], none_of, bool(self.contains))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other.

    Attributes:
        words: The words, in lower case.
        is_prefix: Whether the last one may go on.
    """

    words: tuple[str, ...]
    is_prefix: bool

    def is_in(self, words: Sequence[str]) -> bool:
        """Whether a text with these words has the phrase."""
        *first, last = self.words
        length = len(first)
        return any(
            (word.startswith(last) if self.is_prefix else word == last)
            and (not length or (place >= length and list(words[place - length : place]) == first))
            for place, word in enumerate(words)
        )


@dataclass(frozen=True, slots=True)
class Words:
    """What must be in the text of a message.

    Attributes:
        all_of: Each of these.
        any_of: One of these, if ``needs_any``.
        none_of: None of these.
        needs_any: Whether one of ``any_of`` is needed.
    """

    all_of: list[Phrase]
    any_of: list[Phrase]
    none_of: list[Phrase]
    needs_any: bool

    def __bool__(self) -> bool:
        return bool(self.all_of or self.none_of or self.needs_any)

    def are_in(self, words: Sequence[str]) -> bool:
        """Whether a text with these words, in lower case, has what is asked for."""
        return (
            all(phrase.is_in(words) for phrase in self.all_of)
            and (not self.needs_any or any(phrase.is_in(words) for phrase in self.any_of))
            and not any(phrase.is_in(words) for phrase in self.none_of)
        )

    @property
    def are_impossible(self) -> bool:
        """Whether no message can have them."""
        return self.needs_any and not self.any_of


def _phrases_in(text: str) -> tuple[list[Phrase], list[Phrase]]:
    """Read what a person has typed to search for; any text means something.

    Returns:
        The phrases that must be there, and those that must not.
    """
    wanted: list[Phrase] = []
    unwanted: list[Phrase] = []
    for minus, quoted, plain in _PIECE.findall(text):
        words = tuple(words_in(quoted or plain))
        if words:
            chosen = unwanted if minus or plain.startswith("-") else wanted
            chosen.append(Phrase(words, plain.endswith("*")))
    return wanted, unwanted
