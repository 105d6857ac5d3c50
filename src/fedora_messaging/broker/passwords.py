"""Password hashes in the form that RabbitMQ stores and exchanges: salt and digest, in base64."""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import Final, Self

_SALT_SIZE: Final = 4
#: RabbitMQ's names of hash functions, and Python's.
ALGORITHMS: Final = {
    "rabbit_password_hashing_sha256": "sha256",
    "rabbit_password_hashing_sha512": "sha512",
    "rabbit_password_hashing_md5": "md5",
}
_DEFAULT: Final = "rabbit_password_hashing_sha256"


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """The hash of a password.

    Attributes:
        salted: Four bytes of salt and the digest; empty if no password is right.
        algorithm: RabbitMQ's name of the hash function.
    """

    salted: bytes = field(default=b"", repr=False)
    algorithm: str = _DEFAULT

    @classmethod
    def of(cls, password: str) -> Self:
        """Hash a password with a new salt."""
        salt = os.urandom(_SALT_SIZE)
        return cls(salt + _digest(_DEFAULT, salt, password))

    @classmethod
    def parse(cls, text: str, algorithm: str = _DEFAULT) -> Self:
        """Read a hash as definitions and the HTTP API write it.

        Raises:
            ValueError: The text is not base64, or the hash function is not known.
        """
        if algorithm not in ALGORITHMS:
            raise ValueError(f"unknown hashing algorithm {algorithm!r}; known: {', '.join(ALGORITHMS)}")
        return cls(base64.b64decode(text, validate=True), algorithm)

    @property
    def text(self) -> str:
        """The hash as definitions and the HTTP API write it."""
        return base64.b64encode(self.salted).decode()

    def matches(self, password: str) -> bool:
        """Whether a password is the right one; takes as long for any other one."""
        salt, expected = self.salted[:_SALT_SIZE], self.salted[_SALT_SIZE:]
        is_equal = hmac.compare_digest(expected, _digest(self.algorithm, salt, password))
        return is_equal and bool(password)


def _digest(algorithm: str, salt: bytes, password: str) -> bytes:
    return hashlib.new(
        ALGORITHMS[algorithm], salt + password.encode("utf-8", "surrogateescape"), usedforsecurity=False
    ).digest()
