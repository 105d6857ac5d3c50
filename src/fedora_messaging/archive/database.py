"""The database below an archive: the two kinds differ in how they search words and give space back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

from .query import Words

Values = Mapping[str, Any]
Row = tuple[Any, ...]

#: Version of the tables; see ``migrations`` of each database.
VERSION: Final = 1
#: A key is the second in which a message was sent, and its number among those of that second.
KEYS_PER_SECOND: Final = 1 << 20


class ArchiveError(Exception):
    """The archive cannot be used; the text says why, and names it without a password."""


class Source(NamedTuple):
    """What to select messages ``m`` from.

    Attributes:
        tables: What follows ``FROM``.
        key: The column with the keys, by which the tables are in order already.
        keys: What follows ``FROM`` where only the keys are needed.
    """

    tables: str
    key: str
    keys: str


#: All messages.
MESSAGES: Final = Source("messages m", "m.key", "messages m")


class Terms(NamedTuple):
    """What finds a message in the index: its words in their order, and marks, which are no words.

    Attributes:
        words: Words of letters and digits.
        marks: Texts that begin with a letter and an underscore, and go on with letters and digits.
    """

    words: list[str]
    marks: list[str]


class Wanted(NamedTuple):
    """What to look for in the index.

    Attributes:
        words: Phrases.
        marks: Of each of these lists, one must be there.
        without: None of these marks may be there.
    """

    words: Words
    marks: list[list[str]]
    without: list[str]

    def __bool__(self) -> bool:
        return bool(self.words or self.marks or self.without)


class Database(Protocol):
    """Runs statements, whose values are written ``:name``; all errors are :class:`ArchiveError`.

    Any thread may call it. Writers wait for each other.

    Attributes:
        name: Name of the database for people, without a password.
        misjudges: Whether it guesses badly how many messages have several terms, so that it may go through
            all messages to find a few.
    """

    name: str
    misjudges: bool

    def writing(self) -> AbstractContextManager["Writer"]:
        """Commit what is written inside, all or nothing; it is on disk when this returns."""
        ...

    def read(self, statement: str, values: Values) -> list[Row]:
        """Run a statement that only reads, and return its rows."""
        ...

    def match(self, wanted: Wanted) -> tuple[Source, str, Values]:
        """Say how to find what some message may have.

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

    def merge(self) -> None:
        """Have the index forget what was deleted, which takes space until then."""
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

    def present(self, table: str, column: str, values: Sequence[Any]) -> set[Any]:
        """Return which of the values a column has."""
        ...

    def add(self, rows: Sequence[Values], terms: Sequence[Terms]) -> None:
        """Add messages and their ids, in the order of keys, with the terms by which each is found."""
        ...

    def unindex(self, terms: Iterable[tuple[int, Terms]]) -> None:
        """Forget by which terms messages were found: each is a key with the same terms again."""
        ...

    def drop_before(self, key: int) -> int:
        """Delete messages below a key where that is cheaper than one by one; return how many."""
        ...


def batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut values into parts of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
