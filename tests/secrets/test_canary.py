"""The search itself: a canary that is there is found."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from tests.secrets.canary import ESCAPED, PASSWORD, PIECES, QUOTED, leaks

from fedora_messaging.exceptions import ConnectionException

if TYPE_CHECKING:
    from tests.secrets.canary import Outputs


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "\0user\0"])
def test_p23_all_forms_are_found(piece: str, before: str) -> None:
    text = f"{before}{piece}!"
    raw = text.encode()
    for form in (
        text,
        text.upper(),
        raw.hex(),
        "".join(f"%{byte:02X}" for byte in raw),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        json.dumps(text),
        repr(raw),
    ):
        assert leaks(f"before {form} after"), form


@pytest.mark.parametrize(
    "text",
    [
        PASSWORD,
        QUOTED,
        ESCAPED,
        ESCAPED.lower(),
        quote(QUOTED),
        base64.b64encode(f"\0guest\0{PASSWORD}".encode()).decode(),
    ],
)
def test_p23_the_password_is_found(text: str) -> None:
    assert leaks(text)


@pytest.mark.parametrize("text", ["", "guest:guest", "Kanarie", "4826", "amqp://user:***@host"])
def test_p23_nothing_else_is_found(text: str) -> None:
    assert not leaks(text)


def test_p23_all_outputs_are_searched(unchecked_outputs: Outputs) -> None:
    def fail_with(secret: str) -> None:
        try:
            raise ValueError(secret)
        except ValueError as error:
            raise ConnectionException("refused") from error

    def outputs() -> int:
        return len(unchecked_outputs.leaks())

    logging.getLogger("fedora_messaging.anything").debug("%s", PASSWORD)
    after_logging = outputs()
    assert after_logging > 0
    try:
        fail_with(PASSWORD)
    except ConnectionException as error:
        unchecked_outputs.add(error)
    after_error = outputs()
    assert after_error > after_logging
    unchecked_outputs.add({"password": PASSWORD})
    after_object = outputs()
    assert after_object > after_error
    unchecked_outputs.add(PASSWORD.encode())
    assert outputs() > after_object
