"""An archive stores each message once, finds what is asked for, and forgets the oldest; on both databases."""

from __future__ import annotations

import random
import string
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.archive.support import (
    DAY,
    NOON,
    Asked,
    Model,
    Piece,
    Places,
    PostgresPlaces,
    entries,
    entry,
    ids,
    message,
    pages,
)
from tests.support.waiting import WAIT

from fedora_messaging.archive.archive import Archive
from fedora_messaging.archive.database import ArchiveError
from fedora_messaging.archive.entry import Entry, entry_of, unreadable_entry, words_of_record
from fedora_messaging.archive.query import Query
from fedora_messaging.message import DEBUG, ERROR, INFO, WARNING
from fedora_messaging.wire.properties import BasicProperties

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Keys of one second.
SECOND = 1 << 20
ALL = Query(limit=10_000, newest_first=False)


def stored(archive: Archive) -> list[str]:
    """Ids of all messages, the oldest first."""
    return ids(archive.find(ALL))


def skip_seqs(places: Places, location: str, seq: int) -> None:
    """Have the next message get the `seq` after this one, as if so many had been stored."""
    places.run(location, f"UPDATE counters SET value = {seq} WHERE name = 'seq'")


# Storing


def test_nothing_is_stored(archive: Archive) -> None:
    assert archive.store([]) == 0
    assert archive.find(Query()) == []
    assert archive.get("1") is None
    assert archive.count(Query()) == 0
    assert [*archive.each(Query())] == []
    assert archive.newest_seq() == 0
    assert archive.stored_after(0) == []
    assert archive.topics() == []
    found = archive.outline()
    assert (found.messages, found.oldest, found.newest) == (0, None, None)
    assert archive.prune(before=NOON) == archive.prune(most_bytes=0) == 0


def test_what_is_stored_comes_back(places: Places) -> None:
    archive = Archive(places.archive()._database, clock=lambda: 77.5)
    one = entry_of(
        message(
            {
                "summary": "A summary\nof ünïcode 𝒳",
                "app": "koji",
                "agent": "jdoe",
                "users": ["jdoe", 'qu"ote', "mary"],
                "packages": ["kernel", "%s :name {}"],
                "text": "' \" \\ \x00 \ud800 :colon %s ?",
            },
            id="the-id",
            topic="org.fedoraproject.prod.koji",
            sent=NOON + 0.123456,
            severity=WARNING,
            headers={"fedora_messaging_schema": "koji.build"},
        ),
        0.0,
    )
    assert archive.store([one]) == 1
    (found,) = archive.find(Query())
    assert archive.get("the-id") == found
    assert (found.seq, found.stored) == (1, 77.5)
    for name in (
        "id",
        "topic",
        "severity",
        "app",
        "agent",
        "schema",
        "summary",
        "users",
        "packages",
        "record",
    ):
        assert getattr(found, name) == getattr(one, name)
    assert found.sent == pytest.approx(NOON + 0.123456, abs=1e-6)


def test_each_message_is_stored_once(archive: Archive) -> None:
    """By its id alone, in one batch, in several, and among more than are looked up together."""
    assert archive.store([*entries("a", "b", "a"), entry("a", text="other")]) == 2
    assert archive.store(entries("b")) == 0
    assert archive.store(entries("c", "b", "c")) == 1
    assert archive.count(Query()) == 3
    many = entries(*(f"n{number}" for number in range(1203)))
    assert archive.store(many + many) == 1203
    assert archive.store(many[::-1]) == 0
    assert archive.outline().messages == archive.count(Query()) == 1206
    assert archive.topics() == [("org.example.app.thing", 1206)]


def test_the_first_one_is_kept(archive: Archive) -> None:
    archive.store([entry("a", summary="first"), entry("a", summary="second")])
    archive.store([entry("a", summary="third", sent=NOON - 1, topic="x")])
    assert [(one.summary, one.sent, one.topic) for one in archive.find(Query())] == [
        ("first", NOON, "org.example.app.thing")
    ]
    assert archive.count(Query(text="second")) == archive.count(Query(text="third")) == 0


