"""The HTTP server beside a broker: where it listens, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from fedora_messaging.broker import AsyncBroker, BrokerError
from fedora_messaging.broker.server import Server
from fedora_messaging.web.broker_site import BrokerSite
from fedora_messaging.web.server import HttpServer, HttpServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send


async def _ask(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False, auth=("guest", "guest")) as client:
        return (await client.get(f"{url}/api/whoami")).status_code


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve nothing."""


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_the_server_takes_a_free_port_and_tells_it() -> None:
    async def main() -> None:
        broker = Server()
        server = BrokerSite(broker)
        async with server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert broker.http_port == server.port
            assert await _ask(server.url) == 200
        assert broker.http_port == 0
        with pytest.raises(httpx.ConnectError):
            await _ask(server.url)

    run(main)


def test_ipv6_addresses_are_in_brackets() -> None:
    assert HttpServer(_nothing, "::1").url == "http://[::1]:0"


def test_a_port_that_is_in_use() -> None:
    async def main() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(HttpServerError) as caught:
                await BrokerSite(Server(), port=port).__aenter__()
        assert str(caught.value) == (
            f"127.0.0.1:{port} is in use already: stop what listens there, or choose another --http-port"
        )

    run(main)


def test_an_address_of_another_machine() -> None:
    async def main() -> None:
        with pytest.raises(HttpServerError, match="^Cannot listen on 192.0.2.1:0: "):
            await BrokerSite(Server(), "192.0.2.1").__aenter__()

    run(main)


def test_a_broker_whose_http_port_is_in_use_does_not_start() -> None:
    async def main() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            broker = AsyncBroker(http_port=other.getsockname()[1])
            with pytest.raises(BrokerError, match="is in use already"):
                await broker.__aenter__()
        assert broker.management_url is None

    run(main)


def test_requests_end_when_the_server_stops() -> None:
    async def main() -> None:
        async with BrokerSite(Server()) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /api/whoami HTTP/1.1\r\n")
            await writer.drain()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    run(main)


def test_answers_are_sent_without_delay() -> None:
    """Otherwise the body of an answer waits until the client has acknowledged its head: 40 ms on Linux."""

    async def main() -> None:
        async with BrokerSite(Server()) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(b"GET /api/overview HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            http = site._server
            assert http is not None
            assert http._server is not None
            (connection,) = http._server.server_state.connections
            accepted = cast("Any", connection).transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()

    run(main)


def test_the_sampler_runs_only_beside_the_server() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with BrokerSite(Server()) as site:
            assert site._sampler is not None
            assert not site._sampler.done()
        assert asyncio.all_tasks() == before

    run(main)
