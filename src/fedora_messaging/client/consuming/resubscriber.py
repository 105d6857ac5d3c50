"""Subscribing again, with as many attempts as needed."""

import asyncio
from collections.abc import Awaitable, Callable

from ...exceptions import BadDeclaration, ConnectionException, NoFreeChannels, PermissionException
from ...logs import CONSUMER, logger
from ..amqp.connection import Connection
from ..backoff import Backoff

_log = logger(CONSUMER)


class Resubscriber:
    """Tries to subscribe a consumer over one connection, until it succeeds or the connection ends.

    Each call of :meth:`begin` replaces the attempts of the call before.

    Args:
        who: The consumer, for the log.
        attach: Declares the queue and subscribes.
        is_wanted: Returns whether the consumer still has no subscription and wants one.
        refuse: Called when the broker does not let us read the queue.

    Attributes:
        backoff: The pauses between attempts.
    """

    def __init__(
        self,
        who: object,
        attach: Callable[[Connection], Awaitable[None]],
        is_wanted: Callable[[], bool],
        refuse: Callable[[PermissionException], None],
    ) -> None:
        self.backoff: Backoff = Backoff()
        self._who = who
        self._attach = attach
        self._is_wanted = is_wanted
        self._refuse = refuse
        self._task: asyncio.Task[None] | None = None

    @property
    def next_pause(self) -> float:
        """Seconds before the next attempt; 0 if no attempt has failed."""
        return (self.backoff.next() or 0.0) if self.backoff.attempts else 0.0

    def begin(
        self, connection: Connection, pause: float
    ) -> "tuple[asyncio.Task[None], asyncio.Future[None]]":
        """Begin to try.

        Args:
            connection: The connection to subscribe on.
            pause: Seconds before the first attempt.

        Returns:
            The task, and a future that is done after the first attempt, or at once if it has to wait.
        """
        self.cancel()
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(connection, pause, tried))
        self._task.add_done_callback(lambda _task: _resolve(tried))
        return self._task, tried

    def cancel(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, connection: Connection, pause: float, tried: "asyncio.Future[None]") -> None:
        if pause:
            # The other consumers do not wait for a later attempt.
            _resolve(tried)
            await asyncio.sleep(pause)
        while self._is_wanted() and not connection.closed.done():
            try:
                await self._attach(connection)
            except (BadDeclaration, ConnectionException, NoFreeChannels) as error:
                # The queue may come back, and can be declared with our arguments only then.
                _log.warning("%r cannot resume yet: %s; trying again", self._who, error)
            except PermissionException as error:
                self._refuse(error)
                return
            else:
                return
            delay = self.backoff.next() or 0.0
            _resolve(tried)
            await asyncio.sleep(delay)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