def test_one_that_comes_twice_keeps_its_place(archive: Archive) -> None:
    archive.store(entries("a", "b", "a", "c"))
    assert ids(archive.stored_after(0)) == stored(archive) == ["a", "b", "c"]


def test_a_batch_is_stored_as_a_whole_or_not_at_all(archive: Archive) -> None:
    """Whatever fails, nothing of it stays: neither words nor counts nor a gap in what is read."""
    archive.store(entries("a"))
    odd = replace(entry("c", text="odd"), record=None)  # type: ignore[arg-type]
    with pytest.raises(ArchiveError):
        archive.store([entry("b", text="even"), odd])
    assert stored(archive) == ["a"]
    assert archive.newest_seq() == 1
    assert archive.topics() == [("org.example.app.thing", 1)]
    assert archive.store(entries("b", "c")) == 2
    assert archive.count(Query(text="even")) == archive.count(Query(text="odd")) == 0


#: Messages that came from strangers, each of which must get in: one that cannot holds up all behind it.
ODD: dict[str, dict[str, Any]] = {
    "severity": {"severity": 2**40},
    "huge severity": {"severity": 2**70},
    "truth as severity": {"severity": True},
    "year 10000": {"headers": {"sent-at": "9999-12-31T23:59:59-23:59"}},
    "last microsecond": {"headers": {"sent-at": datetime.max}},
    "long name": {"body": {"users": ["".join(random.Random(1).choices(string.printable, k=20_000))]}},
    "long words": {"body": {"text": " ".join(f"{n}" + chr(0x4E00 + n % 20_000) * 30 for n in range(17_000))}},
    "long text": {"body": {"text": " ".join(chr(0x430 + n % 32) * 40 + f"{n}" for n in range(13_000))}},
    "a word for ever": {"body": {"text": "x" * 1_000_000}},
    "one word often": {"body": {"text": "x " * 200_000}},
    "NUL": {"id": "a\x00b", "topic": "a.\x00", "body": {"users": ["\x00"], "app": "\x00", "\x00": "\x00"}},
    "surrogates": {"id": "a\ud800", "topic": "a.\ud800", "body": {"packages": ["\udfff"], "agent": "\ud800"}},
    "nothing": {"id": "", "topic": "", "body": None, "sent": None},
    "summary": {"body": {"summary": "long words " * 500}},
}


@pytest.mark.parametrize("told", ODD.values(), ids=ODD)
def test_odd_messages_get_in_and_out(archive: Archive, told: dict[str, Any]) -> None:
    one = entry_of(message(**told), NOON)
    assert archive.store([one, *entries("other")]) == 2
    found = archive.get(one.id)
    assert found is not None
    assert (found.record, found.users) == (one.record, one.users)
    assert archive.prune(before=float(2**40)) == 2
    assert archive.count(Query(text=one.words[:20])) == 0


def test_unreadable_delivery_is_found(archive: Archive) -> None:
    one = unreadable_entry("a.b", "q", BasicProperties(), b"\x00{", "no JSON object", NOON)
    assert archive.store([one, one]) == 1
    assert ids(archive.find(Query(text="json"))) == [one.id]
    assert archive.prune(before=NOON + 1) == 1


@pytest.mark.parametrize("id", ["a\x00", "a\ud800"])
def test_odd_ids_are_looked_up(archive: Archive, id: str) -> None:
    """Whoever asks has them from the address of a page."""
    assert archive.get(id) is None
    archive.store([entry_of(message({"users": [id], "app": id}, id=id), 0.0)])
    found = archive.get(id)
    assert found is not None
    assert ids(archive.find(Query(users=(id,)))) == [found.id]
    assert ids(archive.find(Query(apps=(id,)))) == [found.id]
    assert archive.find(Query(packages=(id,), without_users=(id,), topics=(id,), text=id)) == []


# Order


