"""Hashes of passwords in RabbitMQ's form."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fedora_messaging.broker.passwords import ALGORITHMS, PasswordHash

SALT = bytes.fromhex("908dc60a")
#: RabbitMQ's documentation works this example out.
EXAMPLE = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def hashed(algorithm: str, password: bytes) -> str:
    """Return a hash as RabbitMQ writes it."""
    digest = hashlib.new(algorithm, SALT + password).digest()
    return base64.b64encode(SALT + digest).decode()


def test_example_of_rabbitmq() -> None:
    password = PasswordHash.parse(EXAMPLE)
    assert password.matches("test12")
    assert not password.matches("test13")
    assert (password.text, password.algorithm) == (EXAMPLE, "rabbit_password_hashing_sha256")


@pytest.mark.parametrize(("name", "function"), ALGORITHMS.items())
@pytest.mark.parametrize("text", ["secret", "żółw 🐢", "\udcff"])
def test_each_hash_function(name: str, function: str, text: str) -> None:
    parsed = PasswordHash.parse(hashed(function, text.encode("utf-8", "surrogateescape")), name)
    assert parsed.matches(text)
    assert not parsed.matches(f"{text}x")
    assert not parsed.matches("")
    assert PasswordHash.parse(parsed.text, parsed.algorithm) == parsed


def test_new_hashes_are_salted_and_never_shown() -> None:
    first, second = PasswordHash.of("secret"), PasswordHash.of("secret")
    assert first != second
    assert first.matches("secret")
    assert (first.algorithm, len(first.salted)) == ("rabbit_password_hashing_sha256", 4 + 32)
    assert repr(first) == "PasswordHash(algorithm='rabbit_password_hashing_sha256')"


@pytest.mark.parametrize(
    "password", [PasswordHash(), PasswordHash.of(""), PasswordHash(SALT), PasswordHash(b"x")]
)
def test_hashes_that_no_password_matches(password: PasswordHash) -> None:
    """RabbitMQ lets nobody in with an empty password, whatever is stored."""
    assert not any(password.matches(text) for text in ("", "x", "secret"))


@pytest.mark.parametrize("text", ["!!!", "a", "żółw", "kI3G CqW5", "kI3GCqW5\n"])
def test_texts_that_are_not_base64(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own text
        PasswordHash.parse(text)


def test_unknown_hash_function() -> None:
    with pytest.raises(ValueError, match="^unknown hashing algorithm 'crc32'; known: ") as caught:
        PasswordHash.parse(EXAMPLE, "crc32")
    assert all(name in str(caught.value) for name in ALGORITHMS)
