"""Reply codes and their names, and texts that are cut so that a short string can hold them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.servers import require

from fedora_messaging.protocol import errors
from fedora_messaging.protocol.errors import (
    ACCESS_REFUSED,
    NAMES,
    NOT_FOUND,
    PRECONDITION_FAILED,
    REPLY_SUCCESS,
    ChannelError,
    PeerError,
    reply_text,
    short_text,
)
from fedora_messaging.wire import methods as m

SPECIFICATION = Path("/usr/share/amqp/specs/0-9-1-rabbit/amqp0-9-1.stripped.extended.xml")


def test_codes_are_those_of_the_specification() -> None:
    require(SPECIFICATION.exists(), "The AMQP specification", "install the package amqp-specs")
    constants = ElementTree.parse(SPECIFICATION).getroot().iter("constant")
    specified = {
        int(constant.attrib["value"]): constant.attrib["name"].replace("-", "_").upper()
        for constant in constants
        if "class" in constant.attrib
    }
    # RabbitMQ's file lacks this one.
    assert specified | {312: "NO_ROUTE"} == NAMES


@pytest.mark.parametrize(("code", "name"), NAMES.items())
def test_each_name_is_that_of_its_constant(code: int, name: str) -> None:
    assert getattr(errors, name) == code


def test_success_has_no_name_to_put_before_a_text() -> None:
    assert REPLY_SUCCESS == 200
    with pytest.raises(KeyError):
        reply_text(REPLY_SUCCESS, "bye")


@pytest.mark.parametrize("kind", [PeerError, ChannelError, errors.ConnectionError])
def test_error_of_the_peer(kind: type[PeerError]) -> None:
    error = kind(NOT_FOUND, "no queue 'q' in vhost '/'", m.QueueDeclare)
    assert (error.reply_code, error.explanation, error.method) == (
        404,
        "no queue 'q' in vhost '/'",
        m.QueueDeclare,
    )
    assert error.reply_text == "NOT_FOUND - no queue 'q' in vhost '/'"
    assert error.args == (404, "no queue 'q' in vhost '/'")
    assert kind(NOT_FOUND, "x").method is None


def test_a_mistake_ends_the_channel_or_the_connection_but_not_both() -> None:
    assert not issubclass(ChannelError, errors.ConnectionError)
    assert not issubclass(errors.ConnectionError, ChannelError)
    # The name is the specification's: the error is not Python's.
    assert not issubclass(errors.ConnectionError, OSError)


def test_the_name_counts_towards_the_length_of_a_reply_text() -> None:
    name = "ACCESS_REFUSED - "
    assert reply_text(ACCESS_REFUSED, "x" * (255 - len(name))) == name + "x" * (255 - len(name))
    assert reply_text(ACCESS_REFUSED, "x" * (256 - len(name))) == name + "x" * (252 - len(name)) + "..."
    assert PeerError(PRECONDITION_FAILED, "x" * 1000).reply_text.endswith("xxx...")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 252 + "..."),
        # 255 bytes of UTF-8 in 128 characters, then one byte more.
        ("ä" * 127 + "x", "ä" * 127 + "x"),
        ("ä" * 128, "ä" * 126 + "..."),
        # The cut falls into a character, which is left out.
        ("x" + "ä" * 128, "x" + "ä" * 125 + "..."),
        ("\U0001f600" * 64, "\U0001f600" * 63 + "..."),
        ("x" + "\U0001f600" * 64, "x" + "\U0001f600" * 62 + "..."),
        # A byte of a name that is not UTF-8 stays in a short text only.
        ("\udcff", "\udcff"),
        ("\udcff" + "x" * 255, "x" * 251 + "..."),
    ],
)
def test_short_text(text: str, expected: str) -> None:
    assert short_text(text) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=100, max_size=300))
def test_a_short_text_fits_and_is_the_beginning(text: str) -> None:
    cut = short_text(text)
    assert len(cut.encode()) <= 255
    assert cut == text or text.startswith(cut.removesuffix("..."))
    # At most one character is lost beside the three bytes for the dots.
    assert cut == text or len(cut.encode()) > 255 - 4
