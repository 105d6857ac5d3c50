"""What a client may ask of a list of the management API: some columns, an order, a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.behaviour.support import since
from tests.management.client import Api, bad_request

if TYPE_CHECKING:
    from tests.support.brokers import Broker

QUEUES = ("alpha", "Beta", "delta", "gamma.1", "gamma.2")


@pytest.fixture
def full(api: Api, vhost: str) -> str:
    """A virtual host with five queues."""
    for number, queue in enumerate(QUEUES):
        arguments = {"x-max-length": 10 - number}
        api.put(f"queues/{vhost}/{queue}", {"durable": True, "arguments": arguments})
    return vhost


def names_of(answer: Any) -> list[str]:
    return [item["name"] for item in (answer["items"] if isinstance(answer, dict) else answer)]


# Columns


def test_columns(api: Api, full: str) -> None:
    shown = api.get(f"queues/{full}?columns=name,durable,nope")
    assert shown == [{"name": name, "durable": True} for name in sorted(QUEUES)]
    assert api.get(f"queues/{full}/alpha?columns=name") == {"name": "alpha"}


def test_objects_of_which_nothing_is_left_are_empty_lists(api: Api, full: str) -> None:
    assert api.get(f"queues/{full}?columns=nope") == [[]] * 5


def test_only_the_first_columns_count(api: Api, full: str) -> None:
    assert api.get(f"queues/{full}/alpha?columns=name&columns=durable") == {"name": "alpha"}


@pytest.mark.parametrize(
    ("path", "columns"),
    [
        ("overview", "rabbitmq_version"),
        ("exchanges", "name,type"),
        ("bindings", "source,destination"),
        ("nodes", "name"),
        ("users", "name"),
        ("permissions", "user"),
    ],
)
def test_other_answers_have_columns_too(api: Api, full: str, path: str, columns: str) -> None:
    answer = api.get(f"{path}?columns={columns}")
    for item in answer if isinstance(answer, list) else [answer]:
        assert set(item) == set(columns.split(","))


# Order


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Beta", "alpha", "delta", "gamma.1", "gamma.2"]),
        ("sort=name", ["Beta", "alpha", "delta", "gamma.1", "gamma.2"]),
        ("sort=name&sort_reverse=true", ["gamma.2", "gamma.1", "delta", "alpha", "Beta"]),
        ("sort=name&sort_reverse=false", ["Beta", "alpha", "delta", "gamma.1", "gamma.2"]),
        ("sort_reverse=true", ["gamma.2", "gamma.1", "delta", "alpha", "Beta"]),
        ("sort=arguments.x-max-length", ["gamma.2", "gamma.1", "delta", "Beta", "alpha"]),
    ],
)
def test_order(api: Api, full: str, query: str, expected: list[str]) -> None:
    assert names_of(api.get(f"queues/{full}?{query}")) == expected


def test_unknown_keys_are_no_order(api: Api, full: str) -> None:
    assert sorted(names_of(api.get(f"queues/{full}?sort=nope"))) == sorted(QUEUES)


# Pages


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("page=1&page_size=2", ["Beta", "alpha"]),
        ("page=2&page_size=2", ["delta", "gamma.1"]),
        ("page=3&page_size=2", ["gamma.2"]),
        ("page=1&page_size=2&sort=name&sort_reverse=true", ["gamma.2", "gamma.1"]),
        ("page=1", ["Beta", "alpha", "delta", "gamma.1", "gamma.2"]),
    ],
)
def test_pages(api: Api, full: str, query: str, expected: list[str]) -> None:
    assert names_of(api.get(f"queues/{full}?{query}")) == expected


def test_a_page_tells_how_many_there_are(api: Api, full: str) -> None:
    shown = api.get(f"queues/{full}?page=1&page_size=2&name=A&columns=name")
    assert shown == {
        "total_count": 5,
        "filtered_count": 5,
        "item_count": 2,
        "page": 1,
        "page_size": 2,
        "page_count": 3,
        "items": [{"name": "Beta"}, {"name": "alpha"}],
    }
    nothing = api.get(f"queues/{full}?page=1&name=nope")
    assert (nothing["items"], nothing["filtered_count"], nothing["page_count"]) == ([], 0, 0)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=GAMMA", ["gamma.1", "gamma.2"]),
        ("name=", ["Beta", "alpha", "delta", "gamma.1", "gamma.2"]),
        ("name=a.1", ["gamma.1"]),
        ("name=.", ["gamma.1", "gamma.2"]),
        ("name=%5E.el&use_regex=true", ["delta"]),
        ("name=%5Eb&use_regex=true", ["Beta"]),
        ("name=a%24&use_regex=true", ["Beta", "alpha", "delta"]),
    ],
)
def test_filters(api: Api, full: str, query: str, expected: list[str]) -> None:
    assert names_of(api.get(f"queues/{full}?page=1&{query}")) == expected


def test_without_a_page_there_is_no_filter(api: Api, full: str) -> None:
    assert len(api.get(f"queues/{full}?name=alpha&page_size=1")) == 5


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("page=0", "page number 0, page size undefined"),
        ("page=-1", "page number -1, page size undefined"),
        ("page=1&page_size=0", "page number 1, page size 0"),
        ("page=1&page_size=501", "page number 1, page size 501"),
    ],
)
def test_impossible_pages(api: Api, full: str, query: str, shown: str) -> None:
    error = api.error(400, "GET", f"queues/{full}?{query}")
    assert error["error"] == "invalid_pagination_parameters"
    assert error["reason"].startswith(f"Invalid pagination parameters: {shown.split(',')[0]}")


@pytest.mark.parametrize("query", ["page=abc", "page=", "page=1&page_size=abc"])
def test_pages_that_are_no_numbers(api: Api, full: str, query: str) -> None:
    error = api.error(400, "GET", f"queues/{full}?{query}")
    assert error == bad_request("Pagination parameters are invalid")


def test_pages_beyond_the_end(api: Api, full: str) -> None:
    error = api.error(400, "GET", f"queues/{full}?page=4&page_size=2")
    assert error == {
        "error": "page_out_of_range",
        "reason": "Page out of range, page: 4 page size: 2, len: 5",
    }


def test_a_filter_that_is_no_regular_expression(api: Api, full: str, broker: Broker) -> None:
    answer = api.ask("GET", f"queues/{full}?page=1&name=(&use_regex=true")
    assert answer.status_code in since(broker, (4, 0), {200}, {200, 400})
    if answer.status_code == 200:
        assert answer.json()["items"] == []


@pytest.mark.parametrize("path", ["exchanges", "channels", "connections"])
def test_lists_with_pages(api: Api, path: str) -> None:
    shown = api.get(f"{path}?page=1&page_size=1")
    assert (shown["page"], shown["page_size"]) == (1, 1)
    assert len(shown["items"]) <= 1


@pytest.mark.parametrize("path", ["bindings", "consumers", "policies"])
def test_lists_without_pages(api: Api, full: str, path: str) -> None:
    assert isinstance(api.get(f"{path}?page=1&page_size=1"), list)
