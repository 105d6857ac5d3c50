"""An ASGI application, such as FastAPI makes one, that publishes each request and consumes it itself."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fedora_messaging import aio
from fedora_messaging.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """Connects when the server starts, as the lifespan of an application does."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._bus: aio.Bus

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._answer(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        self._bus = await self._stack.enter_async_context(aio.connect())
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, receive: Receive, send: Send) -> None:
        number = int((await receive())["body"])
        await self._bus.publish(Message(topic="app.request", body={"number": number}))
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": loop.encode()})


application = Application()
