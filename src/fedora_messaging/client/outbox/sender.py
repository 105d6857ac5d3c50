"""Publishing the messages of an outbox: in order within each topic, and until the broker confirms them."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from ...exceptions import BaseException as LibraryException
from ...exceptions import EncodingError, OutboxError
from ...logs import logger
from ...options import BackoffOptions, OutboxOptions
from ...printable import printable
from ...wire import methods as m
from ..backoff import Backoff
from ..publishing.awaited import AwaitedPublish
from ..publishing.outgoing import Encoded
from . import table
from .store import OutboxStore
from .table import Row, Topic, Usage

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..supervisor import Supervisor

_log = logger(__name__)

#: Seconds between two checks for messages that other processes have recorded.
_INTERVAL: Final = 0.5
#: Most topics that are sent at the same time, and most messages that are read together.
_TOPICS: Final = 256
_ROWS: Final = 1000
#: Seconds without a confirm, and without bytes leaving, after which a message is sent again.
_CONFIRM_TIMEOUT: Final = 120.0
#: Pauses before a message that the broker refused is published again.
_REFUSED: Final = BackoffOptions(initial=1.0, factor=2.0, maximum=60.0)


class Outbox:
    """This process's end of an outbox: it stores messages, and may send those of all processes.

    Only one process at a time sends, so that each topic keeps its order; when it ends, another takes over.

    Args:
        options: Where the outbox is, and its limits.
        confirm_timeout: Seconds without a confirm, and without bytes leaving, after which a message is sent
            again.

    Raises:
        ConfigurationException: The database cannot be used.

    Attributes:
        store: The store of the messages.
        sending: Whether this process is the one that sends.
        trouble: Why no message can be sent; empty if they can.
    """

    def __init__(self, options: OutboxOptions, confirm_timeout: float = _CONFIRM_TIMEOUT) -> None:
        self._confirm_timeout = confirm_timeout
        self.sending: bool = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lanes: dict[Topic, asyncio.Task[None]] = {}
        self._resting: dict[Topic, tuple[float, Backoff]] = {}
        self.trouble: str = ""
        self.store: OutboxStore = OutboxStore(options, self._on_put)

    def put(self, message: Encoded) -> "Future[None]":
        """Add a message, from any thread; the future is done when the message is on disk.

        The future fails with OutboxFull or OutboxError.
        """
        return self.store.put(table.values_of(message))

    def _on_put(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    # Called in the event loop

    def start(self, supervisor: "Supervisor") -> None:
        """Begin to send."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run(supervisor))

    async def close(self, grace: float) -> None:
        """Stop sending; stored messages have ``grace`` seconds to be sent first, the others stay stored."""
        if self._task is not None and self.sending:
            try:
                if (await self.usage()).messages:
                    async with asyncio.timeout(grace):
                        await self.empty()
            except (TimeoutError, LibraryException):
                _log.info("Messages stay in the outbox %s, to be sent later", self.store.name)
        for task in (self._task, *self._lanes.values()):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await asyncio.wrap_future(self.store.close())

    async def empty(self) -> None:
        """Return when the outbox is empty, whichever process sends its messages.

        Raises:
            OutboxError: The database cannot be used.
        """
        while (await self.usage()).messages:
            self._news.set()
            await asyncio.sleep(0.02)

    async def usage(self) -> Usage:
        """Return the fill level of the outbox; raises what :meth:`empty` does."""
        return await asyncio.wrap_future(self.store.usage())

    # The sender

    async def _run(self, supervisor: "Supervisor") -> None:
        while True:
            self._news.clear()
            try:
                self.sending = await asyncio.wrap_future(self.store.lock())
                if self.sending:
                    # Send nothing more as long as sent messages cannot be deleted.
                    await asyncio.wrap_future(self.store.flushed())
                    await self._look(supervisor)
                # Check only now: if the file was deleted, only this process can still send its messages.
                await asyncio.wrap_future(self.store.check())
                self._note("")
            except LibraryException as error:
                self._note(str(error))
            except Exception as error:
                # A fault in this library must not stop the outbox in silence.
                _log.exception("The outbox %s could not be sent", self.store.name)
                self._note(str(error))
            await self._pause()

    async def _look(self, supervisor: "Supervisor") -> None:
        """Begin to send the topics that have messages."""
        topics = await asyncio.wrap_future(self.store.topics())
        if not topics:
            return
        await supervisor.connection()
        now = time.monotonic()
        free = [topic for topic in topics if topic not in self._lanes and self._rests_until(topic) <= now]
        for topic in free[: _TOPICS - len(self._lanes)]:
            lane = asyncio.create_task(self._send_topic(supervisor, topic))
            self._lanes[topic] = lane
            lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, ended: asyncio.Task[None]) -> None:
        self._lanes = {topic: lane for topic, lane in self._lanes.items() if lane is not ended}
        self._news.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_INTERVAL):
                await self._news.wait()
        except TimeoutError:
            pass

    def _note(self, trouble: str) -> None:
        """Log, once, why no message can be sent."""
        if trouble and trouble != self.trouble:
            _log.warning("Messages in the outbox %s wait: %s", self.store.name, printable(trouble))
        self.trouble = trouble

    # A topic

    async def _send_topic(self, supervisor: "Supervisor", topic: Topic) -> None:
        """Send the oldest messages of a topic, one after the other."""
        try:
            most = max(1, _ROWS // len(self._lanes))
            for row in await asyncio.wrap_future(self.store.rows(topic, most)):
                error = await self._send(supervisor, topic, row)
                if isinstance(error, EncodingError):
                    await self._set_aside(topic, row, error)
                    continue
                if error is not None:
                    await self._rest(topic, row, error)
                    break
                self._resting.pop(topic, None)
                self.store.delete(row.id)
            # Wait until they are deleted, so that they are not read and sent again.
            await asyncio.wrap_future(self.store.flushed())
        except OutboxError:
            self._rest_for_a_while(topic)  # the sender's loop meets the same error and logs it
        except Exception:
            # A fault in this library must not stop a topic in silence.
            _log.exception("Messages on topic %s could not be sent", printable(topic.routing_key))
            self._rest_for_a_while(topic)

    async def _send(self, supervisor: "Supervisor", topic: Topic, row: Row) -> Exception | None:
        """Publish a message; returns ``None``, or why the broker has not confirmed it."""
        method = m.BasicPublish(topic.exchange, topic.routing_key, row.mandatory).encode()
        encoded = Encoded(*topic, method, row.properties, row.body, row.mandatory)
        with AwaitedPublish(encoded) as publish:
            supervisor.submit(publish.out)
            while not publish.confirmed.done():
                # While bytes still leave, a big message may be on a slow line: do not begin it again.
                before = supervisor.sending
                await asyncio.wait([publish.confirmed], timeout=self._confirm_timeout)
                if not publish.confirmed.done() and supervisor.sending == before:
                    publish.set_outcome(publish.out.expire(self._confirm_timeout, supervisor.blocked))
            error = publish.confirmed.exception()
            assert error is None or isinstance(error, Exception)  # set_outcome() takes nothing else
            return error

    async def _set_aside(self, topic: Topic, row: Row, error: Exception) -> None:
        """Skip a message that cannot be sent, so that the messages after it do not wait."""
        _log.error(
            "A message in the outbox %s on topic %s cannot be sent, and is set aside until the program "
            "starts anew: %s",
            self.store.name,
            printable(topic.routing_key),
            printable(error),
        )
        await asyncio.wrap_future(self.store.set_aside(topic, row.id))
        await asyncio.wrap_future(self.store.failed(row.id, f"{type(error).__name__}: {error}"))

    async def _rest(self, topic: Topic, row: Row, error: Exception) -> None:
        """Let a topic wait before its message is published again."""
        pause = self._rest_for_a_while(topic)
        _log.warning(
            "A message in the outbox %s on topic %s is not taken, and offered again in %.1f s: %s",
            self.store.name,
            printable(topic.routing_key),
            pause,
            printable(error),
        )
        await asyncio.wrap_future(self.store.failed(row.id, f"{type(error).__name__}: {error}"))

    def _rest_for_a_while(self, topic: Topic) -> float:
        _until, backoff = self._resting.get(topic, (0.0, Backoff(_REFUSED)))
        pause = backoff.next() or 0.0
        self._resting[topic] = (time.monotonic() + pause, backoff)
        assert self._loop is not None  # start() has set it
        self._loop.call_later(pause, self._news.set)
        return pause

    def _rests_until(self, topic: Topic) -> float:
        return self._resting[topic][0] if topic in self._resting else 0.0