def test_order_is_that_of_sending(archive: Archive) -> None:
    archive.store([entry("late", sent=NOON + 5), entry("early", sent=NOON - 5)])
    archive.store([entry("first", sent=0.0), entry("last", sent=NOON * 2)])
    assert stored(archive) == ["first", "early", "late", "last"]
    assert ids(archive.find(Query())) == ["last", "late", "early", "first"]
    assert [one.seq for one in archive.find(ALL)] == [3, 2, 1, 4]


def test_messages_of_one_second_keep_the_order_of_storing(archive: Archive) -> None:
    archive.store([entry("a", sent=NOON + 0.9), entry("b", sent=NOON + 0.1)])
    archive.store([entry("c", sent=NOON + 0.5)])
    assert stored(archive) == ["a", "b", "c"]
    assert ids(archive.find(Query())) == ["c", "b", "a"]
    # All the same, a time is meant exactly.
    assert ids(archive.find(Query(since=NOON + 0.5))) == ["c", "a"]
    assert ids(archive.find(Query(until=NOON + 0.5))) == ["b"]


def test_a_second_with_more_messages_than_numbers(places: Places) -> None:
    """After 2**20 messages the numbers in a second begin again; those that are taken are passed over."""
    location = places.new()
    archive = places.open(location)
    archive.store(entries("a", "b", "c"))
    skip_seqs(places, location, SECOND)
    archive.store(entries("d", "e"))
    archive.store(entries("f"))
    assert {*stored(archive)} == {*"abcdef"}
    keys = [one.key for one in archive.find(ALL)]
    assert keys == sorted({*keys})
    assert ids(archive.stored_after(0)) == [*"abcdef"]
    assert [*pages(archive, Query(limit=2))] == stored(archive)[::-1]


def test_the_last_number_of_a_second_is_taken(places: Places) -> None:
    """A message moves on, but not out of the times at which it is looked for."""
    location = places.new()
    archive = places.open(location)
    for rounds, id in enumerate("ab", 1):
        skip_seqs(places, location, rounds * SECOND - 2)
        archive.store([entry(id, sent=NOON + 0.25)])
    assert {*stored(archive)} == {"a", "b"}
    for query in (Query(until=NOON + 0.5), Query(since=NOON, until=NOON + 1), Query(since=NOON + 0.25)):
        assert {*ids(archive.find(query))} == {"a", "b"}
    archive.prune(before=NOON + 1)
    assert stored(archive) == []


# Whoever follows


def test_what_was_stored_after(archive: Archive) -> None:
    archive.store([entry("a", sent=NOON), entry("b", sent=NOON - 100)])
    archive.store(entries("b", "c", sent=NOON - 200))
    found = archive.stored_after(0)
    assert [(one.seq, one.id) for one in found] == [(1, "a"), (2, "b"), (3, "c")]
    assert archive.newest_seq() == 3
    assert ids(archive.stored_after(1)) == ["b", "c"]
    assert ids(archive.stored_after(1, most=1)) == ["b"]
    assert archive.stored_after(3) == []
    # What is forgotten does not come again, nor does its number.
    archive.prune(before=NOON + 1)
    assert (archive.stored_after(0), archive.newest_seq()) == ([], 3)
    archive.store(entries("d"))
    assert [one.seq for one in archive.stored_after(0)] == [4]


