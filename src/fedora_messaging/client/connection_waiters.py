"""The callers that wait for a connection."""

import asyncio

from .amqp.connection import Connection


class ConnectionWaiters:
    """Futures of waiting callers; the next connection, or an error, resolves all of them."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[Connection]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self) -> Connection:
        """Return the next connection, or raise the error that :meth:`fail` gets."""
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def tell(self, connection: Connection) -> None:
        """Give a new connection to all waiting callers."""
        for waiter in self._take():
            waiter.set_result(connection)

    def fail(self, error: Exception) -> None:
        """Raise an error in all waiting callers."""
        for waiter in self._take():
            waiter.set_exception(error)

    def _take(self) -> list[asyncio.Future[Connection]]:
        waiting, self._waiting = self._waiting, []
        return [waiter for waiter in waiting if not waiter.done()]
