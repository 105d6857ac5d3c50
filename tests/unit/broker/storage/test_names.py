"""Names go into SQLite and come out the same, whatever their bytes."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.broker.storage.names import read_name, stored_name


@pytest.mark.parametrize("name", ["", "q", "ä €", "\U0001f426", "a\0b", "ÿ"])
def test_utf_8_stays_readable_in_the_file(name: str) -> None:
    assert stored_name(name) == name
    assert read_name(name) == name


@pytest.mark.parametrize(
    ("name", "stored"), [("\udcff", b"\xff"), ("ä\udce4", b"\xc3\xa4\xe4"), ("\udcc3", b"\xc3")]
)
def test_other_bytes_are_stored_as_they_were(name: str, stored: bytes) -> None:
    assert stored_name(name) == stored
    assert read_name(stored) == name


def test_names_that_look_alike_stay_apart() -> None:
    """One is the character, the other the byte that stands for it in Latin-1."""
    assert stored_name("ÿ") != stored_name("\udcff")


@given(st.binary(max_size=255))
def test_every_name_survives_the_file(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    connection = sqlite3.connect(":memory:")
    (stored,) = connection.execute("SELECT ?", (stored_name(name),)).fetchone()
    connection.close()
    assert read_name(stored) == name
