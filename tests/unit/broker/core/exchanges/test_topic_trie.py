"""Patterns are found by words, and leave nothing behind when they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.broker.core.exchanges.topic_trie import TopicTrie

if TYPE_CHECKING:
    from collections.abc import Sequence


def matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """The rule in its plainest form, to compare with."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches(pattern[1:], words[1:])


def split(text: str) -> list[str]:
    return text.split(".") if text else []


PATTERNS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5).map(".".join)
KEYS = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=6).map(".".join)


@given(st.sets(PATTERNS, max_size=12), st.sets(PATTERNS, max_size=6), st.lists(KEYS, max_size=4))
def test_patterns_that_are_left_match_by_the_plain_rule(
    kept: set[str], removed: set[str], keys: list[str]
) -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in kept | removed:
        trie.add(pattern, pattern)
    for pattern in removed - kept:
        trie.remove(pattern, pattern)
    for key in keys:
        expected = [pattern for pattern in kept if matches(split(pattern), split(key))]
        assert sorted(trie.match(key)) == sorted(expected)


def test_values_of_one_pattern() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for value in ("first", "second", "first"):
        trie.add("a.*", value)
    assert list(trie.match("a.b")) == ["first", "second"]
    trie.remove("a.*", "first")
    assert list(trie.match("a.b")) == ["second"]


def test_value_under_several_patterns_comes_for_each() -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in ("a.b", "#", "*.b"):
        trie.add(pattern, "value")
    assert list(trie.match("a.b")) == ["value"] * 3


def test_nothing_matches_in_an_empty_trie() -> None:
    trie: TopicTrie[str] = TopicTrie()
    assert [list(trie.match(key)) for key in ("", "a", ".")] == [[], [], []]


@pytest.mark.parametrize("pattern", ["", "a", "a.b.c", "#", "a.#.*", "."])
def test_branches_that_have_become_empty_go(pattern: str) -> None:
    trie: TopicTrie[int] = TopicTrie()
    trie.add(pattern, 1)
    trie.remove(pattern, 1)
    assert trie._root.children == {}
    assert trie._root.values == {}


def test_branches_that_others_need_stay() -> None:
    trie: TopicTrie[int] = TopicTrie()
    for value, pattern in enumerate(("a", "a.b.c.d", "a.b.x")):
        trie.add(pattern, value)
    trie.remove("a.b.c.d", 1)
    assert list(trie._root.children["a"].children["b"].children) == ["x"]
    assert [list(trie.match(key)) for key in ("a", "a.b.c.d", "a.b.x")] == [[0], [], [2]]
    trie.remove("a.b.x", 2)
    assert trie._root.children["a"].children == {}


@pytest.mark.parametrize(("pattern", "value"), [("a.b", 1), ("a.c", 1), ("a", 2)])
def test_what_was_never_added_cannot_be_removed(pattern: str, value: int) -> None:
    trie: TopicTrie[int] = TopicTrie()
    trie.add("a", 1)
    trie.add("a.b", 2)
    with pytest.raises(KeyError):
        trie.remove(pattern, value)
    assert list(trie.match("a.b")) == [2]


def test_many_hashes_take_no_longer() -> None:
    """By the plain rule this takes longer than the universe will last."""
    trie: TopicTrie[int] = TopicTrie()
    trie.add(".".join(["#", "a"] * 60), 1)
    assert list(trie.match(".".join("a" * 120 + "b"))) == []
    assert list(trie.match(".".join("a" * 120))) == [1]
