"""What a client accepts."""

from __future__ import annotations

import gzip

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fedora_messaging.web.management.negotiation import compress, takes_gzip, takes_json


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (None, True),
        ("", False),
        ("*/*", True),
        ("text/html, APPLICATION/JSON;charset=utf-8", True),
        ("application/json;q=0", True),
        ("text/*", False),
        ("application/jsonx", False),
    ],
)
def test_who_takes_json(header: str | None, taken: bool) -> None:
    assert takes_json(header) is taken


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP ; q=0.2", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=much", False),
        ("gzip;level=1", True),
        ("*", False),
        ("xgzip", False),
    ],
)
def test_who_takes_gzip(header: str, taken: bool) -> None:
    assert takes_gzip(header) is taken


@pytest.mark.parametrize(
    ("size", "is_smaller"), [(300, False), (301, True), (10**6, True), (10**6 + 1, False)]
)
def test_what_is_worth_it_is_compressed(size: int, is_smaller: bool) -> None:
    request = Request({"type": "http", "headers": [(b"accept-encoding", b"gzip")]})
    answer = compress(request, Response(b"x" * size))
    assert ("content-encoding" in answer.headers) is is_smaller
    assert int(answer.headers["content-length"]) == len(answer.body)
    body = bytes(answer.body)
    assert (gzip.decompress(body) if is_smaller else body) == b"x" * size


def test_who_does_not_ask_gets_the_answer_as_it_is() -> None:
    answer = compress(Request({"type": "http", "headers": []}), Response(b"x" * 1000))
    assert answer.body == b"x" * 1000
