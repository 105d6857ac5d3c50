"""Messages as they pass: from the archive, or from a queue of our own that the management API empties."""

import asyncio
import base64
import tempfile
import time
import uuid
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from ...archive.archive import Archive
from ...archive.database import ArchiveError
from ...archive.entry import Entry, Stored, entry_of, unreadable_entry
from ...archive.location import open_archive
from ...exceptions import ValidationError
from ...logs import REPEATABLE, logger
from ...message import load_message
from ...printable import printable
from ...validation import json_body
from ...wire.properties import BasicProperties
from .management import Management, ManagementError

_log = logger(__name__)

#: Seconds between two looks for new messages.
_PACE: Final = 0.2
#: Seconds between two requests for messages: each one opens a connection inside RabbitMQ.
_POLL: Final = 0.4
#: Seconds for which nobody looks before we stop looking, too.
_IDLE: Final = 60.0
#: Messages that the broker is asked for at once, and keeps for us.
_TAKEN: Final = 500
_KEPT: Final = 5000
#: Milliseconds after which the broker deletes our queue when we are gone.
_EXPIRES: Final = 60_000
#: Recent messages that are kept where there is no archive.
_RECENT: Final = 10_000
#: Messages that a reader gets at once.
_TOGETHER: Final = 100
#: Messages that a reader may be behind before it is dropped.
MOST_BEHIND: Final = 2_000

_SEQ: Final = attrgetter("seq")


class Dropped(Exception):
    """The stream of a reader ends; the text says why to people."""


