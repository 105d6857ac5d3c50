"""HTTP itself: what clients negotiate, which methods a path has, what each answer says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.management.client import ROOT

if TYPE_CHECKING:
    from tests.management.client import Api


# Compression


def test_long_answers_are_compressed_on_request(api: Api) -> None:
    plain = api.ask(
        "GET", "overview?columns=listeners,exchange_types", headers={"accept-encoding": "identity"}
    )
    packed = api.ask("GET", "overview?columns=listeners,exchange_types", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert packed.json() == plain.json()
    assert "accept-encoding" in packed.headers["vary"]


def test_short_answers_are_not_compressed(api: Api) -> None:
    answer = api.ask("GET", "whoami", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("wanted", ["deflate", "gzip;q=0", "identity"])
def test_what_is_no_wish_for_gzip(api: Api, wanted: str) -> None:
    answer = api.ask("GET", "exchanges", headers={"accept-encoding": wanted})
    assert "content-encoding" not in answer.headers


# Content types


@pytest.mark.parametrize("wanted", ["text/html", "application/xml", "text/html, text/*;q=0.5"])
def test_who_takes_no_json_gets_nothing(api: Api, wanted: str) -> None:
    answer = api.ask("GET", "whoami", headers={"accept": wanted})
    assert (answer.status_code, answer.content) == (406, b"")


def test_what_is_not_acceptable_is_not_done(api: Api, queue: str) -> None:
    answer = api.ask("DELETE", f"queues/{ROOT}/{queue}", headers={"accept": "text/html"})
    assert answer.status_code == 406
    assert api.get(f"queues/{ROOT}/{queue}")["name"] == queue


@pytest.mark.parametrize(
    "wanted", ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", "Application/JSON"]
)
def test_who_takes_json_gets_it(api: Api, wanted: str) -> None:
    answer = api.ask("GET", "whoami", headers={"accept": wanted})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


def test_strangers_are_asked_to_log_in_first(stranger: Api) -> None:
    assert stranger.ask("GET", "whoami", headers={"accept": "text/html"}).status_code == 401


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_bodies_are_json_whatever_their_type_says(api: Api, name: str, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = api.ask("PUT", f"queues/{ROOT}/{name}", content=b'{"durable": true}', headers=headers)
    assert answer.status_code == 201


def test_definitions_need_their_type(api: Api) -> None:
    answer = api.ask("POST", "definitions", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


# Methods


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "whoami", "HEAD, GET, OPTIONS"),
        ("PATCH", f"queues/{ROOT}/q", "HEAD, GET, PUT, DELETE, OPTIONS"),
        ("GET", "rebalance/queues", "POST, OPTIONS"),
        ("GET", "reset", "DELETE, OPTIONS"),
        # Not users of these names.
        ("PUT", "users/bulk-delete", "POST, OPTIONS"),
        ("DELETE", "users/bulk-delete", "POST, OPTIONS"),
        ("PUT", "users/without-permissions", "HEAD, GET, OPTIONS"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.ask(method, path, {"tags": ""})
    assert (answer.status_code, answer.content) == (405, b"")
    assert answer.headers["allow"] == allowed


# Headers


def test_every_answer_forbids_strange_scripts(api: Api, stranger: Api, queue: str) -> None:
    answers = [
        api.ask("GET", "whoami"),
        api.ask("PUT", f"queues/{ROOT}/{queue}", {"durable": True}),
        api.ask("GET", f"queues/{ROOT}/nope"),
        api.ask("GET", "nope"),
        api.ask("POST", "whoami"),
        stranger.ask("GET", "whoami"),
        stranger.ask("OPTIONS", "whoami"),
    ]
    assert [answer.status_code for answer in answers] == [200, 204, 404, 404, 405, 401, 200]
    for answer in answers:
        assert "object-src 'self'" in answer.headers.get("content-security-policy", ""), answer.status_code


def test_scripts_of_other_sites_read_nothing(api: Api) -> None:
    for method in ("GET", "OPTIONS"):
        answer = api.ask(method, "whoami", headers={"origin": "http://other.example"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "origin" in api.ask("GET", "whoami").headers["vary"]
