"""Text from elsewhere becomes one harmless line (P22)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.printable import LIMIT, escaped, explained, notes_of, printable


class Unshowable:
    """An object whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no")


class Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("żółw 🐢 %s\\", "żółw 🐢 %s\\"),
        ("", ""),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x00\x1b[2J\x7f", "\\x00\\x1b[2J\\x7f"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\u2028\u202e\ufeff", "\\u2028\\u202e\\ufeff"),
        ("\udc80\ud800", "\\udc80\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        (5, "5"),
        (None, "None"),
        (b"\x1b", "b'\\\\x1b'".replace("\\\\", "\\")),
        (Shown("a\nb"), "a\\nb"),
        (Unshowable(), "<Unshowable that cannot be shown>"),
    ],
)
def test_p22_one_harmless_line(value: object, shown: str) -> None:
    assert printable(value) == shown


@pytest.mark.parametrize(
    ("length", "limit", "shown"),
    [
        (LIMIT, LIMIT, "a" * LIMIT),
        (LIMIT + 1, LIMIT, "a" * LIMIT + "... (301 characters)"),
        (5, 4, "aaaa... (5 characters)"),
        (1, 0, "... (1 characters)"),
    ],
)
def test_p22_long_text_is_cut(length: int, limit: int, shown: str) -> None:
    assert printable("a" * length, limit) == shown
    assert printable(Shown("a" * length), limit) == shown


def test_p22_text_is_cut_before_it_is_escaped() -> None:
    """No escape is cut in two."""
    assert printable("\x1b" * 5, 2) == "\\x1b\\x1b... (5 characters)"


@given(st.text(st.characters(categories=None) | st.sampled_from("\n\x1b\u202e\ud800"), max_size=20))
def test_p22_whatever_the_text(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert (shown == text) is text.isprintable()
    assert printable(text, limit=20) == shown


def test_error_with_its_notes() -> None:
    error = ValueError("a\nb")
    assert (explained(error), notes_of(error)) == ("a\\nb", "")
    error.add_note("first\x1b")
    error.add_note("second")
    assert explained(error) == "a\\nb; first\\x1b; second"
    assert notes_of(error) == "; first\\x1b; second"


def test_error_that_cannot_be_shown() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = BadError()
    error.add_note("a note")
    assert explained(error) == "<BadError that cannot be shown>; a note"