class Feed:
    """New messages of an archive, for any number of readers.

    One task looks for new messages while there are readers; each reader only has a place in what was read of
    late, so a slow one costs nothing and delays nobody. One that falls too far behind is dropped, and finds
    the rest in the archive when it comes back with its place.

    Args:
        archive: Where new messages are.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        # What was stored after the one place, up to the other, and was not deleted before we saw it.
        self._recent: list[Stored] = []
        self._begin = self._newest = 0
        self._news = asyncio.Event()
        self._readers = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> int:
        """Begin to look for new messages; return the place of the newest one."""
        if self._closed:
            raise Dropped("the server stops")
        if self._task is None or self._task.done():
            newest = await asyncio.to_thread(self.archive.newest_seq)
            # Somebody else may have begun meanwhile.
            if self._task is None or self._task.done():
                self._recent, self._begin, self._newest = [], newest, newest
                self._task = asyncio.create_task(self._look())
        return self._newest

    async def follow(self, seq: int | None = None) -> AsyncIterator[list[Stored]]:
        """Yield the messages that are stored after a place, by default after now, in the order of storing.

        They come in lists: one that is empty once a second while there is nothing, so that the caller notices
        readers who left.

        Args:
            seq: Place of the last message that the reader has seen.

        Raises:
            Dropped: The reader is too slow, or the server stops.
        """
        newest = await self.start()
        self._readers += 1
        try:
            place = newest if seq is None else min(seq, newest)
            # What is no longer in memory comes from the archive.
            while place < (begin := self._begin) and not self._closed:
                found = await asyncio.to_thread(self.archive.stored_after, place)
                missed = [one for one in found if one.seq <= begin]
                if missed:
                    yield missed
                # If there are none, they were deleted.
                place = missed[-1].seq if missed else begin
            async for some in self._live(place):
                yield some
        finally:
            self._readers -= 1

    async def _live(self, place: int) -> AsyncIterator[list[Stored]]:
        while not self._closed:
            if place < self._begin:
                raise Dropped(f"this reader is more than {MOST_BEHIND} messages behind")
            offset = bisect_right(self._recent, place, key=_SEQ)
            if offset == len(self._recent):
                news = self._news
                try:
                    async with asyncio.timeout(1.0):
                        await news.wait()
                except TimeoutError:
                    yield []
                continue
            some = self._recent[offset : offset + _TOGETHER]
            yield some
            place = some[-1].seq
        raise Dropped("the server stops")

    async def _look(self) -> None:
        idle_since = time.monotonic()
        while not self._closed:
            try:
                found = await asyncio.to_thread(self.archive.stored_after, self._newest)
            except ArchiveError as error:
                _log.error("%s", printable(error), extra=REPEATABLE)
                found = []
            if found:
                self._add(found)
                continue
            if self._readers:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _IDLE:
                return
            await asyncio.sleep(_PACE)

    def _add(self, found: list[Stored]) -> None:
        self._recent += found
        self._newest = found[-1].seq
        if len(self._recent) > 2 * MOST_BEHIND:
            gone = len(self._recent) - MOST_BEHIND
            self._begin = self._recent[gone - 1].seq
            del self._recent[:gone]
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def close(self) -> None:
        """End all readers."""
        self._closed = True
        news, self._news = self._news, asyncio.Event()
        news.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


class BusFeed(Feed):
    """Messages of a bus without an archive: the most recent ones, from when somebody began to look.

    The feed makes a queue of its own, binds it, and empties it over the management API while there are
    readers. The broker deletes it a minute later.

    Args:
        management: The management API.
        vhost: Virtual host.
        exchange: Topic exchange to listen to.

    Attributes:
        trouble: Why listening fails; empty if it does not.
    """

    def __init__(
        self,
        management: Management,
        vhost: str = "/",
        exchange: str = "amq.topic",
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="fedora-messaging-recent-")
        super().__init__(open_archive(str(Path(self._directory.name) / "recent.db")))
        self._management = management
        self._vhost = vhost
        self._exchange = exchange
        self._queue = f"dashboard-live-{uuid.uuid4()}"
        self._listening: asyncio.Task[None] | None = None
        self._is_ending = False
        self.trouble: str = ""
        self._ready = asyncio.Event()

    async def start(self) -> int:
        """Begin to listen; returns when the queue is bound, or cannot be."""
        newest = await super().start()
        if self._is_ending and self._listening is not None:
            await asyncio.wait([self._listening])
        if self._listening is None or self._listening.done():
            self._is_ending = False
            self._ready = asyncio.Event()
            self._listening = asyncio.create_task(self._listen())
        with suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await self._ready.wait()
        return newest

    async def _listen(self) -> None:
        declared = False
        while self._task is not None and not self._task.done():
            try:
                if not declared:
                    await self._declare()
                    declared = True
                taken = await self._take()
                self.trouble = ""
            except ManagementError as error:
                # The queue may have expired while the broker did not answer.
                declared = False
                self.trouble = error.reason
                taken = 0
            except Exception as error:  # the disk may be full; an answer may be no such answer
                _log.error("The live feed fails: %s", printable(error), extra=REPEATABLE)
                self.trouble = printable(error)
                taken = 0
            self._ready.set()
            if taken < _TAKEN:
                await asyncio.sleep(_POLL if declared else 4 * _POLL)
        # Whoever comes now waits for the end, and begins anew.
        self._is_ending = True
        with suppress(ManagementError):
            await self._management.send("DELETE", "queues", self._vhost, self._queue)

    async def _declare(self) -> None:
        await self._management.send(
            "PUT",
            "queues",
            self._vhost,
            self._queue,
            body={
                # RabbitMQ 4.3 has no transient queues that are not exclusive, and HTTP has no connection to
                # which a queue could be exclusive.
                "durable": True,
                "arguments": {"x-expires": _EXPIRES, "x-max-length": _KEPT, "x-queue-type": "classic"},
            },
        )
        await self._management.send(
            "POST",
            *("bindings", self._vhost, "e", self._exchange, "q", self._queue),
            body={"routing_key": "#"},
        )

    async def _take(self) -> int:
        taken = await self._management.send(
            "POST",
            *("queues", self._vhost, self._queue, "get"),
            body={"count": _TAKEN, "ackmode": "ack_requeue_false", "encoding": "auto"},
        )
        if taken:
            now = time.time()
            await asyncio.to_thread(self._keep, [entry_of_answer(one, self._queue, now) for one in taken])
        return len(taken)

    def _keep(self, entries: list[Entry]) -> None:
        self.archive.store(entries)
        self.archive.keep_newest(_RECENT)

    async def close(self) -> None:
        """End all readers, and delete the queue."""
        await super().close()
        if self._listening is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await asyncio.wait([self._listening])
            self._listening.cancel()
        self.archive.close()
        self._directory.cleanup()


def body_of_answer(answer: dict[str, Any]) -> bytes:
    """Return the body of a message that the management API has returned."""
    payload = answer["payload"]
    return base64.b64decode(payload) if answer["payload_encoding"] == "base64" else payload.encode()


def entry_of_answer(answer: dict[str, Any], queue: str, now: float) -> Entry:
    """Return what to keep of a message that the management API has returned."""
    properties = answer["properties"] or {}  # an empty list, if there are none
    headers = properties.get("headers") or {}
    body = body_of_answer(answer)
    id = properties.get("message_id")
    known = {"headers": headers, "priority": properties.get("priority")} | ({"id": id} if id else {})
    try:
        value = json_body.decode(body, properties.get("content_encoding") or "utf-8")
        message = load_message({"topic": answer["routing_key"], "body": value, "queue": queue, **known})
        return entry_of(message, now)
    except (ValidationError, ValueError, TypeError) as error:
        reason = printable(error.summary if isinstance(error, ValidationError) else error)
        seen = BasicProperties(headers=headers, message_id=id, priority=properties.get("priority"))
        return unreadable_entry(answer["routing_key"], queue, seen, body, reason, now)
