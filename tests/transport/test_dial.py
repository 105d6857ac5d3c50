"""Opening connections: over TCP, TLS and Unix sockets, to numbers and to names, in the time there is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.tls.pki import Authority

from fedora_messaging import aio, exceptions
from fedora_messaging.broker import Broker
from fedora_messaging.message import Message
from fedora_messaging.options import ConnectionOptions, TLSOptions
from fedora_messaging.transport.dial import dial
from fedora_messaging.transport.link import Link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WAIT = 30.0


class Line(Link):
    """A link without a machine: it knows what it is connected to."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def about(self, name: str) -> Any:
        assert self._transport is not None
        return self._transport.get_extra_info(name)

    async def hang_up(self) -> None:
        assert self._transport is not None
        self._transport.close()
        await self.lost.wait()


async def dialled(options: ConnectionOptions) -> Line:
    return cast("Line", await asyncio.wait_for(dial(options, Line), WAIT))


@asynccontextmanager
async def listening(address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that accepts connections and waits for their end; its port."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, address, 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@pytest.fixture
def nobody() -> int:
    """A port at which connections are refused, as long as nobody takes it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def server_context(authority: Authority, name: str) -> ssl.SSLContext:
    identity = authority.issue("server", name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certfile, identity.keyfile)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_number_or_name(host: str) -> None:
    """A name may have addresses at which nobody listens; the next one is taken."""

    async def main() -> None:
        async with listening() as port:
            line = await dialled(ConnectionOptions(host=host, port=port))
            assert line.about("peername") == ("127.0.0.1", port)
            assert line.about("ssl_object") is None
            await line.hang_up()

    asyncio.run(main())


def test_number_needs_no_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Whoever asked it for a thread would get an error.
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        loop.set_default_executor(executor)
        async with listening() as port:
            await (await dialled(ConnectionOptions(host="127.0.0.1", port=port))).hang_up()

    asyncio.run(main())


def test_name_when_no_thread_can_be_had() -> None:
    """As when the interpreter exits: it is resolved in this thread then."""

    async def main() -> None:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        asyncio.get_running_loop().set_default_executor(executor)
        async with listening() as port:
            await (await dialled(ConnectionOptions(host="localhost", port=port))).hang_up()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_listens(host: str, nobody: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(dialled(ConnectionOptions(host=host, port=nobody)))


def test_name_that_has_no_address() -> None:
    with pytest.raises(socket.gaierror):
        asyncio.run(dialled(ConnectionOptions(host="no.such.host.invalid")))


def test_tls_is_spoken_to_the_name_that_is_dialled(authority: Authority) -> None:
    async def main() -> None:
        async with listening(context=server_context(authority, "localhost")) as port:
            tls = TLSOptions(ca_cert=authority.ca_cert)
            line = await dialled(ConnectionOptions(host="localhost", port=port, tls=tls))
            assert line.about("ssl_object").server_hostname == "localhost"
            await line.hang_up()

    asyncio.run(main())


def test_certificate_may_be_for_another_name(authority: Authority) -> None:
    """If the settings name it; otherwise it must be for the host."""

    async def main() -> None:
        async with listening(context=server_context(authority, "bus.example")) as port:
            for_host = TLSOptions(ca_cert=authority.ca_cert)
            with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
                await dialled(ConnectionOptions(host="127.0.0.1", port=port, tls=for_host))
            for_name = TLSOptions(ca_cert=authority.ca_cert, server_hostname="bus.example")
            line = await dialled(ConnectionOptions(host="127.0.0.1", port=port, tls=for_name))
            assert line.about("ssl_object").server_hostname == "bus.example"
            await line.hang_up()

    asyncio.run(main())


def test_server_that_says_nothing_in_its_handshake(authority: Authority) -> None:
    """The time to connect includes it."""

    async def main() -> None:
        async with listening() as port:
            tls = TLSOptions(ca_cert=authority.ca_cert)
            begin = time.monotonic()
            with pytest.raises(TimeoutError):
                await dialled(ConnectionOptions(host="127.0.0.1", port=port, tls=tls, connect_timeout=0.1))
            assert 0.1 <= time.monotonic() - begin < WAIT

    asyncio.run(main())


def test_unix_socket_wins_over_host_and_port(tmp_path: Path, nobody: int) -> None:
    async def main() -> None:
        path = str(tmp_path / "amqp.sock")
        accepted = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_unix_server(accept, path):
            line = await dialled(ConnectionOptions(host="127.0.0.1", port=nobody, unix_path=path))
            await asyncio.wait_for(accepted.wait(), WAIT)
            assert line.about("peername") == path
            await line.hang_up()

    asyncio.run(main())


async def publish(url: str) -> None:
    async with aio.connect(url, timeout=20) as bus:
        await bus.publish(Message(topic="t"))


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "amqp.sock"
    with Broker(unix_path=str(path)):
        asyncio.run(publish(f"amqp+unix://{path}"))


def test_unix_socket_without_broker(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.connect(f"amqp+unix://{tmp_path}/amqp.sock", timeout=0.2):
            raise AssertionError

    with pytest.raises(exceptions.ConnectionException, match=r"unix:.*amqp\.sock"):
        asyncio.run(main())
