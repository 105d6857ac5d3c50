"""How fast an archive stores and finds: ``python -m benchmarks.archive --messages 1000000``."""

import argparse
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.archive_messages import messages
from benchmarks.report import table
from benchmarks.workers.common import rss_mb
from fedora_messaging.archive.archive import Archive
from fedora_messaging.archive.entry import Entry, entry_of
from fedora_messaging.archive.location import open_archive
from fedora_messaging.archive.query import Query
from fedora_messaging.archive.sqlite import is_sqlite
from fedora_messaging.message import loads

_DAY = 86400.0
#: One message in so many is looked at to choose what to search for.
_SAMPLED = 20
#: Shortest word to search for; shorter ones are parts of versions and the like.
_SHORTEST = 4
#: Different searches of each kind, and how often each of them is run after a first time.
_SEARCHES = 10
_REPEATS = 3
#: What any archive in FTS5 has to do to answer a search for words.
_BARE = (
    "SELECT m.record FROM search CROSS JOIN messages m ON m.key = search.rowid "
    "WHERE search MATCH ? ORDER BY search.rowid DESC LIMIT 50"
)


#: Runs a plain FTS5 query.
Plain = Callable[[str], object]


class _Stored(NamedTuple):
    """How storing went: messages, seconds spent preparing them, and seconds for each batch."""

    messages: int
    preparing: float
    storing: list[float]


class _Census:
    """Counts what a sample of the messages has, to choose searches by how much they find."""

    def __init__(self) -> None:
        self.size = 0
        self._words: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._packages: Counter[str] = Counter()
        self.newest = 0.0

    def add(self, entry: Entry) -> None:
        self.size += 1
        self._words.update(
            {word for word in entry.words.split() if word.isalpha() and len(word) >= _SHORTEST}
        )
        self._users.update(entry.users)
        self._packages.update(entry.packages)
        self.newest = max(self.newest, entry.sent)

    def words(self, share: float) -> list[str]:
        """Words that about this share of the messages has."""
        return _nearest(self._words, share * self.size)

    def users(self, share: float) -> list[str]:
        return _nearest(self._users, share * self.size)

    def packages(self, share: float) -> list[str]:
        return _nearest(self._packages, share * self.size)


def _nearest(counts: Counter[str], wanted: float) -> list[str]:
    return sorted(counts, key=lambda name: (abs(counts[name] - wanted), name))[:_SEARCHES]


def _store(archive: Archive, count: int, seed: int, batch: int) -> tuple[_Stored, _Census]:
    census = _Census()
    preparing, storing = 0.0, []
    number = 0
    lines = (message.line for message in messages(count, seed))
    while part := list(islice(lines, batch)):
        began = time.perf_counter()
        entries = [entry_of(loads(line)[0], 0.0) for line in part]
        prepared = time.perf_counter()
        new = archive.store(entries)
        storing.append(time.perf_counter() - prepared)
        preparing += prepared - began
        if new != len(part):
            raise RuntimeError(f"{len(part)} messages were new, but {new} were stored")
        for place, entry in enumerate(entries, number):
            if place % _SAMPLED == 0:
                census.add(entry)
        number += new
    return _Stored(number, preparing, storing), census


def _searches(census: _Census) -> dict[str, list[Query]]:
    common, frequent, rare = census.words(0.5), census.words(0.01), census.words(0.0)
    users, rare_users = census.users(0.01), census.users(0.0)
    packages, rare_packages = census.packages(0.01), census.packages(0.0)
    days = [census.newest - month * 30 * _DAY for month in range(1, _SEARCHES + 1)]
    return {
        "everything": [Query()],
        "a word in half of the messages": [Query(text=word) for word in common],
        "a word in 1 %": [Query(text=word) for word in frequent],
        "a rare word": [Query(text=word) for word in rare],
        "two words, common and in 1 %": [
            Query(text=f"{one} {two}") for one, two in zip(common, frequent, strict=False)
        ],
        "two words, common and rare": [
            Query(text=f"{one} {two}") for one, two in zip(common, rare, strict=False)
        ],
        "a phrase": [Query(text='"org fedoraproject prod"')],
        "the begin of a word": [Query(text=f"{word[:4]}*") for word in rare],
        "a page further on": [Query(text=word, offset=1000) for word in common],
        "topic pattern": [Query(topics=("org.fedoraproject.prod.buildsys.#",)), Query(topics=("#.fas.#",))],
        "a user": [Query(users=(user,)) for user in (*users, *rare_users)],
        "a package": [Query(packages=(package,)) for package in (*packages, *rare_packages)],
        "a day": [Query(since=day, until=day + _DAY) for day in days],
        "severity, none as high": [Query(severity=40)],
        "common word, day": [Query(text=common[0], since=day, until=day + _DAY) for day in days],
        "common word, user": [Query(text=common[0], users=(user,)) for user in (*users, *rare_users)],
        "common word, rare package": [
            Query(text=common[0], packages=(package,)) for package in rare_packages
        ],
        "user and package": [
            Query(users=(user,), packages=(package,)) for user, package in zip(users, packages, strict=False)
        ],
        "user and topic pattern": [Query(users=(user,), topics=("#.bodhi.#",)) for user in users],
        "word and topic pattern, none": [Query(text="account", topics=("#.buildsys.#",))],
    }


