"""Whatever a person types to search means something."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedora_messaging.archive.query import Phrase, Query

SETTINGS = settings(derandomize=True, deadline=None, max_examples=300)


def wanted(*words: str, is_prefix: bool = False) -> Phrase:
    return Phrase(words, is_prefix)


@pytest.mark.parametrize(
    ("text", "all_of", "none_of"),
    [
        ("", [], []),
        ("  ", [], []),
        ("Kernel", [wanted("kernel")], []),
        ("kernel update", [wanted("kernel"), wanted("update")], []),
        ("\tkernel\n update\u2003now", [wanted("kernel"), wanted("update"), wanted("now")], []),
        ('"kernel update"', [wanted("kernel", "update")], []),
        ('"kernel update" now', [wanted("kernel", "update"), wanted("now")], []),
        # A quote that nobody has closed ends at the end.
        ('"kernel update', [wanted("kernel", "update")], []),
        ('"" kernel', [wanted("kernel")], []),
        ("kern*", [wanted("kern", is_prefix=True)], []),
        ("-kernel", [], [wanted("kernel")]),
        ("-kern*", [], [wanted("kern", is_prefix=True)]),
        # What belongs together in print follows each other in a message, too.
        ("python3-requests", [wanted("python3", "requests")], []),
        ("-python3-requests", [], [wanted("python3", "requests")]),
        ("python3-req*", [wanted("python3", "req", is_prefix=True)], []),
        ("fc42:el9/x_y", [wanted("fc42", "el9", "x", "y")], []),
        # Signs without a word ask for nothing.
        ("- * ** -* -- \" ' ( ) AND", [wanted("and")], []),
        ("*", [], []),
        ("kernel -", [wanted("kernel")], []),
        # In quotes signs have no meaning.
        ('"-kernel*"', [wanted("kernel")], []),
        ("Straße ÄÖ", [wanted("straße"), wanted("äö")], []),
    ],
)
def test_what_a_text_asks_for(text: str, all_of: list[Phrase], none_of: list[Phrase]) -> None:
    words = Query(text=text).words
    assert words.all_of == all_of
    assert words.none_of == none_of
    assert bool(words) is bool(all_of or none_of)
    assert not words.are_impossible


@pytest.mark.parametrize("text", ['-"kernel update"', 'now -"kernel update" -old'])
def test_minus_before_quotes_holds_for_all_of_them(text: str) -> None:
    words = Query(text=text).words
    assert Phrase(("kernel", "update"), False) in words.none_of
    assert words.all_of == [wanted("now")] * ("now" in text)


def test_contained_texts() -> None:
    """One of them is enough; texts without a word are in no message."""
    words = Query(contains=("kernel update", "...", "now*")).words
    assert words.any_of == [wanted("kernel", "update"), wanted("now")]
    assert words
    assert not words.are_impossible
    assert Query(contains=("...",)).words.are_impossible
    assert Query(contains=("",)).words.are_impossible
    assert not Query().words


@given(st.text())
@SETTINGS
@example('"')
@example('-"')
@example('a"b"c')
@example("\x00 \ud800 * -\x00")
@example("-" * 300)
def test_any_text_means_something(text: str) -> None:
    """Nothing raises, and what comes out are words alone: no sign that a database might read."""
    words = Query(text=text, contains=(text,)).words
    for phrase in (*words.all_of, *words.any_of, *words.none_of):
        assert phrase.words
        for word in phrase.words:
            assert all(char.isalnum() for char in word)
            assert word == word.lower()
