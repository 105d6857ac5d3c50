"""TLS between our client and the embedded broker (promise P24)."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from fedora_messaging import aio, config, exceptions
from fedora_messaging.broker import Accounts, Broker, Permissions
from fedora_messaging.message import Message
from fedora_messaging.transport.tls import ServerTLSOptions


class Pki:
    """An authority and what it has signed, as files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.ca_cert = str(directory / "ca.pem")
        self._authority.cert_pem.write_to_path(self.ca_cert)

    def issue(self, *names: str, common_name: str | None = None) -> tuple[str, str]:
        """Return the paths of a certificate chain and its key."""
        leaf = self._authority.issue_cert(*names, common_name=common_name)
        stem = self._directory / (common_name or names[0])
        chain, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    config.conf = config.LazyConfig()
    config.conf.load_config("")
    yield
    config.conf = config.LazyConfig()


@contextmanager
def tls_broker(
    pki: Pki, *names: str, clients: bool = False, accounts: Accounts | None = None
) -> Iterator[int]:
    chain, key = pki.issue(*names)
    options = ServerTLSOptions(chain, key, pki.ca_cert if clients else None)
    with Broker(tls=options, accounts=accounts) as broker:
        yield broker.port


def publish(url: str) -> None:
    async def main() -> None:
        async with aio.connect(url, timeout=20) as bus:
            await bus.publish(Message(topic="t"))

    asyncio.run(main())


def refusal(url: str) -> str:
    with pytest.raises(exceptions.ConnectionException) as caught:
        publish(url)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["amqps", "AMQPS"])
def test_p24_trusted_broker(pki: Pki, scheme: str) -> None:
    config.conf["tls"] = {"ca_cert": pki.ca_cert}
    with tls_broker(pki, "localhost") as port:
        publish(f"{scheme}://localhost:{port}")


def test_p24_every_certificate_of_a_bundle_counts(pki: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    bundle = tmp_path / "bundle.pem"
    stranger = Path(Pki(other).ca_cert).read_bytes()
    bundle.write_bytes(
        stranger + "# Zertifizierungsstelle für Prüfungen\n".encode() + Path(pki.ca_cert).read_bytes()
    )
    config.conf["tls"] = {"ca_cert": str(bundle)}
    with tls_broker(pki, "localhost") as port:
        publish(f"amqps://localhost:{port}")


def test_p24_wrong_host_name(pki: Pki) -> None:
    config.conf["tls"] = {"ca_cert": pki.ca_cert}
    with tls_broker(pki, "elsewhere.example") as port:
        assert "ostname mismatch" in refusal(f"amqps://localhost:{port}")


def test_p24_wrong_authority(pki: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config.conf["tls"] = {"ca_cert": Pki(other).ca_cert}
    with tls_broker(pki, "localhost") as port:
        assert "certificate verify failed" in refusal(f"amqps://localhost:{port}")


def test_p24_old_tls_is_refused(pki: Pki) -> None:
    chain, key = pki.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca_cert)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.minimum_version = ssl.TLSVersion.TLSv1

    async def dial(port: int) -> None:
        _reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.close()

    with Broker(tls=ServerTLSOptions(chain, key)) as broker, pytest.raises((ssl.SSLError, ConnectionError)):
        asyncio.run(dial(broker.port))


def test_p24_client_certificate_is_the_login(pki: Pki) -> None:
    accounts = Accounts(guest=False)
    accounts.add_user("app", None)
    accounts.set_permissions("app", "/", Permissions())
    chain, key = pki.issue("app.example", common_name="app")
    config.conf["tls"] = {"ca_cert": pki.ca_cert, "certfile": chain, "keyfile": key}
    with tls_broker(pki, "localhost", clients=True, accounts=accounts) as port:
        publish(f"amqps://localhost:{port}")


def test_p24_certificate_of_nobody(pki: Pki) -> None:
    chain, key = pki.issue("ghost.example", common_name="ghost")
    config.conf["tls"] = {"ca_cert": pki.ca_cert, "certfile": chain, "keyfile": key}
    with tls_broker(pki, "localhost", clients=True) as port:
        assert "ACCESS_REFUSED" in refusal(f"amqps://localhost:{port}")


def test_p24_missing_client_certificate(pki: Pki) -> None:
    config.conf["tls"] = {"ca_cert": pki.ca_cert}
    with tls_broker(pki, "localhost", clients=True) as port:
        assert "handshake" in refusal(f"amqps://localhost:{port}")


@pytest.mark.parametrize(
    ("setting", "content"),
    [
        ("ca_cert", None),
        ("ca_cert", "no certificate"),
        ("certfile", None),
        ("keyfile", None),
        ("keyfile", "no key"),
    ],
)
def test_p24_bad_files_are_named(pki: Pki, tmp_path: Path, setting: str, content: str | None) -> None:
    chain, key = pki.issue("app.example", common_name="app")
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    config.conf["tls"] = {"ca_cert": pki.ca_cert, "certfile": chain, "keyfile": key, setting: str(bad)}
    with tls_broker(pki, "localhost") as port, pytest.raises(exceptions.ConfigurationException) as caught:
        publish(f"amqps://localhost:{port}")
    assert f'The "{setting}" setting in the "tls" section is invalid (' in str(caught.value)
    assert str(bad) in str(caught.value)


def test_plain_client_at_a_tls_port(pki: Pki) -> None:
    with tls_broker(pki, "localhost") as port:
        assert "handshake" in refusal(f"amqp://localhost:{port}")
