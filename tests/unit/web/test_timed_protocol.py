"""Which clients lose their connection, and which do not, with shorter limits than those of a broker."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from tests.support.waiting import WAIT

from fedora_messaging.web.timed_protocol import TimedProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: More than the buffers of two sockets and a transport hold.
_MUCH = 32 * 1024 * 1024
_REQUEST = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
_UPLOAD = b"PUT /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


class _Hasty(TimedProtocol):
    head_seconds = 0.2
    pause_seconds = 0.3
    lost: asyncio.Event

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


async def _app(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answers once the body is there: briefly, late, or much."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if scope["path"] == "/late":
        await asyncio.sleep(2 * _Hasty.pause_seconds)
    size = _MUCH if scope["path"] == "/much" else 2
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * size})


@contextlib.asynccontextmanager
async def _connected(
    sent: bytes,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Event]]:
    """A client that has sent something, and when the server has ended the connection."""
    config = uvicorn.Config(_app, log_config=None, lifespan="off", loop="none", http=_Hasty, ws="none")
    config.load()
    state = uvicorn.server.ServerState()
    lost = asyncio.Event()

    def accept() -> _Hasty:
        protocol = _Hasty(config=config, server_state=state, app_state={})
        protocol.lost = lost
        return protocol

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        try:
            yield reader, writer, lost
        finally:
            writer.transport.abort()


def _answer(*sent: bytes, pause: float = 0.0) -> bytes:
    """Return what the server sends until it closes the connection, to pieces with pauses between them."""

    async def main() -> bytes:
        async with _connected(sent[0]) as (reader, writer, _):
            for piece in sent[1:]:
                await asyncio.sleep(pause)
                writer.write(piece)
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""

    return asyncio.run(asyncio.wait_for(main(), WAIT))


@pytest.mark.parametrize("beginning", [b"", b"GET / HT"])
def test_who_says_nothing_is_told_nothing(beginning: bytes) -> None:
    assert _answer(beginning) == b""


def test_a_head_without_an_end_is_refused() -> None:
    assert _answer(b"GET / HTTP/1.1\r\nHost: x\r\n").startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_bytes_of_a_head_do_not_prolong_its_time() -> None:
    async def main() -> None:
        async with _connected(b"GET / HTTP/1.1\r\n") as (reader, writer, _):
            ended = asyncio.ensure_future(reader.read())
            while not ended.done():
                writer.write(b"A: b\r\n")
                await asyncio.wait([ended], timeout=_Hasty.head_seconds / 4)
            with contextlib.suppress(ConnectionResetError):
                await ended

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_the_head_after_an_answer_has_as_little_time() -> None:
    answered = _answer(_REQUEST % b"", b"GET / HTTP/1.1\r\n")
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answered


def test_a_body_that_stops_is_given_up() -> None:
    assert _answer(_UPLOAD + b"a") == b""


def test_a_body_may_come_slowly() -> None:
    # Longer than a pause may be, in all.
    answered = _answer(_UPLOAD, b"a", b"b", b"c", pause=_Hasty.pause_seconds / 2)
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_the_broker_may_take_its_time() -> None:
    assert _answer(_REQUEST % b"late").startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_the_answer_loses_it() -> None:
    async def main() -> int:
        async with _connected(_REQUEST % b"much") as (reader, writer, lost):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await lost.wait()
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            read = 0
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(1 << 20):
                    read += len(piece)
            return read

    assert asyncio.run(asyncio.wait_for(main(), WAIT)) < _MUCH


def test_who_reads_gets_all_of_a_long_answer() -> None:
    assert len(_answer(_REQUEST % b"much")) > _MUCH
