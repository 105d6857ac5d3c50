"""Whoever waits for a connection."""

import asyncio

from .amqp.connection import Connection


class ConnectionWaiters:
    """Futures that the next connection resolves."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[Connection]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self) -> Connection:
        """Return the next connection, or raise the error that :meth:`fail` is given."""
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def tell(self, connection: Connection) -> None:
        """Here is one."""
        for waiter in self._take():
            waiter.set_result(connection)

    def fail(self, error: Exception) -> None:
        """There is none for them."""
        for waiter in self._take():
            waiter.set_exception(error)

    def _take(self) -> list[asyncio.Future[Connection]]:
        waiting, self._waiting = self._waiting, []
        return [waiter for waiter in waiting if not waiter.done()]
