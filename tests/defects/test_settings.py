"""Defects of version 3.9 in its settings that are not shown mended elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import trustme
from tests.client.support import message
from tests.support.waiting import WAIT

from fedora_messaging import aio, api
from fedora_messaging.broker import Accounts, Broker, Permissions
from fedora_messaging.client.backoff import Backoff
from fedora_messaging.exceptions import ConfigurationException, ConnectionException
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from pathlib import Path

    from fedora_messaging import config


def test_delays_between_attempts_are_capped() -> None:
    """The delays grow, but never beyond half a minute or a minute."""
    backoff = Backoff(jitter=lambda: 1.0)
    delays = [backoff.next() or 0.0 for _ in range(50)]
    assert delays == sorted(delays)
    assert 0 < delays[0] <= 2
    assert 30 <= delays[-1] <= 60
    backoff.reset()
    assert backoff.next() == delays[0]


def test_delays_are_spread() -> None:
    """Clients that lost the same broker do not come back in the same moment."""
    delays = {Backoff().next() for _ in range(20)}
    assert len(delays) == 20


# TLS


def write(blobs: list[trustme.Blob], path: Path) -> str:
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return str(path)


def test_whole_certificate_chain_is_sent(settings: config.LazyConfig, tmp_path: Path) -> None:
    """The broker knows the root only, and the client's certificate is two steps below it."""
    root = trustme.CA()
    client = root.create_child_ca().create_child_ca().issue_cert("app.example", common_name="app")
    # Without the intermediate ones, which have to come from the certfile.
    ca_cert = write([root.cert_pem], tmp_path / "ca.pem")
    server = root.issue_cert("localhost")
    options = ServerTLSOptions(
        write(server.cert_chain_pems, tmp_path / "server.crt"),
        write([server.private_key_pem], tmp_path / "server.key"),
        ca_cert,
    )
    accounts = Accounts(guest=False)
    accounts.add_user("app", None)
    accounts.set_permissions("app", "/", Permissions())
    key = write([client.private_key_pem], tmp_path / "client.key")
    settings["tls"] = {
        "ca_cert": ca_cert,
        "certfile": write(client.cert_chain_pems, tmp_path / "client.crt"),
        "keyfile": key,
    }
    assert len(client.cert_chain_pems) == 3

    async def publish(url: str) -> None:
        async with aio.connect(url, timeout=WAIT) as bus:
            await bus.publish(message("nowhere"))

    with Broker(tls=options, accounts=accounts) as broker:
        url = f"amqps://localhost:{broker.port}"
        asyncio.run(publish(url))
        leaf = write(client.cert_chain_pems[:1], tmp_path / "leaf.crt")
        settings["tls"] = {**settings["tls"], "certfile": leaf}
        with pytest.raises(ConnectionException):
            asyncio.run(publish(url))


@pytest.mark.parametrize("scheme", ["amqps", "AMQPS"])
@pytest.mark.parametrize("missing", ["ca_cert", "certfile", "keyfile"])
@pytest.mark.parametrize("what", ["publish", "consume"])
def test_missing_file(
    embedded_broker: Broker,
    settings: config.LazyConfig,
    tmp_path: Path,
    scheme: str,
    missing: str,
    what: str,
) -> None:
    """The caller gets a ConfigurationException at once, which names the setting."""
    authority = trustme.CA()
    client = authority.issue_cert("app.example")
    settings["amqp_url"] = f"{scheme}://localhost:{embedded_broker.port}"
    settings["tls"] = {
        "ca_cert": write([authority.cert_pem], tmp_path / "ca.pem"),
        "certfile": write(client.cert_chain_pems, tmp_path / "client.crt"),
        "keyfile": write([client.private_key_pem], tmp_path / "client.key"),
        missing: str(tmp_path / "missing.pem"),
    }
    try:
        with pytest.raises(ConfigurationException) as caught:
            if what == "publish":
                api.publish(message("nowhere"), timeout=None)
            else:
                api.consume(print)
    finally:
        api.close()
    assert f'"{missing}"' in str(caught.value)
    assert "missing.pem" in str(caught.value)


@pytest.mark.parametrize("what", ["publish", "consume"])
def test_user_without_password(settings: config.LazyConfig, what: str) -> None:
    """The caller gets a ConfigurationException at once; an empty password would do."""
    settings["amqp_url"] = "amqp://canary@127.0.0.1:1"
    try:
        with pytest.raises(ConfigurationException, match="password"):
            if what == "publish":
                api.publish(message("nowhere"), timeout=None)
            else:
                api.consume(print)
    finally:
        api.close()