def test_two_writers_and_readers_who_miss_nothing(places: Places) -> None:
    """Whoever has seen a number has seen all below it, though two processes store at the same time."""
    location = places.new()
    writers = [places.open(location) for _ in range(2)]
    reader = places.open(location)
    errors: list[BaseException] = []

    def write(archive: Archive, name: str) -> None:
        try:
            for number in range(60):
                # Months that do not exist yet, and ids that the other one stores, too.
                sent = NOON + 20 * DAY * (number % 7)
                batch = [entry(f"{name}{number}.{at}", sent=sent) for at in range(3)]
                archive.store([*batch, entry(f"both{number}", sent=sent)])
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=write, args=(archive, name), daemon=True)
        for archive, name in zip(writers, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    is_over = False
    while not is_over:
        is_over = not any(thread.is_alive() for thread in threads)
        newest = reader.newest_seq()
        seen += [one.seq for one in reader.stored_after(seen[-1] if seen else 0)]
        assert seen == [*range(1, len(seen) + 1)]
        assert is_over or len(seen) >= min(newest, 1) or not newest
    for thread in threads:
        thread.join(WAIT)
    assert not errors
    while more := reader.stored_after(len(seen)):
        seen += [one.seq for one in more]
    assert seen == [*range(1, 60 * 7 + 1)]
    assert reader.outline().messages == 60 * 7


def test_epoch(places: Places) -> None:
    """Two archives can be told apart, also when the second is at the place of the first."""
    first, second = places.new(), places.new()
    archive = places.open(first)
    epoch = archive.epoch
    assert 0 <= epoch < 2**32
    assert places.open(first).epoch == epoch
    assert places.open(second).epoch != epoch


# Finding


def test_count_stops(archive: Archive) -> None:
    archive.store(entries(*"abcde"))
    assert archive.count(Query(limit=2)) == 5
    assert archive.count(Query(), most=3) == 3


def test_each_goes_on_where_it_began(archive: Archive) -> None:
    """Those that are stored meanwhile do not move the pages."""
    archive.store([entry(str(number), sent=NOON + number) for number in range(10)])
    found = []
    for one in archive.each(Query(limit=1, offset=2), size=3):
        archive.store([entry(f"new{one.id}", sent=NOON + 100)])
        found.append(one.id)
    assert found == [str(number) for number in reversed(range(8))]
    # An end that the query sets itself is kept.
    (middle,) = (one for one in archive.find(ALL) if one.id == "5")
    assert ids(archive.each(Query(after=middle.key, until=NOON + 50), size=2)) == ["9", "8", "7", "6"]
    assert ids(archive.each(Query(before=middle.key, newest_first=False), size=2)) == [
        "0",
        "1",
        "2",
        "3",
        "4",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kernel", "ab"),
        ("KERNEL update", "a"),
        ('"kernel update"', "a"),
        ('"update kernel"', ""),
        ("kern*", "ab"),
        ("ern*", ""),
        ("-kernel", "cd"),
        ("-kern* -jürgen", "d"),
        ("kernel -update", "b"),
        # With its accent a letter is another letter, in both.
        ("jürgen", "c"),
        ("jurgen", "d"),
        ("J\u00dcRGEN", "c"),
        ("straße", "c"),
        ("strasse", ""),
        ("日本語", "d"),
        ("日*", "d"),
        ("1e5", "d"),
        ("1e*", "d"),
        ("0x1f", "d"),
        ("6", "b"),
        ("6.1", "b"),
        ("6.1-2", "b"),
        ("kernel AND NOT NEAR OR", ""),
        ("words:kernel", ""),
        ("' OR 1=1 --", ""),
        ("x" * 300, "d"),
        ("y" * 254 + "*", ""),
    ],
)
def test_search_for_words(archive: Archive, text: str, expected: str) -> None:
    archive.store(
        [
            entry("a", text="A kernel update"),
            entry("b", text="kernel 6.1-2.fc42"),
            entry("c", text="Jürgen, Straße"),
            entry("d", text=["Jurgen 日本語 1e5 0x1F", "x" * 300]),
        ]
    )
    assert "".join(sorted(ids(archive.find(Query(text=text))))) == expected


@pytest.mark.parametrize(
    "letters", ["①②", "x①", "ⅷ", "a²b", "１２３", "𝐀𝐁", "ᲜᲘᲜᲝ", "𞤀𞤁", "ﬁ", "ǅ", "٣٤", "ªº"]
)
def test_whatever_is_a_word_is_found(archive: Archive, letters: str) -> None:
    archive.store([entry("a", text=f"some {letters} there"), entry("b", text="some there")])
    assert ids(archive.find(Query(text=letters))) == ["a"]
    assert ids(archive.find(Query(text=f'"some {letters} there"'))) == ["a"]
    assert ids(archive.find(Query(text=f"-{letters}"))) == ["b"]


