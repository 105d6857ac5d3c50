"""The database below an archive: the two kinds differ in how they search words and give space back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

from .query import Words

Values = Mapping[str, Any]
Row = tuple[Any, ...]

#: Version of the tables; see ``migrations`` of each database.
VERSION: Final = 1


class ArchiveError(Exception):
    """The archive cannot be used; the text says why, and names it without a password."""


class Source(NamedTuple):
    """What to select messages ``m`` from.

    Attributes:
        tables: What follows ``FROM``.
        key: The column with the keys that is in order already, if one is.
    """

    tables: str
    key: str


#: All messages.
MESSAGES: Final = Source("messages m", "m.key")


class Database(Protocol):
    """Runs statements, whose values are written ``:name``; all errors are :class:`ArchiveError`.

    Any thread may call it. Writers wait for each other.

    Attributes:
        name: Name of the database for people, without a password.
    """

    name: str

    def writing(self) -> AbstractContextManager["Writer"]:
        """Commit what is written inside, all or nothing; it is on disk when this returns."""
        ...

    def read(self, statement: str, values: Values) -> list[Row]:
        """Run a statement that only reads, and return its rows."""
        ...

    def match(self, words: Words) -> tuple[Source, str, Values]:
        """Say how to find words that some message may have.

        Returns:
            What to select from, a condition, and its values.
        """
        ...

    def size(self) -> int:
        """Return how many bytes the messages take."""
        ...

    def end_of_oldest(self) -> int | None:
        """Return a key: what is below it goes next, if there is too much; ``None`` if nothing should."""
        ...

    def give_back(self) -> None:
        """Return the space of deleted messages to the file system, as far as possible."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Writer(Protocol):
    """A transaction that writes."""

    def run(self, statement: str, values: Values) -> list[Row]:
        """Run a statement and return its rows."""
        ...

    def run_many(self, statement: str, values: Sequence[Values]) -> None:
        """Run a statement for each of several values."""
        ...

    def make_room(self, keys: Sequence[int]) -> None:
        """Prepare for messages with these keys."""
        ...

    def index(self, words: Sequence[tuple[int, str]]) -> None:
        """Make messages findable by their words; each is a key with the words."""
        ...

    def unindex(self, words: Sequence[tuple[int, str]]) -> None:
        """Undo :meth:`index`, with the same words."""
        ...

    def drop_before(self, key: int) -> int:
        """Delete messages below a key where that is cheaper than one by one; return how many."""
        ...


def listed(name: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return a list for ``IN`` with its values, which are called ``name0`` and so on."""
    named = {f"{name}{place}": value for place, value in enumerate(values)}
    return "(" + ", ".join(f":{each}" for each in named) + ")", named


def batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut values into parts of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
