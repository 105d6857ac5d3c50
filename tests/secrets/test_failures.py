"""Connections that fail, and one that does not: the password is in no error and in no log (P23)."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.client.support import Consuming, message, plan, run
from tests.secrets.canary import ESCAPED, PASSWORD, PIECES, QUOTED
from tests.support.waiting import eventually

from fedora_messaging import aio, api, config
from fedora_messaging.broker import Broker
from fedora_messaging.exceptions import (
    BadDeclaration,
    ConfigurationException,
    ConnectionException,
    ExchangeNotFound,
    PublishTimeout,
)
from fedora_messaging.message import Message
from fedora_messaging.settings.to_options import connection_options
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.secrets.canary import Outputs
    from tests.tls.pki import Pki

#: What a broker that cannot be reached costs each test, in seconds.
IMPATIENCE = 0.3
PATIENCE = 30.0

CLIENT_PROPERTIES = quote(f"{{'app': 'test', 'token': {PASSWORD!r}}}")


def by_aio(timeout: float) -> None:
    async def main() -> None:
        async with aio.connect(timeout=timeout) as bus:
            await bus.publish(Message(topic="secret.test"), timeout=timeout)

    run(main())


def by_publish(timeout: float) -> None:
    api.publish(Message(topic="secret.test"), timeout=timeout)


def by_consume(_timeout: float) -> None:
    api.consume(print)


FACES: dict[str, Callable[[float], None]] = {
    "aio": by_aio,
    "api.publish": by_publish,
    "api.consume": by_consume,
}


def fail(outputs: Outputs, face: str, error: type[Exception], timeout: float = PATIENCE) -> Exception:
    """Connect in vain with the configuration, and note everything."""
    try:
        with pytest.raises(error) as caught:
            FACES[face](timeout)
        outputs.add(caught.value, config.conf, getattr(caught.value, "reason", None))
        outputs.add(connection_options(config.conf), api._twisted_service)
    finally:
        api.close()
    assert any(name.startswith("fedora_messaging.") for name in outputs.log.names)
    return caught.value


@contextmanager
def talker(says: bytes) -> Iterator[int]:
    """A server that says something to everybody, and hangs up when it gets something; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _address = listener.accept()
                    with client, suppress(OSError):
                        client.sendall(says)
                        client.recv(8)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(1000):
                            pass

        thread = threading.Thread(target=serve, name="talker")
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# Refused by the broker


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "url",
    [
        f"amqp://guest:{QUOTED}@127.0.0.1:{{port}}",
        f"amqp://guest:{ESCAPED}@127.0.0.1:{{port}}",
        f"amqp://nobody:{QUOTED}@127.0.0.1:{{port}}",
        f"amqp://caged:{QUOTED}@127.0.0.1:{{port}}",
        f"amqp://bird:{QUOTED}@127.0.0.1:{{port}}/no-such-vhost",
        f"amqp://guest:wrong@127.0.0.1:{{port}}?client_properties={CLIENT_PROPERTIES}",
    ],
    ids=["password", "escaped password", "user", "no permission", "vhost", "client_properties"],
)
def test_p23_refused(
    outputs: Outputs, bird_broker: Broker, settings: config.LazyConfig, url: str, face: str
) -> None:
    settings["amqp_url"] = url.format(port=bird_broker.port)
    fail(outputs, face, ConnectionException)
    outputs.assert_clean()


@pytest.mark.parametrize("face", ["aio", "api.publish"])
def test_p23_refused_with_the_url_from_the_environment(
    outputs: Outputs,
    bird_broker: Broker,
    settings: config.LazyConfig,
    monkeypatch: pytest.MonkeyPatch,
    face: str,
) -> None:
    url = f"amqp://guest:{QUOTED}@127.0.0.1:{bird_broker.port}"
    monkeypatch.setenv(config.URL_VARIABLE, url)
    assert settings["amqp_url"] == url
    fail(outputs, face, ConnectionException)
    outputs.assert_clean()


# Not reached


@pytest.mark.parametrize(("face", "error"), [("aio", ConnectionException), ("api.publish", PublishTimeout)])
def test_p23_unreachable(
    outputs: Outputs, settings: config.LazyConfig, face: str, error: type[Exception]
) -> None:
    settings["amqp_url"] = f"amqp://bird:{QUOTED}@127.0.0.1:1/%2F"
    fail(outputs, face, error, IMPATIENCE)
    outputs.assert_clean()


