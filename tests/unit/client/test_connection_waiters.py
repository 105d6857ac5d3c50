"""Whoever waits for a connection gets the next one, or learns why there is none."""

from __future__ import annotations

import asyncio

import pytest

from fedora_messaging.client.amqp.connection import Connection
from fedora_messaging.client.connection_waiters import ConnectionWaiters
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.options import ConnectionOptions


def unopened() -> Connection:
    return Connection(ConnectionOptions(), asyncio.get_running_loop())


async def waiting(waiters: ConnectionWaiters) -> asyncio.Task[Connection]:
    """A task that waits by now."""
    task = asyncio.create_task(waiters.wait())
    await asyncio.sleep(0)
    return task


def test_all_get_the_next_connection() -> None:
    async def main() -> None:
        waiters, connection = ConnectionWaiters(), unopened()
        assert not waiters
        tasks = [await waiting(waiters) for _ in range(2)]
        assert waiters
        waiters.tell(connection)
        assert not waiters
        assert await asyncio.gather(*tasks) == [connection, connection]

    asyncio.run(main())


def test_all_learn_why_there_is_none() -> None:
    error = ConnectionException(reason="refused")

    async def main() -> None:
        waiters = ConnectionWaiters()
        tasks = [await waiting(waiters) for _ in range(2)]
        waiters.fail(error)
        assert not waiters
        assert await asyncio.gather(*tasks, return_exceptions=True) == [error, error]

    asyncio.run(main())


def test_who_comes_later_waits_for_the_next_one() -> None:
    async def main() -> None:
        waiters, first, second = ConnectionWaiters(), unopened(), unopened()
        # Nobody is told.
        waiters.tell(unopened())
        waiters.fail(ConnectionException())
        early = await waiting(waiters)
        waiters.tell(first)
        late = await waiting(waiters)
        assert (await early, late.done()) == (first, False)
        waiters.tell(second)
        assert await late is second

    asyncio.run(main())


def test_who_is_cancelled_is_in_nobodys_way() -> None:
    async def main() -> None:
        waiters, connection = ConnectionWaiters(), unopened()
        cancelled, other = await waiting(waiters), await waiting(waiters)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waiters.tell(connection)
        assert await other is connection

    asyncio.run(main())
