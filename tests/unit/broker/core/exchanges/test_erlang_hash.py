"""Erlang's hash and random numbers: what ``erl`` itself returns for ``erlang:phash2`` and ``rand``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedora_messaging.broker.core.exchanges.erlang_hash import (
    Exs1024s,
    hash_atom,
    hash_bytes,
    hash_list_of,
    hash_tagged,
    jump,
)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"", 13708901),
        (b"a", 112802447),
        (b"k0", 92414295),
        (b"elevenbytes", 40652766),
        (b"twelve bytes", 93359736),
        (b"thirteen byte", 33196846),
        (b"org.fedoraproject.prod.bodhi.update.request.testing", 52316806),
        (b"\xff\0\xfe", 92229112),
    ],
)
def test_binary(value: bytes, number: int) -> None:
    assert hash_bytes(value) == number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("undefined", 45914356),
        ("true", 506293),
        ("false", 7111573),
        ("longstr", 56945346),
        ("timestamp_of_a_long_name", 56065925),
    ],
)
def test_atom(name: str, number: int) -> None:
    assert hash_atom(name) == number


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("longstr", b"a", 65711459),
        ("longstr", b"", 116351706),
        ("bool", "true", 32030443),
        ("void", "undefined", 27077197),
        ("signedint", 0, 66238499),
        ("signedint", 5, 40839585),
        ("signedint", -5, 39932925),
        ("signedint", -2147483648, 18235318),
        ("long", 2147483648, 34751182),
        ("long", 1099511627776, 93748608),
        ("long", -1099511627776, 32506873),
        ("long", 9223372036854775807, 120433834),
        ("timestamp", 1700000000, 59280699),
        ("timestamp", 5000000000, 121897669),
    ],
)
def test_pair_of_an_atom_and_a_value(kind: str, value: bytes | int | str, number: int) -> None:
    assert hash_tagged(kind, value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (2**27 - 1, 33099472),
        (2**27, 117666136),
        (-(2**27), 13500176),
        (-(2**27) - 1, 132651809),
        (2**63, 93077625),
        (2**64, 96543391),
        (2**64 + 1, 123963144),
        (-(2**63), 112631110),
        (2**130 + 5, 45962770),
    ],
)
def test_small_and_large_integers(value: int, number: int) -> None:
    """Erlang hashes those of more than 28 bits in another way, 64 bits at a time."""
    assert hash_tagged("long", value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"", 38220213), (b"a", 53691870), (b"k0", 91343558), (b"twelve bytes", 820021)],
)
def test_list_of_one_binary(value: bytes, number: int) -> None:
    assert hash_list_of(value) == number


@pytest.mark.parametrize(
    ("seed", "first", "fortieth"),
    [
        (0, [0.2942322177448041, 0.9893093436811864, 0.32632696091752267], 0.4173525449369867),
        (1, [0.3599983300157247, 0.9215885412057169, 0.18718214622914953], 0.9358465753317788),
        (92414295, [0.8849976431656215, 0.27247714001374046, 0.06755363425409422], 0.40125886161247404),
        (1700000000000, [0.9362219143060803, 0.6556504573037658, 0.7077189327020249], 0.09143379943405994),
        (-5, [0.44641460519066334, 0.043174191074100476, 0.05459026675610523], 0.0972134679994544),
    ],
)
def test_random_numbers(seed: int, first: list[float], fortieth: float) -> None:
    generator = Exs1024s(seed)
    numbers = [generator.uniform() for _ in range(40)]
    assert numbers[:3] == first
    assert numbers[-1] == fortieth


@given(st.integers(0, 2**27 - 1), st.integers(1, 200))
def test_more_buckets_move_a_key_only_into_the_new_one(key: int, buckets: int) -> None:
    before, after = jump(key, buckets), jump(key, buckets + 1)
    assert 0 <= before < buckets
    assert after in (before, buckets)


def test_only_bucket() -> None:
    assert {jump(key, 1) for key in range(100)} == {0}