@pytest.mark.parametrize("face", FACES)
def test_p23_impossible_host(outputs: Outputs, settings: config.LazyConfig, face: str) -> None:
    settings["amqp_url"] = f"amqp://bird:{QUOTED}@a..b"
    fail(outputs, face, ConfigurationException)
    outputs.assert_clean()


@pytest.mark.parametrize(
    "says", [b"", b"AMQP\x00\x01\x00\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01\0\0\0\0\0\x01x\xce"]
)
def test_p23_no_broker(outputs: Outputs, settings: config.LazyConfig, says: bytes) -> None:
    with talker(says) as port:
        settings["amqp_url"] = f"amqp://bird:{QUOTED}@127.0.0.1:{port}"
        fail(outputs, "api.publish", ConnectionException)
    outputs.assert_clean()


# TLS


@pytest.mark.parametrize("server", ["good", "stranger", "elsewhere", "expired"])
def test_p23_tls_refused(
    outputs: Outputs,
    settings: config.LazyConfig,
    pki: Pki,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
) -> None:
    # In which asyncio itself complains of what the test makes happen to the broker.
    monkeypatch.delenv("PYTHONASYNCIODEBUG")
    settings["tls"] = {"ca_cert": pki.ca_cert}
    identity = pki.servers[server]
    with Broker(tls=ServerTLSOptions(identity.certfile, identity.keyfile)) as broker:
        settings["amqp_url"] = f"amqps://guest:{QUOTED}@localhost:{broker.port}"
        fail(outputs, "aio", ConnectionException)
    outputs.assert_clean()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("setting", ["ca_cert", "certfile", "keyfile"])
def test_p23_secret_in_a_file(
    outputs: Outputs, settings: config.LazyConfig, pki: Pki, setting: str, face: str
) -> None:
    """A key file may hold anything; nothing of it is shown when it is no good."""
    good = pki.clients["good"]
    body = "\n".join(PIECES)
    text = f"{body}\n-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n# {PASSWORD}\n"
    settings["tls"] = {
        "ca_cert": pki.ca_cert,
        "certfile": good.certfile,
        "keyfile": good.keyfile,
        setting: pki.file("secret.pem", text.encode()),
    }
    settings["amqp_url"] = f"amqps://bird:{QUOTED}@localhost:1"
    fail(outputs, face, ConfigurationException)
    outputs.assert_clean()


# Let in


def test_p23_refused_later(outputs: Outputs, bird_broker: Broker, settings: config.LazyConfig) -> None:
    settings["amqp_url"] = f"amqp://bird:{QUOTED}@127.0.0.1:{bird_broker.port}"
    queues = plan("secrets")["queues"]
    try:
        with pytest.raises(ExchangeNotFound) as not_found:
            api.publish(Message(topic="secret.test"), "no-such-exchange")
        bindings: list[Any] = [{"queue": "secrets", "exchange": "no-such", "routing_keys": ["#"]}]
        with pytest.raises(BadDeclaration) as bad:
            api.consume(print, bindings=bindings, queues=queues)
        outputs.add(not_found.value, bad.value)
    finally:
        api.close()
    outputs.assert_clean()


def test_p23_nothing_fails(outputs: Outputs, bird_broker: Broker, settings: config.LazyConfig) -> None:
    """Connect, publish, consume, lose the connection, connect again, close."""
    settings["amqp_url"] = (
        f"amqp://bird:{QUOTED}@127.0.0.1:{bird_broker.port}?client_properties={CLIENT_PROPERTIES}"
    )
    name = uuid.uuid4().hex
    got: list[Message] = []
    try:
        with Consuming(got.append, **plan(name)):
            eventually(lambda: "Successfully registered" in "".join(outputs.log.texts))
            api.publish(message(name))
            eventually(lambda: len(got) == 1)
            assert bird_broker.close_connections("for a test") >= 1
            api.publish(message(name))
            eventually(lambda: len(got) >= 2)
            outputs.add(api._twisted_service, *got)
    finally:
        api.close()
    assert {"asyncio", "fedora_messaging.client.supervisor"} <= outputs.log.names
    outputs.assert_clean()


def test_p23_tasks_in_asyncio_debug_mode(
    outputs: Outputs, bird_broker: Broker, settings: config.LazyConfig
) -> None:
    settings["amqp_url"] = f"amqp://bird:{QUOTED}@127.0.0.1:{bird_broker.port}"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.get_debug()
        # Every step counts as slow, and is logged with what is called.
        loop.slow_callback_duration = 0.0
        async with aio.connect() as bus:
            await bus.publish(Message(topic="secret.test"))
            outputs.add(*asyncio.all_tasks())

    run(main())
    assert "asyncio" in outputs.log.names
    outputs.assert_clean()
