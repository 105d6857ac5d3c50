"""Answers to requests that fail."""

from __future__ import annotations

from fedora_messaging.web.management.errors import (
    NOT_FOUND_BODY,
    RequestError,
    bad_request,
    not_authorised,
    not_found,
)


def shown(error: RequestError) -> tuple[int, object, dict[str, str]]:
    return error.status, error.body, error.headers


def test_answers() -> None:
    assert shown(bad_request(["a", 1])) == (400, {"error": "bad_request", "reason": ["a", 1]}, {})
    assert shown(not_authorised("r")) == (401, {"error": "not_authorised", "reason": "r"}, {})
    assert shown(not_found("r")) == (404, {"error": "not_found", "reason": "r"}, {})
    assert shown(not_found()) == (404, NOT_FOUND_BODY, {})
    assert NOT_FOUND_BODY == {"error": "Object Not Found", "reason": "Not Found"}


def test_an_empty_answer_with_headers() -> None:
    assert shown(RequestError(401, headers={"a": "b"})) == (401, None, {"a": "b"})