@pytest.mark.parametrize(
    "query",
    [
        Query(text=" ".join(f"w{number}" for number in range(3000))),
        Query(text=" ".join(f"-w{number}" for number in range(3000))),
        Query(text=f'"{" ".join(f"w{number}" for number in range(3000))}"'),
        Query(contains=tuple(f"w{number}" for number in range(3000))),
        Query(users=tuple(f"u{number}" for number in range(3000))),
        Query(topics=tuple(f"t{number}.#" for number in range(3000))),
        Query(since=float(2**70)),
        Query(until=float(2**70), since=-float(2**70)),
        Query(until=float("inf"), since=float("-inf")),
        Query(since=float("inf")),
        Query(until=-5.0),
        Query(offset=2**40),
    ],
    ids=[
        "words",
        "missing",
        "phrase",
        "contained",
        "users",
        "topics",
        "late",
        "wide",
        "wider",
        "never",
        "early",
        "far",
    ],
)
def test_no_query_is_too_large(archive: Archive, query: Query) -> None:
    archive.store(entries("a"))
    found = archive.find(query)
    assert ids(found) in (["a"], [])
    assert archive.count(query) >= len(found)


# Any messages and any query, compared with plain Python

VOCABULARY = ("kernel", "kern", "update", "Fedora", "42", "6", "строка", "日本", "x1")
NAMES = ("jdoe", "mary", "ü'\"%")
TOPICS = ("a.b.c.koji.x", "a.b.c.bodhi", "a.b", "", "a.b.c.koji", "a..c.d")
PATTERNS = ("#", "a.#", "*.b", "a.*.c.koji.#", "#.koji", "a.b", "zz", "a..#", "*", "")
TIMES = [NOON + more for more in (-DAY, -1, 0, 0.25, 0.5, 0.75, 1, 3600, 40 * DAY)] + [0.0, 1.5]


