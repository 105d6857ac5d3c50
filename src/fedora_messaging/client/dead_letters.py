"""Looking through a dead-letter queue, and emptying it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Self

from ..options import ConnectionOptions, QosOptions, QueueOptions
from ..wire.errors import WireError
from ..wire.properties import BasicProperties, decode_properties
from .consumer import Consumer
from .delivery import Action, Raw
from .history import HEADER, History
from .inbox import Inbox
from .redelivery import Redelivery
from .supervisor import Supervisor
from .topology import count

#: Seconds for the broker to send a message that it says is there.
_PATIENCE: Final = 10.0


class Letter:
    """A message in a dead-letter queue.

    Attributes:
        raw: As it came.
        properties: Decoded; empty if they cannot be.
        history: What is known of how it came there; ``None`` if nothing is.
    """

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        try:
            self.properties = decode_properties(raw.properties)
        except WireError:
            self.properties = BasicProperties()
        self.history = _history(self.properties.headers or {})


class DeadLetters:
    """An open dead-letter queue: what is neither replayed nor removed is left in it.

    Use :meth:`open`.
    """

    def __init__(self, supervisor: Supervisor, queue: str, number: int) -> None:
        self._supervisor = supervisor
        self._inbox = Inbox()
        self._number = number
        self._consumer = Consumer(
            lambda _consumer: self._inbox, QueueOptions(queue, passive=True), [], QosOptions(0)
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, options: ConnectionOptions, queue: str, timeout: float) -> AsyncIterator[Self]:
        """Connect to the broker and read a queue.

        Raises:
            TimeoutError: No broker answered in time.
            BadDeclaration: There is no such queue.
            PermissionException: We may not read it.
            ConnectionException: The broker refuses us.
        """
        supervisor = Supervisor(options)
        try:
            async with asyncio.timeout(timeout):
                number = await supervisor.with_connection(lambda connection: count(connection, queue))
                self = cls(supervisor, queue, number)
                await supervisor.consume(self._consumer)
            yield self
        finally:
            await supervisor.close()

    async def letters(self) -> AsyncIterator[Letter]:
        """Iterate over what was in the queue when it was opened."""
        for _ in range(self._number):
            try:
                async with asyncio.timeout(_PATIENCE):
                    raw = await self._inbox.take()
            except TimeoutError:
                return  # somebody else took the rest
            if raw is None:
                return
            if not self._consumer.is_stale(raw):
                yield Letter(raw)

    def remove(self, letter: Letter) -> None:
        """Remove a message from the queue."""
        self._consumer.report(letter.raw, (Action.ACK, None))

    async def replay(self, letter: Letter, history: History) -> None:
        """Put a message into the queue that its history names, as if nothing had been tried; then remove it.

        Raises:
            BadDeclaration: There is no such queue.
            PublishException: The broker does not take it.
            ConnectionException: The connection was lost.
        """
        fresh = replace(history, attempts=0, first=0, last=0, reason="", error="")
        await Redelivery(self._supervisor, quorum=False).give_back(letter.raw, fresh)
        self.remove(letter)


def _history(headers: Mapping[str, Any]) -> History | None:
    table = headers.get(HEADER)
    if isinstance(table, dict):
        return History.from_table(table)
    # A broker dead-lettered it by itself.
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    death = deaths[0]
    keys = death.get("routing-keys") or [""]
    when = death.get("time")
    return History(
        queue=str(death.get("queue", "")),
        exchange=str(death.get("exchange", "")),
        topic=str(keys[0]),
        attempts=int(death.get("count", 1)),
        first=when if isinstance(when, int) else 0,
        last=when if isinstance(when, int) else 0,
        reason=str(death.get("reason", "")),
    )
