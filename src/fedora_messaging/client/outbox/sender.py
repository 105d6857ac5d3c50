"""Publishing what is in the outbox: in order for each topic, and again until the broker has confirmed it."""

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

#: Seconds between two looks for what other processes have recorded.
_INTERVAL: Final = 0.5
#: Topics that are sent at once, and messages that are read together.
_TOPICS: Final = 256
_ROWS: Final = 1000
#: Seconds for a confirm while nothing leaves, after which the message is sent again.
_CONFIRM_TIMEOUT: Final = 120.0
#: Pauses before what a broker refuses is offered again.
_REFUSED: Final = BackoffOptions(initial=1.0, factor=2.0, maximum=60.0)


class Outbox:
    """An outbox of this process: takes messages, and sends those of all processes when it is its turn.

    One process at a time sends, so that each topic keeps its order; when that ends, another takes over.

    Args:
        options: Where it is, and its limits.
        confirm_timeout: Seconds for a confirm while nothing leaves, after which a message is sent again.

    Raises:
        ConfigurationException: The database cannot be used.

    Attributes:
        store: What is in it.
        sending: Whether it is this process that sends.
        trouble: What keeps everything from being sent; empty if nothing does.
    """

    def __init__(self, options: OutboxOptions, confirm_timeout: float = _CONFIRM_TIMEOUT) -> None:
        self._confirm_timeout = confirm_timeout
        self.sending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lanes: dict[Topic, asyncio.Task[None]] = {}
        self._resting: dict[Topic, tuple[float, Backoff]] = {}
        self.trouble = ""
        self.store = OutboxStore(options, self._on_put)

    def put(self, message: Encoded) -> "Future[None]":
        """Add a message, from any thread; the result comes when it is on disk.

        The future fails with OutboxFull or OutboxError.
        """
        return self.store.put(table.values_of(message))

    def _on_put(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    # The event loop calls these

    def start(self, supervisor: "Supervisor") -> None:
        """Begin to send."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run(supervisor))

    async def close(self, grace: float) -> None:
        """Stop sending, after a chance of some seconds for what is there; nothing is lost of what stays."""
        if self._task is not None and self.sending:
            try:
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
        """Return when nothing is in the outbox, whoever sends it.

        Raises:
            OutboxError: The database cannot be used.
        """
        while (await self.usage()).messages:
            self._news.set()
            await asyncio.sleep(0.02)

    async def usage(self) -> Usage:
        """Return what is in the outbox; raises what :meth:`empty` does."""
        return await asyncio.wrap_future(self.store.usage())

    # The sender

    async def _run(self, supervisor: "Supervisor") -> None:
        while True:
            self._news.clear()
            try:
                self.sending = await asyncio.wrap_future(self.store.lock())
                if self.sending:
                    # Before anything more is sent that cannot be removed.
                    await asyncio.wrap_future(self.store.flushed())
                    await self._look(supervisor)
                # What is in a file that was deleted is sent nevertheless: nobody else can.
                await asyncio.wrap_future(self.store.check())
                self._note("")
            except LibraryException as error:
                self._note(str(error))
            except Exception as error:
                # A mistake of ours must not leave the outbox waiting in silence.
                _log.exception("The outbox %s could not be sent", self.store.name)
                self._note(str(error))
            await self._pause()

    async def _look(self, supervisor: "Supervisor") -> None:
        """Begin to send the topics of which there are messages."""
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
        """Log what keeps everything from being sent, once."""
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
            # Not to be read, and sent, again.
            await asyncio.wrap_future(self.store.flushed())
        except OutboxError:
            self._rest_for_a_while(topic)  # the next look tells
        except Exception:
            # A mistake of ours must not leave a topic waiting in silence.
            _log.exception("Messages on topic %s could not be sent", printable(topic.routing_key))
            self._rest_for_a_while(topic)

    async def _send(self, supervisor: "Supervisor", topic: Topic, row: Row) -> Exception | None:
        """Publish a message; returns why the broker has not confirmed it."""
        method = m.BasicPublish(topic.exchange, topic.routing_key, row.mandatory).encode()
        encoded = Encoded(*topic, method, row.properties, row.body, row.mandatory)
        with AwaitedPublish(encoded) as publish:
            supervisor.submit(publish.out)
            while not publish.confirmed.done():
                # A big message on a slow line is not sent from its beginning again while it is leaving.
                before = supervisor.sending
                await asyncio.wait([publish.confirmed], timeout=self._confirm_timeout)
                if not publish.confirmed.done() and supervisor.sending == before:
                    publish.settle(publish.out.expire(self._confirm_timeout, supervisor.blocked))
            error = publish.confirmed.exception()
            assert error is None or isinstance(error, Exception)  # nobody settles it otherwise
            return error

    async def _set_aside(self, topic: Topic, row: Row, error: Exception) -> None:
        """Let a message that cannot be sent keep no other waiting."""
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
        """Let a topic wait before its message is offered again."""
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
        assert self._loop is not None  # set by `start`
        self._loop.call_later(pause, self._news.set)
        return pause

    def _rests_until(self, topic: Topic) -> float:
        return self._resting[topic][0] if topic in self._resting else 0.0
