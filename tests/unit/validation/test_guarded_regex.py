"""Expressions of schemas end in bounded time, and find what Python's engine finds (P21)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.validation.guarded_regex import TooCostlyError, budget, is_affordable, search

#: Long enough that backtracking would not end before the universe does.
LONG = "a" * 100 + "!"
EVIL = ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^([a-z]+)*$", "(a*)*b", "^(?:a?){30}a{30}$"]

PATTERNS = st.sampled_from(
    ["^[a-c]+$", "b", r"^\w{2,3}$", r"a.*c", r"^(ab|c)$", r"(a|b)*c", r"^(a+)+$", r"\d$", r"(?=b)b"]
)
TEXTS = st.text("abc1٣\n!", max_size=12)


@given(PATTERNS, TEXTS)
def test_short_texts_are_judged_by_python(pattern: str, text: str) -> None:
    with budget():
        assert search(pattern, text) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^(a+)+$", LONG, False),
        ("^(a+)+$", "a" * 100, True),
        ("^(a|a)*$", LONG, False),
        ("(a*)*b", LONG, False),
        ("(a*)*b", "a" * 100 + "b", True),
        ("^(?:a?){30}a{30}$", "a" * 61, False),
        ("^(?:a?){30}a{30}$", "a" * 60, True),
        # Names of queues, in which policies and permissions search, may have any bytes.
        ("^(a+)+$", "a" * 100 + "\udcff", False),
        ("(a*)*b", "\ud800" + "a" * 100 + "b", True),
    ],
)
def test_p21_another_engine_judges_what_takes_python_too_long(pattern: str, text: str, found: bool) -> None:
    pytest.importorskip("jsonschema_rs")
    with budget():
        assert search(pattern, text) is found


def test_p21_what_only_python_could_tell_is_not_told() -> None:
    pattern = r"^(a+)+\N{DIGIT ONE}$"
    with budget():
        assert search(pattern, "a1")
        with pytest.raises(TooCostlyError) as caught:
            search(pattern, LONG)
    assert caught.value.args == (pattern,)


@pytest.mark.parametrize("pattern", EVIL)
def test_p21_evil_patterns_are_not_affordable(pattern: str) -> None:
    with budget():
        assert not is_affordable(pattern, LONG)
        # What was refused costs nothing.
        assert is_affordable("^a+$", LONG)


@pytest.mark.parametrize(
    "pattern", ["^a+$", "a", r"^\w{2,3}$", "^(ab|cd)$", r"^[a-z]+\.[a-z]+$", "^(?=a)a*$", "^(?!b)(?>a*)!$"]
)
def test_usual_patterns_are_affordable(pattern: str) -> None:
    with budget():
        assert is_affordable(pattern, "a" * 1000)


def test_p21_steps_add_up_and_each_budget_is_its_own() -> None:
    with budget():
        # 2001 letters' ends, squared: 4 million steps of 10 million.
        assert [is_affordable("a+$", "a" * 2000) for _ in range(4)] == [True, True, False, False]
        with budget():
            assert is_affordable("a+$", "a" * 2000)
        assert not is_affordable("a+$", "a" * 2000)
        # The rest is enough for less.
        assert is_affordable("a+$", "a" * 1000)
    with budget():
        assert is_affordable("a+$", "a" * 2000)


def test_p21_searches_take_from_the_budget() -> None:
    with budget():
        assert search("a+$", "a" * 2000)
        assert search("a+$", "a" * 2000)
        assert not is_affordable("a+$", "a" * 2000)


def test_wrong_expression_is_an_error_of_python() -> None:
    with pytest.raises(re.error, match="missing \\)"):
        search("(", "a")
    assert is_affordable("(", "a")
