"""One request: its body, its user, its login."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.web.management.support import new_call

from fedora_messaging.broker.accounts import Permissions
from fedora_messaging.web.management.call import (
    CREATED,
    NO_CONTENT,
    basic_credentials,
    exchange_name,
    put_answer,
)
from fedora_messaging.web.management.errors import RequestError


def refusal(error: pytest.ExceptionInfo[RequestError]) -> tuple[int, Any]:
    return error.value.status, error.value.body["reason"]


# The body


@pytest.mark.parametrize("raw", [b"", b"  \n", b"{}"])
def test_no_body_is_an_empty_object(raw: bytes) -> None:
    assert new_call(raw).body == {}


@pytest.mark.parametrize("raw", [b"[", b"[]", b"1", b"NaN", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff"])
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        _ = new_call(raw).body
    assert refusal(caught) == (400, "not_json")


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_depth_of_bodies() -> None:
    assert new_call(nested(100)).body
    wide = b'{"a":[' + b",".join([b"[]"] * 500) + b"]}"
    assert len(new_call(wide).body["a"]) == 500
    for attribute in ("body", "upload"):
        with pytest.raises(RequestError) as caught:
            getattr(new_call(nested(101)), attribute)
        assert refusal(caught) == (400, "the request body is nested too deeply")


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("false", False), ('"true"', True), ('"false"', False)]
)
def test_truth_values(value: str, expected: bool) -> None:
    assert new_call(f'{{"a": {value}}}'.encode()).boolean("a") is expected
    assert new_call().boolean("a") is False


@pytest.mark.parametrize(("value", "number"), [("5", 5), ('"5"', 5), ('"-1"', -1), ("0", 0)])
def test_integers(value: str, number: int) -> None:
    assert new_call(f'{{"a": {value}}}'.encode()).integer("a") == number


@pytest.mark.parametrize(
    ("value", "shown"),
    [("true", True), ("1.0", 1.0), ("null", None), ('"x"', "x"), ('""', ""), ("[]", [])],
)
def test_what_is_no_integer(value: str, shown: Any) -> None:
    with pytest.raises(RequestError) as caught:
        new_call(f'{{"a": {value}}}'.encode()).integer("a")
    assert refusal(caught) == (400, ["not_integer", shown])


def test_what_is_missing() -> None:
    call = new_call(b'{"b": 1}')
    with pytest.raises(RequestError) as caught:
        call.need("a", "b", "c")
    assert refusal(caught) == (400, "[{key_missing,a},{key_missing,c}]")
    with pytest.raises(RequestError) as text:
        call.text("a")
    assert refusal(text) == (400, "[{key_missing,a}]")
    assert call.text("a", "default") == "default"
    with pytest.raises(RequestError) as number:
        call.text("b")
    assert refusal(number) == (400, ["not_string", "b"])


def test_tags() -> None:
    assert new_call(b'{"tags": " a, ,b"}').tags() == ["a", "b"]
    assert new_call(b'{"tags": ["a", "b"]}').tags() == ["a", "b"]
    assert new_call().tags() == []
    for wrong in (b'{"tags": 5}', b'{"tags": [5]}', b'{"tags": null}'):
        with pytest.raises(RequestError):
            new_call(wrong).tags()


FORM = (
    b"--XX\r\ncontent-disposition: form-data; name=other\r\n\r\nnothing\r\n"
    b'--XX\r\ncontent-disposition: form-data; name="file"; filename="d.json"\r\n'
    b'content-type: application/json\r\n\r\n{"a": "\xc3\xa9"}\r\n--XX--\r\n'
)


def test_a_file_in_a_form() -> None:
    headers = {"content-type": "multipart/form-data; boundary=XX"}
    assert new_call(FORM, headers=headers).upload == {"a": "é"}
    other = FORM.replace(b'"file"', b'"nofile"')
    assert new_call(other, headers=headers).upload == {}
    assert new_call(b'{"a": 1}').upload == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (
            b"--XX\r\ncontent-disposition: form-data; name=file\r\n\r\n{\r\n--XX--",
            "multipart/form-data; boundary=XX",
        ),
    ],
)
def test_uploads_that_are_no_object(raw: bytes, content_type: str) -> None:
    with pytest.raises(RequestError) as caught:
        _ = new_call(raw, headers={"content-type": content_type}).upload
    assert refusal(caught) == (400, "failed_to_parse_json")


# The user


@pytest.mark.parametrize(
    ("tag", "included"),
    [
        ("management", {"management"}),
        ("policymaker", {"management", "policymaker"}),
        ("monitoring", {"management", "monitoring"}),
        ("administrator", {"management", "policymaker", "monitoring", "administrator"}),
        ("impersonator", set()),
    ],
)
def test_tags_include_others(tag: str, included: set[str]) -> None:
    call = new_call(tags=(tag,))
    known = ("management", "policymaker", "monitoring", "administrator")
    assert {name for name in known if call.has_tag(name)} == included


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("management", "Not management user"),
        ("administrator", "Not administrator user"),
        ("monitoring", "Not monitor user"),
        ("policymaker", "User not authorised to access object"),
    ],
)
def test_a_missing_tag(tag: str, reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        new_call(tags=()).require_tag(tag)
    assert refusal(caught) == (401, reason)


def test_virtual_hosts() -> None:
    call = new_call(tags=("monitoring",), path={"vhost": "/"})
    with pytest.raises(RequestError) as hidden:
        call.vhost()
    assert refusal(hidden) == (404, "Not Found")
    assert call.vhost(everywhere="monitoring").name == "/"
    assert new_call(tags=("monitoring",)).vhosts() == []
    assert [vhost.name for vhost in new_call(tags=("monitoring",)).vhosts(everywhere="monitoring")] == ["/"]
    call.user.permissions["/"] = Permissions()
    assert call.vhost().name == "/"
    for writes, reason in ((False, "Not Found"), (True, "vhost_not_found")):
        with pytest.raises(RequestError) as missing:
            new_call(path={"vhost": "nov"}).vhost(writes=writes)
        assert refusal(missing) == (404, reason)


# Logins


def basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic(b"a:b"), ("a", "b")),
        (basic(b"a:b:c"), ("a", "b:c")),
        (basic(b":"), ("", "")),
        (basic("é:ü".encode()), ("é", "ü")),
        (basic(b"\xff:\xfe"), ("\udcff", "\udcfe")),
        ("bAsIc YTpi", ("a", "b")),
        ("Basic  YTpi ", ("a", "b")),
        (basic(b"ab"), None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic \xff", None),
        ("Bearer YTpi", None),
        ("", None),
    ],
)
def test_logins(header: str, expected: tuple[str, str] | None) -> None:
    assert basic_credentials(header) == expected


def test_small_things() -> None:
    assert (put_answer(True), put_answer(False)) == (CREATED, NO_CONTENT)
    assert (exchange_name("amq.default"), exchange_name("amq.direct")) == ("", "amq.direct")