#: Each example is printed as it is: to find a smaller one takes minutes.
SETTINGS = settings(
    derandomize=True,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def some_of(values: Iterable[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Mostly none; one or two otherwise."""
    chosen = st.lists(st.sampled_from([*values]), min_size=1, max_size=2, unique=True).map(tuple)
    return st.just(()) | st.just(()) | st.just(()) | chosen


def texts() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(VOCABULARY), max_size=5).map(" ".join)


@st.composite
def some_entries(draw: st.DrawFn) -> list[Entry]:
    numbers = draw(st.lists(st.integers(0, 25), max_size=12))
    return [
        entry(
            str(number),
            topic=draw(st.sampled_from(TOPICS)),
            sent=draw(st.sampled_from(TIMES)),
            severity=draw(st.sampled_from([DEBUG, INFO, WARNING, ERROR])),
            summary=draw(texts()),
            text=draw(texts()),
            app=draw(st.none() | st.sampled_from(NAMES)),
            agent=draw(st.none() | st.sampled_from(NAMES)),
            users=draw(st.lists(st.sampled_from(NAMES), max_size=3)),
            packages=draw(st.lists(st.sampled_from(NAMES), max_size=3)),
        )
        for number in numbers
    ]


PIECES = st.one_of(
    st.builds(Piece, st.tuples(st.sampled_from(VOCABULARY)), st.booleans(), st.booleans()),
    st.builds(
        Piece,
        st.lists(st.sampled_from(VOCABULARY), min_size=2, max_size=3).map(tuple),
        st.just(False),
        st.booleans(),
    ),
)


@st.composite
def some_queries(draw: st.DrawFn) -> Asked:
    pieces = tuple(draw(st.just([]) | st.lists(PIECES, min_size=1, max_size=2)))
    times = st.none() | st.none() | st.sampled_from(TIMES)
    query = Query(
        since=draw(times),
        until=draw(times),
        topics=draw(some_of(PATTERNS)),
        users=draw(some_of(NAMES)),
        packages=draw(some_of(NAMES)),
        categories=draw(some_of(["koji", "bodhi", "d", ""])),
        apps=draw(some_of(NAMES)),
        severity=draw(st.none() | st.none() | st.sampled_from([DEBUG, INFO, 21, ERROR, 50])),
        text=" ".join(map(str, pieces)),
        contains=draw(some_of([*VOCABULARY, "kernel update", "Fedora 42"])),
        agents=draw(some_of(NAMES)),
        without_topics=draw(some_of(PATTERNS)),
        without_users=draw(some_of(NAMES)),
        without_packages=draw(some_of(NAMES)),
        without_categories=draw(some_of(["koji", "bodhi", "d", ""])),
        without_agents=draw(some_of(NAMES)),
        newest_first=draw(st.booleans()),
        limit=1000,
    )
    return Asked(query, pieces)


def compare(archive: Archive, model: Model, asked: Asked) -> None:
    """Compare what an archive finds, counts, and shows by pages of each kind."""
    query, expected = asked.query, model.find(asked)
    assert ids(archive.find(query)) == expected, str(asked)
    assert archive.count(query) == len(expected)
    assert ids(archive.each(query, size=3)) == expected
    assert [*pages(archive, replace(query, limit=2))] == expected
    by_offset = (
        archive.find(replace(query, limit=4, offset=offset)) for offset in range(0, len(expected) + 4, 4)
    )
    assert [id for page in by_offset for id in ids(page)] == expected


@settings(SETTINGS, max_examples=20)
@given(
    batches=st.lists(some_entries(), min_size=1, max_size=2),
    queries=st.lists(some_queries(), min_size=1, max_size=5),
    before=st.sampled_from([int(time) for time in TIMES]),
)
def test_as_plain_python_does(
    places: Places, batches: list[list[Entry]], queries: list[Asked], before: int
) -> None:
    """Any messages, then any queries; and both again when the oldest are forgotten."""
    archive, model = places.archive(), Model()
    for batch in batches:
        assert archive.store(batch) == model.store(batch)
    for asked in queries:
        compare(archive, model, asked)
    assert archive.prune(before=before) == model.prune(before)
    for asked in queries:
        compare(archive, model, asked)
    assert archive.topics() == model.topics()
    assert archive.outline().messages == len(model.stored)
    # What was forgotten is as new.
    for batch in batches:
        assert archive.store(batch) == model.store(batch)
    for asked in queries:
        compare(archive, model, asked)
    places.close()


@pytest.fixture(scope="module")
def many() -> list[Entry]:
    """Messages of some months, with words that are frequent and rare."""
    chosen = random.Random(3)

    def one(number: int) -> Entry:
        return entry(
            str(number),
            topic=chosen.choice(TOPICS),
            sent=NOON + chosen.choice([1, 10, DAY, 100 * DAY]) * chosen.random(),
            severity=chosen.choice([INFO, INFO, INFO, ERROR]),
            text=" ".join(chosen.choices(VOCABULARY, [20, 1, 9, 9, 1, 5, 1, 1, 1], k=6)),
            app=chosen.choice(["koji", "bodhi"]),
            agent=chosen.choice(NAMES),
            users=chosen.sample(NAMES, chosen.choice([0, 0, 1, 2])),
            packages=chosen.sample(NAMES, chosen.choice([0, 0, 1, 2])),
        )

    return [one(number) for number in range(1500)]


def test_many_messages_as_plain_python_does(places: Places, many: list[Entry]) -> None:
    """More than one batch, more than one page, and plans that a database makes for many rows only."""
    archive, model = places.archive(), Model()
    for start in range(0, len(many), 700):
        archive.store(many[start : start + 700])
    model.stored = [*many]

    @settings(SETTINGS, max_examples=60)
    @given(some_queries())
    def finds(asked: Asked) -> None:
        expected = model.find(asked)
        assert ids(archive.find(replace(asked.query, limit=2000))) == expected, str(asked)
        assert archive.count(asked.query) == len(expected)
        assert ids(archive.each(asked.query)) == expected
        assert ids(archive.find(replace(asked.query, limit=7, offset=5))) == expected[5:12]

    finds()


# Forgetting


@pytest.fixture
def year(many: list[Entry]) -> list[Entry]:
    """Messages one day after another, with a word that each has alone."""
    return [
        replace(one, id=f"d{day}", sent=NOON + day * DAY, words=f"{one.words} day{day}", record=record)
        for day, one in enumerate(many[:365])
        if (record := one.record.replace('"text": "', f'"text": "day{day} '))
    ]


def words_are_gone(archive: Archive, gone: Iterable[str], left: Iterable[str]) -> None:
    assert [id for id in gone if archive.count(Query(text=id.replace("d", "day")))] == []
    assert [id for id in left if archive.count(Query(text=id.replace("d", "day"))) != 1] == []


def in_order(more: Iterable[Entry]) -> list[Entry]:
    """Have the words in the order in which the record has them."""
    return [replace(one, words=words_of_record(one.topic, one.summary, one.record)) for one in more]


def test_prune_by_age(archive: Archive, year: list[Entry]) -> None:
    year = in_order(year)
    archive.store(year)
    model = Model()
    model.store(year)
    for day in (0, 1, 40, 41, 200, 365):
        before = NOON + day * DAY
        assert archive.prune(before=before) == model.prune(before)
        assert stored(archive) == ids(model.stored)
        assert archive.topics() == model.topics()
        assert archive.outline().oldest == (model.stored[0].sent if model.stored else None)
    assert archive.prune(before=NOON * 2) == 0


def test_search_finds_nothing_of_what_was_forgotten(archive: Archive, year: list[Entry]) -> None:
    year = in_order(year)
    archive.store(year)
    archive.prune(before=NOON + 100 * DAY)
    words_are_gone(archive, ids(year[:100]), ids(year[100:]))
    # Others at their places, without their words.
    archive.store([entry(f"new{day}", sent=NOON + day * DAY) for day in range(100)])
    words_are_gone(archive, ids(year[:100]), ids(year[100:]))
    assert archive.get("d0") is None
    assert archive.count(Query(users=("jdoe",), until=NOON + 99 * DAY + 1)) == 0


def test_prune_to_the_exact_time(archive: Archive) -> None:
    archive.store([entry("a", sent=NOON + 0.25), entry("b", sent=NOON + 0.75), entry("c", sent=NOON + 1)])
    assert archive.prune(before=NOON + 0.75) == 1
    assert stored(archive) == ["b", "c"]


def test_prune_by_size(archive: Archive, places: Places) -> None:
    letters = random.Random(4)
    for month in range(20):
        text = ["".join(letters.choices(string.ascii_lowercase, k=6)) for _ in range(3000)]
        archive.store(
            [
                entry(f"{month:02}.{number}", sent=NOON + month * 31 * DAY + number, text=" ".join(text))
                for number in range(20)
            ]
        )
    everything = stored(archive)
    size = archive.outline().size
    assert archive.prune(most_bytes=size) == 0
    deleted = archive.prune(most_bytes=size * 6 // 10)
    found = archive.outline()
    assert found.size <= size * 6 // 10
    # The oldest went, and no more of them than had to; PostgreSQL gives back whole months.
    assert stored(archive) == everything[deleted:]
    assert 0.2 * len(everything) < deleted < 0.6 * len(everything)
    assert found.messages == len(everything) - deleted
    assert archive.topics() == [("org.example.app.thing", found.messages)]
    archive.prune(most_bytes=0)
    assert len(stored(archive)) == (20 if places.has_months else 0)


# PostgreSQL's partitions


def partitions(places: Places, location: str) -> list[str]:
    found = places.run(
        location,
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
        "WHERE inhparent = 'messages'::regclass ORDER BY 1",
    )
    return [name for (name,) in found]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_partition_for_each_month(months: PostgresPlaces) -> None:
    location = months.new()
    archive = months.open(location)
    times = [
        "1970-01-01T00:00:00",
        "2024-02-29T23:59:59",
        "2024-03-01T00:00:00",
        "2024-12-31T23:59:59",
        "2025-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ]
    archive.store([entry(time, sent=at(time)) for time in times])
    names = [f"messages_{time[:4]}_{time[5:7]}" for time in times]
    assert partitions(months, location) == names
    for time, name in zip(times, names, strict=True):
        assert months.run(location, f"SELECT id FROM {name}") == [(time,)]
    assert stored(archive) == times


def test_whole_months_are_dropped(months: PostgresPlaces) -> None:
    location = months.new()
    archive = months.open(location)
    times = ["2024-01-05T00:00:00", "2024-02-05T00:00:00", "2024-02-25T00:00:00", "2024-03-05T00:00:00"]
    archive.store([entry(time, sent=at(time), users=["jdoe"], topic=f"t.{time[:7]}") for time in times])
    assert archive.prune(before=at("2024-02-15T00:00:00")) == 2
    assert partitions(months, location) == ["messages_2024_02", "messages_2024_03"]
    assert stored(archive) == times[2:]
    assert archive.count(Query(users=("jdoe",))) == 2
    assert archive.topics() == [("t.2024-02", 1), ("t.2024-03", 1)]
    for table in ("ids",):
        assert months.run(location, f"SELECT count(*) FROM {table}") == [(2,)]
    assert archive.prune(before=at("2024-04-01T00:00:00")) == 2
    assert partitions(months, location) == []
    # A month that is gone comes back with its first message.
    archive.store([entry("again", sent=at(times[0]))])
    assert partitions(months, location) == ["messages_2024_01"]


def test_late_message_for_a_month_that_another_process_has_dropped(places: Places) -> None:
    """`archive run` and `archive prune` are two processes, and some messages are late."""
    location = places.new()
    run, prune = places.open(location), places.open(location)
    run.store([entry("a", sent=NOON), entry("b", sent=NOON + 60 * DAY)])
    assert prune.prune(before=NOON + 40 * DAY) == 1
    assert run.store([entry("late", sent=NOON)]) == 1
    assert stored(run) == stored(prune) == ["late", "b"]


def test_failed_transaction_leaves_no_belief_in_its_month(archive: Archive) -> None:
    odd = replace(entry("c"), record=None)  # type: ignore[arg-type]
    with pytest.raises(ArchiveError):
        archive.store([odd])
    assert archive.store(entries("c")) == 1


def test_newer_version_is_refused(months: PostgresPlaces) -> None:
    location = months.new()
    months.open(location).store(entries("a"))
    months.run(location, "UPDATE archive_version SET version = version + 1")
    with pytest.raises(ArchiveError, match="written by a newer fedora-messaging") as refused:
        months.open(location)
    assert "canary-password" not in str(refused.value)
    months.run(location, "UPDATE archive_version SET version = version - 1")
    assert stored(months.open(location)) == ["a"]


def test_foreign_tables_are_left_alone(months: PostgresPlaces) -> None:
    location = months.new()
    months.run(location, "CREATE TABLE messages (mine text)")
    with pytest.raises(ArchiveError, match="already exists"):
        months.open(location)
    assert months.run(location, "SELECT count(*) FROM messages") == [(0,)]
    assert months.run(location, "SELECT count(*) FROM pg_class WHERE relname = 'archive_version'") == [(0,)]


def test_searches_are_not_compiled(months: PostgresPlaces) -> None:
    """PostgreSQL takes longer to compile a search over many months than to run it."""
    archive = months.archive()
    assert archive._database.read("SELECT setting FROM pg_settings WHERE name = 'jit'", {}) == [("off",)]


def test_name_has_no_password(months: PostgresPlaces) -> None:
    archive = months.archive()
    assert "canary-password" not in archive.name
    assert "postgres:***@127.0.0.1" in archive.name


@pytest.mark.parametrize(
    "location",
    [
        "postgresql://postgres:canary-password@127.0.0.1:1/postgres",
        "postgresql+nothing://postgres:canary-password@127.0.0.1/postgres",
        "postgresql://postgres:canary-password@127.0.0.1:port/postgres",
        "mysql://root:canary-password@127.0.0.1/archive",
    ],
)
def test_location_that_is_none(location: str, places: Places) -> None:
    with pytest.raises(ArchiveError) as refused:
        places.open(location)
    assert "canary-password" not in str(refused.value)
