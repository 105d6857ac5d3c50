"""SASL mechanisms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode as pamqp_decode

from fedora_messaging.protocol.sasl import (
    AMQPLAIN,
    ANONYMOUS,
    EXTERNAL,
    PLAIN,
    initial_response,
    parse_response,
)

BOTH = pytest.mark.parametrize("mechanism", [PLAIN, AMQPLAIN])
CREDENTIAL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def test_plain() -> None:
    assert initial_response(PLAIN, "user", "pass") == b"\0user\0pass"


def test_amqplain() -> None:
    response = initial_response(AMQPLAIN, "user", "pass")
    assert response == b"\x05LOGINS\x00\x00\x00\x04user\x08PASSWORDS\x00\x00\x00\x04pass"
    # As a table, but for its length, which the long string around it gives.
    table = len(response).to_bytes(4, "big") + response
    assert pamqp_decode.field_table(table)[1] == {"LOGIN": "user", "PASSWORD": "pass"}


@pytest.mark.parametrize("mechanism", [EXTERNAL, ANONYMOUS])
def test_mechanisms_that_say_nothing(mechanism: str) -> None:
    assert initial_response(mechanism, "user", "pass") == b""
    assert parse_response(mechanism, b"\0user\0pass") is None


@BOTH
@given(CREDENTIAL, CREDENTIAL)
def test_round_trip(mechanism: str, username: str, password: str) -> None:
    assert parse_response(mechanism, initial_response(mechanism, username, password)) == (username, password)


def test_plain_may_name_whom_to_act_for() -> None:
    assert parse_response(PLAIN, b"someone\0user\0pass") == ("user", "pass")


def test_plain_keeps_bytes_that_are_not_utf_8() -> None:
    parsed = parse_response(PLAIN, b"\0us\xffer\0p\xfe")
    assert parsed is not None
    assert [text.encode("utf-8", "surrogateescape") for text in parsed] == [b"us\xffer", b"p\xfe"]


def test_a_user_name_from_the_environment_that_is_not_utf_8_is_sent_as_it_is() -> None:
    username = b"\xff\xfe".decode("utf-8", "surrogateescape")
    response = initial_response(PLAIN, username, "p")
    assert parse_response(PLAIN, response) == (username, "p")


@pytest.mark.parametrize("response", [b"", b"user", b"user\0pass", b"\0user", b"\0user\0pass\0", b"\0\0\0\0"])
def test_plain_that_is_none(response: bytes) -> None:
    assert parse_response(PLAIN, response) is None


LOGIN = b"\x05LOGINS\x00\x00\x00\x01u"
PASSWORD = b"\x08PASSWORDS\x00\x00\x00\x01p"


def test_amqplain_in_any_order_and_with_more() -> None:
    assert parse_response(AMQPLAIN, PASSWORD + b"\x01xV" + LOGIN) == ("u", "p")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        LOGIN,
        PASSWORD,
        LOGIN + PASSWORD[:-1],
        LOGIN + PASSWORD + b"\xff",
        LOGIN + b"\x08PASSWORDI\x00\x00\x00\x01",
        b"\x05LOGINV" + PASSWORD,
        b"\x05LOGINS\x00\x00\x00\x01\xff" + PASSWORD,
        b"\x05LOGIN?" + PASSWORD,
        LOGIN + b"\x08PASSWORDS\xff\xff\xff\xffp",
    ],
)
def test_amqplain_that_is_none(response: bytes) -> None:
    assert parse_response(AMQPLAIN, response) is None


@BOTH
@given(st.binary(max_size=60))
def test_arbitrary_bytes(mechanism: str, response: bytes) -> None:
    parsed = parse_response(mechanism, response)
    assert parsed is None or len(parsed) == 2
