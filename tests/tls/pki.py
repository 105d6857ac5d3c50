"""Authorities and what they have signed, as files: what can be right or wrong about a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE: Final = "correct horse battery staple"

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """Paths of a certificate chain and of the key of its first certificate."""

    certfile: str
    keyfile: str


class Authority:
    """An authority that writes what it signs into a directory.

    Attributes:
        ca_cert: Path of its own certificate.
    """

    def __init__(self, directory: Path, ca: trustme.CA | None = None) -> None:
        directory.mkdir()
        self._directory = directory
        self._ca = ca or trustme.CA()
        self.ca_cert = str(directory / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_cert)

    def intermediate(self) -> Authority:
        """An authority that is certified by this one; its certificate is in the files of those it signs."""
        return Authority(self._directory / "intermediate", self._ca.create_child_ca())

    def issue(
        self,
        name: str,
        *hosts: str,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Identity:
        """Sign a certificate.

        Args:
            name: Of the files.
            hosts: DNS names and IP addresses; by default one that nobody has.
            common_name: By default none.
            not_before: By default long ago.
            not_after: By default in the far future.
        """
        leaf = self._ca.issue_cert(
            *(hosts or ("client.example",)),
            common_name=common_name,
            organization_name="Example",
            organization_unit_name="Tests",
            not_before=not_before,
            not_after=not_after,
        )
        identity = Identity(str(self._directory / f"{name}.crt"), str(self._directory / f"{name}.key"))
        with open(identity.certfile, "wb") as file:
            file.writelines(blob.bytes() for blob in leaf.cert_chain_pems)
        leaf.private_key_pem.write_to_path(identity.keyfile)
        return identity

    def expired(self, name: str, *hosts: str, common_name: str | None = None) -> Identity:
        """Sign a certificate that was good until yesterday."""
        return self.issue(name, *hosts, common_name=common_name, not_after=datetime.now(UTC) - _DAY)

    def not_yet_valid(self, name: str, *hosts: str, common_name: str | None = None) -> Identity:
        """Sign a certificate that will be good from tomorrow."""
        now = datetime.now(UTC)
        return self.issue(
            name, *hosts, common_name=common_name, not_before=now + _DAY, not_after=now + 2 * _DAY
        )


class Pki:
    """All certificates of the tests, made once.

    Attributes:
        root: Whom everybody should trust.
        stranger: Whom nobody trusts.
        servers: By what is right or wrong about them; the good ones are for localhost and 127.0.0.1.
        clients: Likewise; the good ones are those of the user "app".
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.root = Authority(directory / "root")
        self.stranger = Authority(directory / "stranger")
        intermediate = self.root.intermediate()
        here = ("localhost", "127.0.0.1")
        self.servers = {
            "good": self.root.issue("server", *here),
            "intermediate": intermediate.issue("server", *here),
            "stranger": self.stranger.issue("server", *here),
            "elsewhere": self.root.issue("elsewhere", "elsewhere.example"),
            "name_only": self.root.issue("name_only", "localhost"),
            "address_only": self.root.issue("address_only", "127.0.0.1"),
            "expired": self.root.expired("expired_server", *here),
            "not_yet_valid": self.root.not_yet_valid("future_server", *here),
        }
        self.clients = {
            "good": self.root.issue("app", common_name="app"),
            "intermediate": intermediate.issue("app", common_name="app"),
            "ghost": self.root.issue("ghost", common_name="ghost"),
            "stranger": self.stranger.issue("app", common_name="app"),
            "expired": self.root.expired("expired_app", common_name="app"),
        }
        self.clients["without_chain"] = self._without_chain(self.clients["intermediate"])

    @property
    def ca_cert(self) -> str:
        """Path of the certificate to trust."""
        return self.root.ca_cert

    def file(self, name: str, *parts: bytes | str) -> str:
        """Write a file and return its path; a part that is text is the path of a file to copy."""
        path = self._directory / name
        with path.open("wb") as file:
            for part in parts:
                if isinstance(part, str):
                    with open(part, "rb") as source:
                        part = source.read()
                file.write(part)
        return str(path)

    def missing(self, name: str) -> str:
        """Path of a file that is not there."""
        return str(self._directory / name)

    def _without_chain(self, identity: Identity) -> Identity:
        with open(identity.certfile, "rb") as file:
            end = b"-----END CERTIFICATE-----\n"
            leaf = file.read().partition(end)[0] + end
        return Identity(self.file("without_chain.crt", leaf), identity.keyfile)

    def encrypted(self, keyfile: str) -> str:
        """Write a key once more, now with a passphrase."""
        with open(keyfile, "rb") as file:
            key = load_pem_private_key(file.read(), password=None)
        encryption = BestAvailableEncryption(PASSPHRASE.encode())
        return self.file("encrypted.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
