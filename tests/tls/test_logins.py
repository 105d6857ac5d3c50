"""What must connect does: certificates, chains and bundles that are good (promise P24)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import message, plan, run
from tests.tls.cases import PASSWORD, failure, files
from tests.tls.servers import APP, MUTUAL, login_from

from fedora_messaging import aio, api
from fedora_messaging.exceptions import ConnectionException, HaltConsumer, PublishException
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from tests.tls.pki import Pki
    from tests.tls.servers import TlsBroker

    from fedora_messaging.config import LazyConfig

GUEST = "guest:guest"
#: Would be refused if it were used.
NOBODY = f"nobody:{PASSWORD}"


def url(broker: TlsBroker, server: str = "good", *, host: str = "localhost", login: str = GUEST) -> str:
    return f"amqps://{login}@{host}:{broker.ports[server]}"


def publish(where: str, one: Message | None = None) -> None:
    async def main() -> None:
        async with aio.connect(where) as bus:
            await bus.publish(one or Message(topic="tls.test"))

    run(main())


def sent_by(user: str) -> Message:
    """A message that brokers take from this user only."""
    properties: Any = type(Message()._properties)
    fields = {"content_type": "application/json", "content_encoding": "utf-8", "headers": Message()._headers}
    return Message(topic="tls.test", properties=properties(user_id=user, message_id="1", **fields))


@pytest.mark.parametrize("scheme", ["amqps", "AMQPS", "Amqps"])
def test_p24_password(broker: TlsBroker, pki: Pki, settings: LazyConfig, scheme: str) -> None:
    settings["tls"] = {"ca_cert": pki.ca_cert}
    publish(url(broker).replace("amqps", scheme), sent_by("guest"))


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("good", "127.0.0.1"),
        ("name_only", "localhost"),
        ("address_only", "127.0.0.1"),
        ("intermediate", "localhost"),
    ],
)
def test_p24_certificate_of_the_broker(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, server: str, host: str
) -> None:
    settings["tls"] = {"ca_cert": pki.ca_cert}
    publish(url(broker, server, host=host))


def test_p24_what_the_platform_trusts(broker: TlsBroker, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca_cert)
    publish(url(broker))


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_p24_every_certificate_of_a_bundle_counts(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, place: str
) -> None:
    parts: dict[str, list[bytes | str]] = {
        "first": [pki.ca_cert, "# Größe\n".encode(), pki.stranger.ca_cert],
        "middle": [
            pki.stranger.ca_cert,
            "# Prüfstelle 試験\n".encode(),
            pki.ca_cert,
            pki.servers["good"].certfile,
        ],
        "last": [b"# Latin-1: \xe9\xff\r\n", pki.stranger.ca_cert, b"Subject: CN=\xc3\xa9\n\n", pki.ca_cert],
    }
    settings["tls"] = {"ca_cert": pki.file(f"bundle-{place}.pem", *parts[place])}
    publish(url(broker))


@pytest.mark.parametrize("client", ["good", "intermediate"])
def test_p24_client_certificate_is_the_login(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, client: str
) -> None:
    """With its chain: the broker trusts the root only."""
    settings["tls"] = {"ca_cert": pki.ca_cert, **files(pki.clients[client])}
    publish(url(broker, MUTUAL, login=NOBODY), sent_by(APP))


def test_p24_client_certificate_is_nobody_elses_login(
    broker: TlsBroker, pki: Pki, settings: LazyConfig
) -> None:
    settings["tls"] = {"ca_cert": pki.ca_cert, **files(pki.clients["good"])}
    with pytest.raises(PublishException, match="authenticated user was 'app'"):
        publish(url(broker, MUTUAL), sent_by("guest"))


def test_p24_certificate_and_key_in_one_file(broker: TlsBroker, pki: Pki, settings: LazyConfig) -> None:
    both = pki.file("both.pem", pki.clients["good"].keyfile, pki.clients["good"].certfile)
    settings["tls"] = {"ca_cert": pki.ca_cert, "certfile": both, "keyfile": both}
    publish(url(broker, MUTUAL, login=NOBODY), sent_by(APP))


def test_p24_user_of_a_distinguished_name(rabbitmq_tls: TlsBroker, pki: Pki, settings: LazyConfig) -> None:
    node = rabbitmq_tls.node
    assert node is not None
    name = "CN=app,OU=Tests,O=Example"
    node.ctl("add_user", name, uuid.uuid4().hex)
    node.ctl("set_permissions", name, ".*", ".*", ".*")
    settings["tls"] = {"ca_cert": pki.ca_cert, **files(pki.clients["good"])}
    with login_from(node, "distinguished_name"):
        publish(url(rabbitmq_tls, MUTUAL, login=NOBODY), sent_by(name))


@pytest.mark.parametrize("setting", ["certfile", "keyfile"])
@pytest.mark.parametrize("other", [None, ""])
def test_p24_half_a_client_certificate_is_none(
    broker: TlsBroker, pki: Pki, settings: LazyConfig, setting: str, other: str | None
) -> None:
    """The login is by password, and the file is not even looked at."""
    tls = {"ca_cert": pki.ca_cert, "certfile": other, "keyfile": other, setting: pki.missing("half")}
    settings["tls"] = tls
    publish(url(broker), sent_by("guest"))
    error = failure("aio.connect", settings, url(broker, login=NOBODY), tls)
    assert isinstance(error, ConnectionException)
    assert "authentication mechanism PLAIN" in str(error)


def test_p24_blocking_publish_and_consume(broker: TlsBroker, pki: Pki, settings: LazyConfig) -> None:
    settings["amqp_url"] = url(broker, MUTUAL, login=NOBODY)
    settings["tls"] = {"ca_cert": pki.ca_cert, **files(pki.clients["intermediate"])}
    name = uuid.uuid4().hex
    got: list[Message] = []

    def callback(one: Message) -> None:
        got.append(one)
        raise HaltConsumer

    async def make_queue() -> None:
        async with aio.connect() as bus, bus.subscribe(f"{name}.#", queue=name):
            pass

    try:
        run(make_queue())
        api.publish(message(name, 7))
        with pytest.raises(HaltConsumer):
            api.consume(callback, **plan(name))
    finally:
        api.close()
    assert [one.body["number"] for one in got] == [7]
