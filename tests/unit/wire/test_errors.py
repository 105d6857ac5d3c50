"""The error for malformed bytes: the reply code and text that its connection is closed with."""

from __future__ import annotations

import pickle

from fedora_messaging.protocol import errors as protocol_errors
from fedora_messaging.wire import errors
from fedora_messaging.wire.errors import FRAME_ERROR, SYNTAX_ERROR, WireError, truncated


def test_code_and_text() -> None:
    error = WireError(FRAME_ERROR, "type 1, all octets = <<>>: unknown_frame")
    assert (error.reply_code, error.text) == (501, "type 1, all octets = <<>>: unknown_frame")
    assert error.args == (501, "type 1, all octets = <<>>: unknown_frame")


def test_an_error_may_go_to_another_process() -> None:
    copy = pickle.loads(pickle.dumps(WireError(SYNTAX_ERROR, "text")))
    assert (type(copy), copy.reply_code, copy.text) == (WireError, 502, "text")


def test_data_that_ends_too_early() -> None:
    error = truncated("a long string")
    assert (error.reply_code, error.text) == (502, "a long string reaches beyond the end of its frame")


def test_the_codes_are_those_of_the_layer_above() -> None:
    """The layer may not import them from there."""
    for name in ("FRAME_ERROR", "SYNTAX_ERROR", "NOT_IMPLEMENTED"):
        assert getattr(errors, name) == getattr(protocol_errors, name)
