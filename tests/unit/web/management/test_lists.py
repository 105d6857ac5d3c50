"""Columns, order and pages of lists."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fedora_messaging.web.management.errors import RequestError
from fedora_messaging.web.management.lists import arrange, choose

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Thing:
    name: str
    size: Any = None


def view(thing: Thing) -> dict[str, Any]:
    return {"name": thing.name, "size": thing.size}


def names(found: Any) -> list[str]:
    return [item["name"] for item in (found["items"] if isinstance(found, dict) else found)]


THINGS = [Thing("a", 10), Thing("B", 9), Thing("c", None), Thing("ab", "text"), Thing("d", 1.5)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("a", {"a": {"b": {"c": 1}, "d": 2}}),
        ("a.b", {"a": {"b": {"c": 1}}}),
        ("a.b.c", {"a": {"b": {"c": 1}}}),
        ("a.b,a", {"a": {"b": {"c": 1}, "d": 2}}),
        ("a.nope", {"a": []}),
        ("e.f", {"e": 3}),
        ("e,a.d", {"a": {"d": 2}, "e": 3}),
        ("", []),
        ("nope", []),
        (".", []),
    ],
)
def test_columns(columns: str, expected: Any) -> None:
    item = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    assert choose(item, {"columns": columns}) == expected


def test_all_columns() -> None:
    assert choose({"a": 1}, {}) == {"a": 1}


def test_numbers_come_before_texts_and_what_is_missing_before_both() -> None:
    assert names(arrange(THINGS, view, {"sort": "size"})) == ["c", "d", "B", "a", "ab"]
    assert names(arrange(THINGS, view, {"sort": "size", "sort_reverse": "true"})) == [
        "ab",
        "a",
        "B",
        "d",
        "c",
    ]


@pytest.mark.parametrize("value", ["false", "xx", "", "True"])
def test_only_true_reverses(value: str) -> None:
    assert names(arrange(THINGS, view, {"sort_reverse": value})) == ["a", "B", "c", "ab", "d"]


def test_only_what_is_shown_is_viewed() -> None:
    seen: list[str] = []

    def note(thing: Thing) -> dict[str, Any]:
        seen.append(thing.name)
        return view(thing)

    page = arrange(THINGS, note, {"page": "2", "page_size": "2"})
    assert (names(page), seen) == (["c", "ab"], ["c", "ab"])


def test_an_order_is_that_of_all_pages() -> None:
    query = {"page": "2", "page_size": "2", "sort": "size"}
    assert names(arrange(THINGS, view, query)) == ["B", "a"]
    assert names(arrange(THINGS, view, {"page": "1", "page_size": "2", "sort_reverse": "true"})) == [
        "d",
        "ab",
    ]


@pytest.mark.parametrize("reverse", ["true", "false"])
def test_an_order_by_a_field_that_is_made_by_itself_views_one_page(reverse: str) -> None:
    seen: list[str] = []

    def note(thing: Thing) -> dict[str, Any]:
        seen.append(thing.name)
        return view(thing)

    for number in ("1", "2", "3"):
        query = {"page": number, "page_size": "2", "sort": "size", "sort_reverse": reverse}
        seen.clear()
        page = arrange(THINGS, note, query, fields={"size": lambda thing: thing.size})
        assert page == arrange(THINGS, view, query)
        assert seen == names(page)


def test_an_empty_list_has_a_first_page_and_any_other() -> None:
    for page in ("1", "7"):
        found = arrange([], view, {"page": page})
        assert (found["items"], found["page_count"], found["total_count"]) == ([], 0, 0)


def test_lists_without_pages() -> None:
    assert names(arrange(THINGS, view, {"page": "1", "page_size": "1"}, paged=False)) == [
        thing.name for thing in THINGS
    ]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"page": "0"}, "invalid_pagination_parameters"),
        ({"page": "1", "page_size": "501"}, "invalid_pagination_parameters"),
        ({"page": "x"}, "bad_request"),
        ({"page": "9" * 5000}, "bad_request"),
        ({"page": "9" * 30, "name": "nobody"}, "invalid_pagination_parameters"),
        ({"page": "2"}, "page_out_of_range"),
    ],
)
def test_wrong_pages(query: dict[str, str], error: str) -> None:
    with pytest.raises(RequestError) as caught:
        arrange(THINGS, view, query)
    assert (caught.value.status, caught.value.body["error"]) == (400, error)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^a", ["a", "ab"]),
        ("^b", ["B"]),
        ("(", []),
        ("a{99999999999}", []),
        (r"(a+)+\1$", []),
    ],
)
def test_regular_expressions(pattern: str, expected: list[str]) -> None:
    query = {"page": "1", "name": pattern, "use_regex": "true"}
    assert names(arrange(THINGS, view, query)) == expected


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """Hypothesis raises Python's limit for the rest of the process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


def test_an_expression_that_is_nested_too_deeply_finds_nothing(usual_recursion_limit: None) -> None:
    query = {"page": "1", "name": "(" * 2000 + ")" * 2000, "use_regex": "true"}
    assert names(arrange(THINGS, view, query)) == []


def test_a_costly_expression_finds_nothing_at_once() -> None:
    things = [Thing("a" * 60 + "!")]
    assert names(arrange(things, view, {"page": "1", "name": r"(a+)+\1$", "use_regex": "true"})) == []