def _milliseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - began)


def _p95(figures: Iterable[float]) -> float:
    ordered = sorted(figures)
    return ordered[int(len(ordered) * 0.95)]


def _match(query: Query) -> str:
    """Return what FTS5 calls a search that has words and nothing else; for another one, an empty text."""
    # The words that are searched for have letters only, so FTS5 reads them as they are.
    return query.text if query == Query(text=query.text) else ""


def _measure(archive: Archive, plain: Plain | None, queries: Sequence[Query]) -> Iterator[str]:
    """Yield the cells of a kind of searches."""
    found = [len(archive.find(query)) for query in queries]
    again = [query for query in queries for _ in range(_REPEATS)]
    times = [_milliseconds(partial(archive.find, query)) for query in again]
    counts = [_milliseconds(partial(archive.count, query)) for query in again]
    bare = [_milliseconds(partial(plain, match)) for query in again if plain and (match := _match(query))]
    yield f"{min(found)}-{max(found)}" if min(found) != max(found) else str(found[0])
    yield f"{median(times):.1f}"
    yield f"{_p95(times):.1f}"
    yield f"{_p95(bare):.1f}" if bare else "-"
    yield f"{_p95(counts):.1f}"


@contextmanager
def _plain(location: str) -> Iterator[Plain | None]:
    """Yield what runs plain FTS5 queries on an archive, if it is a file."""
    if not is_sqlite(location):
        yield None
        return
    with closing(sqlite3.connect(location)) as connection:
        yield lambda match: connection.execute(_BARE, (match,)).fetchall()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    add = parser.add_argument
    add(
        "--archive",
        metavar="LOCATION",
        help="file or postgresql:// URL, empty (default: a file that is deleted)",
    )
    add("--messages", type=int, metavar="N", default=100_000, help="default 100000")
    add("--batch", type=int, metavar="N", default=500, help="messages in a transaction; default 500")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def _run(location: str, arguments: argparse.Namespace) -> None:
    with closing(open_archive(location)) as archive:
        stored, census = _store(archive, arguments.messages, arguments.seed, arguments.batch)
        last = stored.storing[-max(len(stored.storing) // 10, 1) :]
        outline = archive.outline()
        rows = [
            ["storing", ""],
            ["messages/s", f"{stored.messages / sum(stored.storing):.0f}"],
            ["messages/s, last tenth", f"{len(last) * arguments.batch / sum(last):.0f}"],
            [
                "messages/s with preparing",
                f"{stored.messages / (sum(stored.storing) + stored.preparing):.0f}",
            ],
            ["longest batch, ms", f"{1000 * max(stored.storing):.0f}"],
            ["memory, MB", f"{rss_mb():.0f}"],
            ["size, MB", f"{outline.size / 1e6:.0f}"],
        ]
        print(table(rows), flush=True)
        rows = [["finding 50, in ms", "found", "median", "p95", "plain FTS5 p95", "count p95"]]
        with _plain(location) as plain:
            for name, queries in _searches(census).items():
                rows.append([name, *_measure(archive, plain, queries)])
        print(f"\n{table(rows)}\n\nmemory after it, MB: {rss_mb():.0f}")


def _main() -> None:
    arguments = _arguments()
    if arguments.archive:
        _run(arguments.archive, arguments)
        return
    with tempfile.TemporaryDirectory(prefix="fm-benchmark-") as directory:
        _run(str(Path(directory) / "archive.db"), arguments)


if __name__ == "__main__":
    _main()
