"""Servers that speak TLS, each with a certificate of its own on a port of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from tests.support.rabbitmq import RabbitNode, free_ports

from fedora_messaging.broker import Accounts, Broker, Permissions
from fedora_messaging.transport.tls import ServerTLSOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.tls.pki import Identity, Pki

#: The user who has no password, only a certificate.
APP: Final = "app"
#: Listener that asks for a client certificate, and lets nobody in without one.
MUTUAL: Final = "mutual"
#: Listener without TLS.
PLAIN: Final = "plain"


@dataclass(frozen=True)
class TlsBroker:
    """A running broker.

    Attributes:
        kind: "embedded" or "rabbitmq".
        ports: Of its listeners: one for each server of the PKI, :data:`MUTUAL` and :data:`PLAIN`.
        node: The node, if it is RabbitMQ.
    """

    kind: str
    ports: Mapping[str, int]
    node: RabbitNode | None = None


@contextmanager
def embedded(pki: Pki) -> Iterator[TlsBroker]:
    """Embedded brokers, one for each listener, with the same users."""
    accounts = Accounts()
    accounts.add_user(APP, None)
    accounts.set_permissions(APP, "/", Permissions())
    good = pki.servers["good"]
    listeners: dict[str, ServerTLSOptions | None] = {
        name: ServerTLSOptions(server.certfile, server.keyfile) for name, server in pki.servers.items()
    }
    listeners[MUTUAL] = ServerTLSOptions(good.certfile, good.keyfile, pki.ca_cert)
    listeners[PLAIN] = None
    with ExitStack() as running:
        yield TlsBroker(
            "embedded",
            {
                name: running.enter_context(Broker(tls=tls, accounts=accounts)).port
                for name, tls in listeners.items()
            },
        )


@contextmanager
def rabbitmq(pki: Pki, directory: Path) -> Iterator[TlsBroker]:
    """One RabbitMQ node with all listeners."""
    names = [*pki.servers, MUTUAL]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    configuration = "\n".join(
        (
            "ssl_cert_login_from = common_name",
            "auth_mechanisms.1 = PLAIN",
            "auth_mechanisms.2 = EXTERNAL",
            # The node takes certificates for logins only if its default is to verify them; the listeners have
            # options of their own, which the configuration has no words for.
            "listeners.ssl = none",
            "ssl_options.verify = verify_peer",
        )
    )
    plugins = ["rabbitmq_auth_mechanism_ssl"]
    with RabbitNode(directory, name="fmtls", extra_config=configuration, plugins=plugins) as node:
        start = [_listener(ports[name], server) for name, server in pki.servers.items()]
        start.append(_listener(ports[MUTUAL], pki.servers["good"], trusted=pki.ca_cert))
        node.ctl("eval", ", ".join((*start, _passwordless_user(APP))) + ".")
        yield TlsBroker("rabbitmq", {**ports, PLAIN: node.port}, node)


def _listener(port: int, server: Identity, trusted: str | None = None) -> str:
    options = [f'{{certfile, "{server.certfile}"}}', f'{{keyfile, "{server.keyfile}"}}']
    if trusted is not None:
        options += [f'{{cacertfile, "{trusted}"}}', "{verify, verify_peer}", "{fail_if_no_peer_cert, true}"]
    return f'ok = rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [{", ".join(options)}], 1)'


def _passwordless_user(name: str) -> str:
    module, user, actor = "rabbit_auth_backend_internal", f'<<"{name}">>', '<<"tests">>'
    everything = ", ".join(['<<".*">>'] * 3)
    return ", ".join(
        (
            f'{module}:add_user({user}, <<"unused">>, {actor})',
            f"{module}:clear_password({user}, {actor})",
            f'{module}:set_permissions({user}, <<"/">>, {everything}, {actor})',
        )
    )


@contextmanager
def login_from(node: RabbitNode, part: str) -> Iterator[None]:
    """Have the node take user names from another part of certificates: "distinguished_name"."""
    setting = "application:set_env(rabbit, ssl_cert_login_from, {})."
    node.ctl("eval", setting.format(part))
    yield
    node.ctl("eval", setting.format("common_name"))


@contextmanager
def old_server(server: Identity) -> Iterator[int]:
    """A server whose newest protocol is TLS 1.1; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certfile, server.keyfile)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_shake_hands, args=(listener, context), name="old server")
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    # Ends when the listener is shut down.
    with suppress(OSError):
        while True:
            client, _address = listener.accept()
            with client, suppress(ssl.SSLError, ConnectionError):
                context.wrap_socket(client, server_side=True).close()
