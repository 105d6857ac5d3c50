"""Reading a dead-letter queue: listing, removing and replaying its messages."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self

from ...options import ConnectionOptions, QosOptions, QueueOptions
from ...wire.errors import WireError
from ...wire.properties import BasicProperties, decode_properties
from ..amqp.topology import count
from ..consuming.consumer import Consumer
from ..consuming.delivery import Raw
from ..consuming.history import HEADER, History
from ..consuming.inbox import Inbox
from ..consuming.verdict import Action
from ..supervisor import Supervisor
from .redelivery import Redelivery

#: Seconds for the broker to send a message after it said that messages are there.
_PATIENCE: Final = 10.0


class Letter:
    """A message in a dead-letter queue.

    Attributes:
        raw: The delivery as it arrived.
        properties: Its decoded properties; empty if they cannot be decoded.
        history: Its origin and the reason why it is there; ``None`` if nothing is known.
    """

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        try:
            self.properties: BasicProperties = decode_properties(raw.properties)
        except WireError:
            self.properties = BasicProperties()
        self.history: History | None = _history(self.properties.headers or {})


class DeadLetters:
    """An open dead-letter queue; messages that are neither replayed nor removed stay in it.

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
            BadDeclaration: The queue does not exist.
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
        """Iterate over the messages that were in the queue when it was opened."""
        for _ in range(self._number):
            try:
                async with asyncio.timeout(_PATIENCE):
                    raw = await self._inbox.take()
            except TimeoutError:
                return  # another consumer took the rest
            if raw is None:
                return
            if not self._consumer.is_stale(raw):
                yield Letter(raw)

    def remove(self, letter: Letter) -> None:
        """Remove a message from the queue."""
        self._consumer.report(letter.raw, (Action.ACK, None))

    async def replay(self, letter: Letter, history: History) -> None:
        """Put a message into the queue that its history names, with no attempts counted; then remove it.

        Raises:
            BadDeclaration: The queue does not exist.
            PublishException: The broker does not take it.
            ConnectionException: The connection was lost.
        """
        fresh = history._replace(attempts=0, first=0, last=0, reason="", error="")
        await Redelivery(self._supervisor, quorum=False).give_back(letter.raw, fresh)
        self.remove(letter)


def _history(headers: Mapping[str, Any]) -> History | None:
    """Read the history of a message; any program may have written the headers, so each part is checked."""
    table = headers.get(HEADER)
    ours = History.from_table(table) if isinstance(table, dict) else None
    # A message without our header was dead-lettered by a broker.
    return ours or _history_of_deaths(headers.get("x-death"))


def _history_of_deaths(deaths: object) -> History | None:
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    death = deaths[0]
    keys = death.get("routing-keys")
    when = _seconds(death.get("time"))
    return History(
        queue=_text(death.get("queue")),
        exchange=_text(death.get("exchange")),
        topic=_text(keys[0]) if isinstance(keys, list) and keys else "",
        attempts=_number(death.get("count"), 1),
        first=when,
        last=when,
        reason=_text(death.get("reason")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value >= 0 else otherwise


def _seconds(value: object) -> int:
    # Brokers write a time as AMQP's timestamp, which is decoded to a datetime.
    return _number(int(value.timestamp()) if isinstance(value, datetime) else value, 0)
