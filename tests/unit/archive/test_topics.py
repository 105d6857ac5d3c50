"""Topic patterns mean outside of a broker what they mean in one."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedora_messaging.archive.topics import category_of, fits_any, topic_fits
from fedora_messaging.broker.core.exchanges.topic_trie import TopicTrie

SETTINGS = settings(derandomize=True, deadline=None, max_examples=500)

WORDS = st.lists(st.sampled_from(["a", "b", "", "*", "#", "aa"]), max_size=6).map(".".join)


@given(WORDS, WORDS)
@SETTINGS
@example("*", "")
@example("", "")
@example("#", "")
@example("*.#", "")
@example("#.*.#", "a")
@example("#", "#")
@example("*", "*")
@example("a.", "a")
def test_as_the_broker_binds(pattern: str, topic: str) -> None:
    trie: TopicTrie[str] = TopicTrie()
    trie.add(pattern, pattern)
    assert topic_fits(pattern, topic) is bool([*trie.match(topic)])


@given(st.lists(WORDS, max_size=4), WORDS)
@SETTINGS
def test_any_of_several(patterns: list[str], topic: str) -> None:
    trie: TopicTrie[str] = TopicTrie()
    for pattern in patterns:
        trie.add(pattern, pattern)
    assert fits_any(patterns, topic) is bool([*trie.match(topic)])


def test_many_hashes_take_no_exponential_time() -> None:
    assert not topic_fits(".".join(["#", "a"] * 60), ".".join(["a"] * 125) + ".b")


@pytest.mark.parametrize(
    ("topic", "category"),
    [
        ("org.fedoraproject.prod.bodhi.update", "bodhi"),
        ("org.fedoraproject.prod.bodhi", "bodhi"),
        ("org.fedoraproject.prod", ""),
        ("a.b.c..d", ""),
        ("", ""),
    ],
)
def test_category_is_the_fourth_word(topic: str, category: str) -> None:
    assert category_of(topic) == category
