"""The supervisor, which keeps one connection up together with its publisher and consumers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from ..exceptions import ConfigurationException, ConnectionClosed, ConnectionException, HaltConsumer
from ..logs import logger
from ..options import ConnectionOptions
from ..protocol.errors import CONNECTION_FORCED, INTERNAL_ERROR, REPLY_SUCCESS, RESOURCE_ERROR
from .amqp.connection import Connection, HandshakeCut, Unreachable
from .backoff import Backoff
from .connection_waiters import ConnectionWaiters
from .consuming.consumer import Consumer
from .consuming.stats import ConsumerStats
from .nodes import Nodes
from .publishing.outgoing import Outgoing
from .publishing.publisher import Publisher
from .supervisor_state import TRANSITIONS, Input, SupervisorState

_log = logger(__name__)

Result = TypeVar("Result")

#: Seconds that publishes have to be confirmed when the client is closed.
_CONFIRM_GRACE: Final = 5.0
#: Seconds that consumers have to subscribe again before publishing goes on.
_RESUME_PATIENCE: Final = 5.0

#: Codes of ends that are due to the broker's state or the network, not to our requests. RabbitMQ reports a
#: quorum queue without a majority as an internal error.
_NOT_OUR_FAULT: Final = frozenset({0, REPLY_SUCCESS, CONNECTION_FORCED, RESOURCE_ERROR, INTERNAL_ERROR})


class BackgroundSender(Protocol):
    """The part of an outbox that the supervisor uses: it sends messages in the background."""

    def start(self, supervisor: "Supervisor") -> None:
        """Begin to send."""
        ...

    async def close(self, grace: float) -> None:
        """Stop sending; stored messages have ``grace`` seconds to be sent first."""
        ...


class Supervisor:
    """Dials, backs off and dials again, and gives each new connection to the publisher and the consumers.

    Args:
        options: Where to connect; alternatives are tried in turn.
        backoff: Delays between attempts.

    Attributes:
        state: State of the supervisor.
        backoff: Delays between attempts.
        nodes: The nodes, which are dialled in turn.
        publisher: Sends messages, now or as soon as there is a connection.
        consumers: The consumers that have not ended.
        ended_stats: Counters of the consumers that have ended.
        trouble: Why the last attempt to connect failed; empty if it succeeded.
        ended_by: Error that ended the last consumer that failed; ``None`` once another one is started.
        declaring: Held while declaring a queue that must not be declared twice at the same time.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        backoff: Backoff | None = None,
    ) -> None:
        self.state: SupervisorState = SupervisorState.IDLE
        self.nodes: Nodes = Nodes(options)
        self.publisher: Publisher = Publisher(has_other_nodes=len(self.nodes) > 1)
        self.declaring: asyncio.Lock = asyncio.Lock()
        self.consumers: list[Consumer] = []
        self.ended_stats: ConsumerStats = ConsumerStats()
        self.backoff: Backoff = backoff or Backoff()
        self.trouble: str = ""
        self.ended_by: BaseException | None = None
        self._connection: Connection | None = None
        self._connections = 0
        self._waiters = ConnectionWaiters()
        self._task: asyncio.Task[None] | None = None
        self._drainers: set[object] = set()
        self._given_up: ConnectionException | None = None
        self._sender: BackgroundSender | None = None
        self._sleeping: asyncio.Future[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None and not self._connection.closed.done()

    @property
    def reconnects(self) -> int:
        """How often a new connection replaced a lost one."""
        return max(0, self._connections - 1)

    @property
    def _is_closing(self) -> bool:
        return self.state in (SupervisorState.CLOSING, SupervisorState.CLOSED)

    def _advance(self, what: Input) -> None:
        self.state = TRANSITIONS[self.state][what]

    @property
    def blocked(self) -> str | None:
        """Why the broker accepts no publishes now, or ``None`` if it does."""
        connection = self._connection
        return None if connection is None else connection.blocked

    @property
    def sending(self) -> int | None:
        """How many bytes have left on the connection so far, or ``None`` if none wait to leave."""
        connection = self._connection
        return None if connection is None else connection.sending

    def start(self) -> None:
        """Begin to connect; needs a running loop."""
        if self.state is SupervisorState.IDLE:
            self._advance(Input.START)
            self._task = asyncio.create_task(self._run())

    async def connection(self) -> Connection:
        """Return the connection, waiting for one if need be.

        Raises:
            ConnectionException: The broker refused us, and trying goes on; or the attempts are over.
            ConfigurationException: The TLS settings are wrong.
        """
        self.start()
        if self._connection is not None and self.connected:
            return self._connection
        self._refuse_if_over()
        return await self._waiters.wait()

    def attach_sender(self, sender: "BackgroundSender") -> None:
        """Send the messages of an outbox, and close it with the client; needs a running loop."""
        self._sender = sender
        sender.start(self)

    def submit(self, out: Outgoing) -> None:
        """Publish a message, now or as soon as there is a connection."""
        try:
            self._refuse_if_over()
        except ConnectionException as error:
            out.on_outcome(error)
            return
        self.start()
        self.publisher.submit(out)

    def send_now(self, out: Outgoing) -> bool:
        """Publish a message at once, if nothing is in its way; needs no running loop, only that it waits.

        Returns:
            Whether that was possible; otherwise :meth:`submit` can do it.
        """
        return not self._is_closing and self._given_up is None and self.publisher.send_now(out)

    def connection_for_confirms(self) -> Connection | None:
        """Return the connection if all that should come on it is the confirm of one publish."""
        is_alone = self.publisher.in_flight == 1 and not self.publisher.has_waiting and not self.consumers
        return self._connection if is_alone else None

    def renew_connection(self) -> None:
        """Cut the connection, whose state may be half changed; what is on its way is sent on the next one."""
        if self._connection is not None:
            _log.warning("A thread was interrupted while it published; its connection is replaced")
            self._connection.abort()

    def _refuse_if_over(self) -> None:
        if self._is_closing:
            raise _closed()
        if self._given_up is not None:
            raise self._given_up
        if self._drainers and not self.connected:
            text = "there is no connection, and the consumers are being stopped"
            raise ConnectionException(text, reason=text)

    async def consume(self, consumer: Consumer) -> None:
        """Start a consumer, waiting for the broker, and keep it alive from then on.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            PermissionException: The broker refuses to let us read the queue.
            ConnectionException: The broker refuses us.
            NoFreeChannels: No channel is left.
        """
        if len(self.nodes) > 1:
            consumer.ask_elsewhere = self.nodes.count_elsewhere
        await self.with_connection(consumer.attach)
        if self._is_closing:
            await consumer.stop()
            self._refuse_if_over()
        self.ended_by = None
        self.consumers.append(consumer)
        consumer.result.add_done_callback(lambda _result: self._consumer_ended(consumer))

    async def with_connection(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Do some work with the connection, and again with the next one if it is lost meanwhile."""
        while True:
            connection = await self.connection()
            try:
                return await work(connection)
            except ConnectionException:
                if not connection.closed.done() or _is_our_fault(connection.closed.result()):
                    raise

    def consumer_of(self, queue_name: str) -> Consumer | None:
        """Return the living consumer of a queue, if there is one."""
        living = (consumer for consumer in self.consumers if consumer.running)
        return next((consumer for consumer in living if consumer.queue_name == queue_name), None)

    def _consumer_ended(self, consumer: Consumer) -> None:
        self.consumers.remove(consumer)
        error = consumer.result.exception()
        if error is not None and not isinstance(error, HaltConsumer):
            self.ended_by = error
        self.ended_stats += consumer.stats

    async def close(self) -> None:
        """Stop consumers gracefully, then close the connection.

        Publishes that are not confirmed yet have some seconds for it; then they fail.
        """
        try:
            # More consumers may be about to be registered.
            while self.consumers:
                # Callbacks that still run may publish, as long as there is a connection.
                self.drain(self, "the client was closed")
                await asyncio.gather(*[consumer.stop() for consumer in list(self.consumers)])
            if self._sender is not None:
                await self._sender.close(_CONFIRM_GRACE if self.connected else 0.0)
            await self._let_publishes_end()
        except asyncio.CancelledError:
            # The caller stopped waiting for callbacks: give their messages back to the broker.
            if self._connection is not None:
                self._connection.abort()
            raise
        finally:
            self._advance(Input.CLOSE)
            self._waiters.fail(_closed())
            self.publisher.fail_all(_closed())
        if self._connection is not None:
            await self._connection.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._advance(Input.END)

    async def _let_publishes_end(self) -> None:
        """Accept no new publishes, and wait for the confirms of the others; do not reconnect for them."""
        self._advance(Input.CLOSE)
        if self._sleeping is not None:
            self._sleeping.cancel()
        if self._task is not None and not self._task.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(_CONFIRM_GRACE):
                    await self.publisher.idle()

    def drain(
        self, drainer: object, why: str = "there is no connection, and the consumers are being stopped"
    ) -> None:
        """Note that consumers are being stopped: until that is done, publishes fail while the broker is away.

        Args:
            drainer: The owner of the consumers; it calls :meth:`drained` when they have stopped.
            why: Text of the error of publishes that are given up.
        """
        self._drainers.add(drainer)
        if not self.connected:
            self._fail_publishes(why)

    def drained(self, drainer: object) -> None:
        """Note that the consumers have stopped."""
        self._drainers.discard(drainer)

    def _fail_publishes(self, why: str) -> None:
        self.publisher.fail_all(ConnectionException(why, reason=why))

    def stop_trying(self) -> None:
        """Make no further attempts: give up when the connection is lost, or now if there is none."""
        self.backoff.keep_trying = False
        if self._sleeping is not None:
            self._sleeping.cancel()

    # The loop that owns the connection

    async def _run(self) -> None:
        while True:
            connection = await self._connect()
            if connection is not None:
                await self._serve(connection)
            if self._is_closing or not await self._wait_before_next():
                break
        if self._is_closing:
            self.publisher.fail_all(_closed())
        else:
            self._give_up()

    async def _serve(self, connection: Connection) -> None:
        """Use a connection until it ends."""
        await self._resume_consumers(connection)
        if connection.closed.done():
            self._tell_of_end(connection)
            return
        self.backoff.succeeded()
        work = self._work_done
        self._advance(Input.CONNECT)
        self._connections += 1
        self._connection = connection
        self._waiters.tell(connection)
        self.publisher.attach(connection)
        await connection.closed
        self._advance(Input.LOSE)
        self._connection = None
        if self._work_done > work and not connection.broken:
            self.backoff.reset()
        if self._drainers:
            self._fail_publishes("the connection was lost while the consumers were being stopped")
        if not self._is_closing:
            self._tell_of_end(connection)

    def _tell_of_end(self, connection: Connection) -> None:
        _log.warning("The connection to %s ended: %s", self.nodes.present.address, connection.closed.result())

    @property
    def _work_done(self) -> int:
        """A number that grows with each delivery and each confirm, so that it shows progress."""
        return self.publisher.published + sum(consumer.deliveries for consumer in self.consumers)

    async def _wait_before_next(self) -> bool:
        """Wait until the next attempt is due; returns whether to make it."""
        delay = self.backoff.next()
        if delay is None:
            return False
        self._sleeping = asyncio.ensure_future(asyncio.sleep(delay))
        try:
            await asyncio.wait([self._sleeping])
        finally:
            self._sleeping.cancel()
            self._sleeping = None
        return self.backoff.keep_trying and not self._is_closing

    def _give_up(self) -> None:
        self._advance(Input.GIVE_UP)
        attempts = self.backoff.attempts
        plural = "" if attempts == 1 else "s"
        text = f"connecting to {self.nodes.present.address} was given up after {attempts} attempt{plural}"
        _log.error("%s", text)
        self._given_up = ConnectionException(text, reason=text)
        self.publisher.fail_all(self._given_up)
        self._waiters.fail(self._given_up)

    async def _connect(self) -> Connection | None:
        try:
            connection = await self.nodes.dial()
        except Unreachable as error:
            self.trouble = str(error)
            _log.warning("%s; trying again", error)
        except HandshakeCut as error:
            # If a connection succeeded before, this is a fault of the network. Otherwise the address may not
            # be a broker's, so waiting callers get the error.
            self.trouble = str(error)
            _log.warning("%s; trying again", error)
            if not self._connections:
                self._tell_of_refusal(error)
        except (ConnectionException, ConfigurationException) as error:
            self.trouble = str(error)
            # A caller that waits gets the error and reports it; a log line would report it twice.
            if not self._tell_of_refusal(error):
                _log.error("%s", error)  # noqa: TRY400 - a traceback would only show our own code
        except Exception as error:
            # A fault in this library must not end the attempts.
            self.trouble = str(error)
            _log.exception("Connecting failed in an unexpected way; trying again")
            self._waiters.fail(ConnectionException(str(error), reason=error))
        else:
            self.trouble = ""
            return connection
        return None

    def _tell_of_refusal(self, error: Exception) -> bool:
        """Fail all waiters unless another node may still accept us; returns whether there were any."""
        if (self.backoff.attempts + 1) % len(self.nodes) != 0:
            return False
        somebody_waits = bool(self._waiters) or self.publisher.has_waiting
        self._waiters.fail(error)
        self.publisher.fail_waiting(error)
        return somebody_waits

    async def _resume_consumers(self, connection: Connection) -> None:
        """Have the consumers subscribe again, before messages are published that are meant for their queues.

        If the broker refuses a queue or takes long for it, the others wait for it only a few seconds.
        """
        attempts = [consumer.resume(connection) for consumer in self.consumers]
        if attempts:
            await asyncio.wait(attempts, timeout=_RESUME_PATIENCE)


def _is_our_fault(end: Exception) -> bool:
    """Whether the broker closed the connection because of our request, so that repeating it is useless."""
    return isinstance(end, ConnectionClosed) and end.reply_code not in _NOT_OUR_FAULT


def _closed() -> ConnectionException:
    return ConnectionException("the client is closed", reason="the client is closed")
