"""Filters: what parameters mean, and that a stream and a search take them to mean the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.web.dashboard.support import NOON, archive_in, entry

from fedora_messaging.archive.entry import fit
from fedora_messaging.message import DEBUG, ERROR, INFO, WARNING
from fedora_messaging.web.dashboard.selection import Selection, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedora_messaging.archive.archive import Archive

# What a stream lets through is what a search finds

#: Few, so that filters and messages meet; some with characters that the databases cannot hold.
NAMES: Final = st.sampled_from(
    ["ann", "Ann", "bob", "a b", "ä", "x" * 130, "x" * 600, "nul\0", "\ud800", "'", '"', "%", "_"]
)
WORDS: Final = st.sampled_from(
    ["alpha", "Alpha", "beta", "be", "alp", "a_b", "a-b", "x1", "1", "é", "ß", "ſ", "İ", "中文", "ﬁ", "''"]
)
TOPICS: Final = st.lists(st.sampled_from(["a", "b", "", "alpha"]), max_size=4).map(".".join)
PATTERNS: Final = st.lists(st.sampled_from(["a", "b", "", "*", "#", "alpha"]), max_size=4).map(".".join)
TIMES: Final = st.one_of(
    st.sampled_from([-1.0, 0.0, 0.5, NOON, NOON + 0.25, NOON + 1, 253_402_300_799.0, 9e11]),
    st.floats(NOON - 2, NOON + 2),
)

ENTRIES: Final = st.builds(
    entry,
    TOPICS,
    sent=TIMES.filter(lambda sent: sent >= 0),
    severity=st.sampled_from([0, 5, DEBUG, 15, INFO, WARNING, 35, ERROR, 1000]),
    app=st.none() | NAMES,
    users=st.lists(NAMES, max_size=2),
    packages=st.lists(NAMES, max_size=2),
    summary=st.lists(WORDS, max_size=4).map(" ".join),
    more=st.dictionaries(
        WORDS, st.one_of(WORDS, st.integers(), st.none(), st.lists(WORDS, max_size=2)), max_size=2
    ),
)

TEXTS: Final = st.lists(
    st.one_of(
        WORDS,
        WORDS.map("-{}".format),
        WORDS.map("{}*".format),
        st.lists(WORDS, min_size=1, max_size=3).map(" ".join).map('"{}"'.format),
        st.lists(WORDS, min_size=1, max_size=3).map(" ".join).map('-"{}"'.format),
        st.sampled_from(["-", "*", '"', "OR", "AND", "NOT", "NEAR(", ")", "terms:alpha", "^alpha"]),
    ),
    max_size=4,
).map(" ".join)


def _some(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(values, max_size=2).map(tuple)


SELECTIONS: Final = st.builds(
    Selection,
    topics=_some(PATTERNS),
    # As they are read from parameters.
    users=_some(NAMES.map(fit)),
    packages=_some(NAMES.map(fit)),
    apps=_some(NAMES.map(fit)),
    severity=st.sampled_from(["", "debug", "info", "warning", "error"]),
    text=TEXTS,
    since=st.none() | TIMES,
    until=st.none() | TIMES,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example(entries=[entry(severity=0)], selections=[Selection()])
@example(entries=[entry(users=["nul\0"])], selections=[Selection.of([("user", "nul\0")])])
@given(entries=st.lists(ENTRIES, max_size=6), selections=st.lists(SELECTIONS, min_size=1, max_size=8))
def test_a_stream_and_a_search_agree(entries: list[Any], selections: list[Selection]) -> None:
    """Whoever follows with some filters sees what a search with them finds afterwards."""
    with tempfile.TemporaryDirectory() as directory, archive_in(Path(directory)) as archive:
        archive.store(entries)
        everything = archive.stored_after(0)
        for selection in selections:
            found = {one.seq for one in archive.find(selection.query(limit=100))}
            assert {one.seq for one in everything if selection.wants(one)} == found, selection


# Parameters


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with tempfile.TemporaryDirectory() as directory, archive_in(Path(directory)) as made:
        yield made


def test_every_parameter() -> None:
    found = Selection.of(
        [
            ("topic", "a.#"),
            ("topic", " b "),
            ("user", "ann"),
            ("package", "bash"),
            ("app", "koji"),
            ("severity", "Warning"),
            ("text", 'one "two three"'),
            ("since", "1000"),
            ("until", "2026-11-30T08:00:00Z"),
            ("other", "x"),
        ]
    )
    assert found == Selection(
        topics=("a.#", "b"),
        users=("ann",),
        packages=("bash",),
        apps=("koji",),
        severity="warning",
        text='one "two three"',
        since=1000.0,
        until=1796025600.0,
    )


def test_empty_parameters_are_none() -> None:
    """A form sends each of its fields."""
    names = ("topic", "user", "package", "app", "severity", "text", "since", "until")
    assert Selection.of([(name, value) for name in names for value in ("", "  ")]) == Selection()


def test_the_last_of_those_that_have_one_value_counts() -> None:
    assert Selection.of([("text", "a"), ("text", "b"), ("severity", "x"), ("severity", "info")]) == Selection(
        text="b", severity="info"
    )


@pytest.mark.parametrize("name", ["topic", "user", "package", "app", "text", "anything"])
def test_values_have_a_bound(name: str) -> None:
    Selection.of([(name, "x")] * 100)
    with pytest.raises(ValueError, match="more than 100 values"):
        Selection.of([(name, "x")] * 101)


def test_a_severity_that_is_none() -> None:
    with pytest.raises(ValueError, match="severity is one of debug, info, warning, error"):
        Selection.of([("severity", "fatal")])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-5", -5.0),
        ("1764504000.5", 1764504000.5),
        ("1e9", 1e9),
        ("2026-11-30", 1795996800.0),
        ("2026-11-30T08:00:00", 1796025600.0),
        ("2026-11-30 08:00", 1796025600.0),
        ("2026-11-30 00:00", 1795996800.0),
        ("2026-11-30T08:00:00Z", 1796025600.0),
        ("2026-11-30T09:00:00+01:00", 1796025600.0),
        # A plus sign that was not quoted.
        ("2026-11-30T08:00:00 00:00", 1796025600.0),
        ("2026-11-30T09:00:00 01:00", 1796025600.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert moment("since", text) == seconds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("yesterday", "since is no time"),
        ("2026-13-01", "since is no time"),
        ("2026-11-30T25:00", "since is no time"),
        ("\ud800", "since is no time"),
        ("nan", "since is too far away"),
        ("inf", "since is too far away"),
        ("-inf", "since is too far away"),
        ("1e12", "since is too far away"),
        ("9" * 400, "since is too far away"),
        ("9" * 5000, "since is"),
    ],
)
def test_times_that_are_none(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        moment("since", text)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["topic", "user", "severity", "text", "since", "until"]), st.text()))
)
def test_any_parameters_mean_something_or_are_refused(
    archive: Archive, parameters: list[tuple[str, str]]
) -> None:
    try:
        selection = Selection.of(parameters)
    except ValueError:
        return
    assert archive.find(selection.query()) == []
