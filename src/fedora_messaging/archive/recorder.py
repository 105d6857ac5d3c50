"""Fills an archive from a queue: each message is acknowledged once it is on disk."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..client.backoff import Backoff
from ..client.consuming.consumer import Consumer
from ..client.consuming.delivery import Raw
from ..client.consuming.inbox import Inbox
from ..client.consuming.verdict import Action
from ..client.supervisor import Supervisor
from ..logs import REPEATABLE, logger
from ..message import INFO, Message, get_class, schema_names
from ..options import BindingOptions, ConsumerOptions, QosOptions, QueueOptions
from ..printable import printable
from ..validation import json_body
from ..wire.errors import WireError
from ..wire.properties import BasicProperties, decode_properties
from .archive import Archive
from .database import ArchiveError
from .entry import Entry, entry_of, unreadable_entry

_log = logger(__name__)

#: Most messages that are stored together.
_BATCH: Final = 500
#: Messages that the broker may send ahead: one batch is being stored, the next one read, a third comes in.
_PREFETCH: Final = 3 * _BATCH


class Recorder:
    """Consumes a queue into an archive.

    A message is acknowledged when the archive has it, and not before; if it comes again, the archive keeps
    the first one. While the archive cannot be used, messages wait in the queue and the recorder tries again.
    What cannot be read as a message is stored, too, with the reason.

    Args:
        supervisor: The connection.
        archive: Where to store.
        queue: The queue.
        bindings: Its bindings.
        told: Called with the number of new messages after each batch.
        backoff: Delays between attempts to store.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        archive: Archive,
        queue: QueueOptions,
        bindings: Sequence[BindingOptions],
        told: Callable[[int], None] = lambda new: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._archive = archive
        self._inbox = Inbox()
        self._consumer = Consumer(
            lambda _consumer: self._inbox,
            queue,
            list(bindings),
            QosOptions(_PREFETCH),
            ConsumerOptions(resubscribe=True),
        )
        self._told = told
        self._backoff = backoff or Backoff()
        self._stopping = asyncio.Event()
        #: Stores a batch, and tells whether that worked.
        self._storing: asyncio.Task[bool] | None = None

    async def run(self) -> None:
        """Record until cancelled, or until :meth:`stop`.

        Raises:
            BadDeclaration: The broker refuses the queue or a binding.
            PermissionException: The user may not read the queue.
        """
        await self._supervisor.consume(self._consumer)
        async with asyncio.TaskGroup() as tasks:
            while (raw := await self._inbox.take()) is not None:
                raws = [raw, *self._inbox.take_waiting(_BATCH - 1)]
                # While the batch before this one is stored.
                entries = await asyncio.to_thread(_entries_of, raws)
                if self._storing is not None and not await self._storing:
                    break
                if self._stopping.is_set():
                    break
                self._storing = tasks.create_task(self._record(raws, entries))
        await self._consumer.result

    async def stop(self) -> None:
        """End consuming when what is being stored now is stored and acknowledged."""
        self._stopping.set()
        if self._storing is not None:
            await asyncio.wait([self._storing])
        await self._consumer.stop()

    async def _record(self, raws: list[Raw], entries: list[Entry]) -> bool:
        """Store and acknowledge messages; ``False`` if that did not work before the end."""
        new = await self._store(entries)
        if new is None:
            return False
        for raw in raws:
            self._consumer.report(raw, (Action.ACK, None))
        self._told(new)
        return True

    async def _store(self, entries: list[Entry]) -> int | None:
        """Store messages, however long that takes; ``None`` if it did not work before the end."""
        self._backoff.reset()
        while True:
            try:
                return await asyncio.to_thread(self._archive.store, entries)
            except ArchiveError as error:
                _log.error("%s; %d messages wait", printable(error), len(entries), extra=REPEATABLE)
            try:
                async with asyncio.timeout(self._backoff.next()):
                    await self._stopping.wait()
            except TimeoutError:
                pass
            else:
                return None


def _entries_of(raws: list[Raw]) -> list[Entry]:
    return [entry_of_delivery(raw, time.time()) for raw in raws]


def entry_of_delivery(raw: Raw, now: float) -> Entry:
    """Return what to keep of a delivery; whatever arrives can be kept."""
    properties = None
    try:
        properties = decode_properties(raw.properties)
        return entry_of(_message_of(raw, properties), now)
    except Exception as error:  # the code of a schema class may raise anything
        reason = printable(error.text if isinstance(error, WireError) else error)
        return unreadable_entry(
            raw.routing_key, raw.queue, properties or BasicProperties(), raw.body or b"", reason, now
        )


def _message_of(raw: Raw, properties: BasicProperties) -> Message:
    """Build a message that need not be valid.

    Raises:
        ValueError: The body is no JSON object.
    """
    if raw.body is None:
        raise ValueError("the body is larger than this client takes")
    if not isinstance(properties.headers, dict):
        properties.headers = {}
    history = raw.history.taken_from(properties)
    body = json_body.decode(raw.body, properties.content_encoding or "utf-8")
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")
    headers = properties.headers
    severity = headers.get("fedora_messaging_severity", INFO)
    message = _class_for(headers)(body=body, topic=history.topic, properties=properties, severity=severity)
    message.queue = raw.queue
    return message


def _class_for(headers: dict[str, Any]) -> type[Message]:
    name = headers.get("fedora_messaging_schema")
    # An archive has many messages without an installed schema; a warning for each would help nobody.
    return get_class(name) if isinstance(name, str) and name in schema_names() else Message
