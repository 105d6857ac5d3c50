"""Keeping one connection up, and everything on it."""

import asyncio
import logging
import random
from collections.abc import Callable

from ..exceptions import (
    BadDeclaration,
    ConfigurationException,
    ConnectionClosed,
    ConnectionException,
    PermissionException,
)
from ..exceptions import BaseException as LibraryException
from ..options import ConnectionOptions, RetryOptions
from ..protocol.errors import CONNECTION_FORCED, REPLY_SUCCESS
from .connection import Connection, Unreachable
from .consumer import Consumer
from .publisher import Outgoing, Publisher
from .stats import ConsumerStats

_log = logging.getLogger(__name__)


class Supervisor:
    """Dials, backs off, dials again, and replays publisher and consumers on each new connection.

    Args:
        options: Where to connect; several are tried in random order.
        retry: Back-off between attempts.
        jitter: Returns a random number from 0 to 1.

    Attributes:
        publisher: Sends, now or as soon as there is a connection.
        consumers: Those that have not ended.
        ended_stats: What those that have ended did.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        retry: RetryOptions | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.publisher = Publisher()
        self.consumers: list[Consumer] = []
        self.ended_stats = ConsumerStats()
        self._options = options
        self._retry = retry or RetryOptions()
        self._jitter = jitter
        self._connection: Connection | None = None
        self._waiters: list[asyncio.Future[Connection]] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None and not self._connection.closed.done()

    def start(self) -> None:
        """Begin to connect; needs a running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def connection(self) -> Connection:
        """Return the connection, waiting for one if need be.

        Raises:
            ConnectionException: The broker answered, but refused us. Trying goes on.
            ConfigurationException: The TLS settings are wrong.
        """
        self.start()
        if self._connection is not None and self.connected:
            return self._connection
        if self._closing:
            raise ConnectionException("the client is closed", reason="the client is closed")
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def submit(self, out: Outgoing) -> None:
        """Publish."""
        if self._closing:
            out.settled(ConnectionException("the client is closed", reason="the client is closed"))
            return
        self.start()
        self.publisher.submit(out)

    async def consume(self, consumer: Consumer) -> None:
        """Start a consumer; from then on it is kept alive.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            PermissionException: The broker refuses to let us read the queue.
            ConnectionException: The broker refuses us.
            NoFreeChannels: There is no channel left.
        """
        while True:
            connection = await self.connection()
            try:
                await consumer.attach(connection)
            except ConnectionException:
                if not connection.closed.done() or _is_our_fault(connection.closed.result()):
                    raise
            else:
                break
        self.consumers.append(consumer)
        consumer.result.add_done_callback(lambda _result: self._consumer_ended(consumer))

    def _consumer_ended(self, consumer: Consumer) -> None:
        self.consumers.remove(consumer)
        self.ended_stats += consumer.stats

    async def close(self) -> None:
        """Stop consumers gracefully, then close the connection; publishes under way fail."""
        self._closing = True
        await asyncio.gather(*[consumer.stop() for consumer in list(self.consumers)])
        error = ConnectionException("the client was closed", reason="the client was closed")
        self.publisher.fail_all(error)
        self._fail_waiters(error)
        if self._connection is not None:
            await self._connection.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # The loop that owns the connection

    async def _run(self) -> None:
        attempt = 0
        while not self._closing:
            connection = await self._connect()
            if connection is not None:
                if await self._replay(connection):
                    attempt = 0
                    self._connection = connection
                    self._tell_waiters(connection)
                    self.publisher.attach(connection)
                    await connection.closed
                    self._connection = None
                    if not self._closing:
                        _log.warning(
                            "The connection to %s ended: %s",
                            self._options.address,
                            connection.closed.result(),
                        )
                else:
                    await connection.close()
            delay = self._delay(attempt)
            attempt += 1
            if not self._closing:
                await asyncio.sleep(delay)

    async def _connect(self) -> Connection | None:
        try:
            return await Connection.open(self._options)
        except Unreachable as error:
            _log.warning("%s; trying again", error)
        except (ConnectionException, ConfigurationException) as error:
            _log.error("%s", error)  # noqa: TRY400 - a traceback would only show our own code
            self._fail_waiters(error)
            self.publisher.fail_waiting(error)
        except Exception as error:
            # A mistake of ours must not leave a process deaf.
            _log.exception("Connecting failed in an unexpected way; trying again")
            self._fail_waiters(ConnectionException(str(error), reason=error))
        return None

    async def _replay(self, connection: Connection) -> bool:
        for consumer in list(self.consumers):
            try:
                await consumer.attach(connection)
            except PermissionException as error:
                if not isinstance(error, BadDeclaration):
                    consumer.fail(error)
                    continue
                _log.warning(
                    "Failed to declare queue while registering %r: %s; trying again", consumer, error
                )
                return False
            except LibraryException as error:
                _log.warning("%r could not be started again: %s; trying again", consumer, error)
                return False
        return not connection.closed.done()

    def _delay(self, attempt: int) -> float:
        # A connection that held is dialled again at once, but not by all of a fleet in the same moment.
        retry = self._retry
        ceiling = min(retry.maximum, retry.initial * retry.factor ** min(attempt, 32))
        return ceiling * self._jitter()

    def _tell_waiters(self, connection: Connection) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(connection)

    def _fail_waiters(self, error: Exception) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)


def _is_our_fault(end: Exception) -> bool:
    """Whether the broker closed the connection because of what was asked, so that asking again is no use."""
    code = end.reply_code if isinstance(end, ConnectionClosed) else 0
    return code not in (0, REPLY_SUCCESS, CONNECTION_FORCED)
