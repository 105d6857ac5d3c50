"""A consumer of one queue, across channels and connections."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence

from ..exceptions import (
    AMQPError,
    BadDeclaration,
    ChannelClosed,
    ConnectionClosed,
    ConnectionException,
    ConsumerCanceled,
    NoFreeChannels,
    PermissionException,
)
from ..options import BindingOptions, QosOptions, QueueOptions
from ..protocol import events as ev
from ..protocol.errors import ACCESS_REFUSED, REPLY_SUCCESS
from ..wire import methods as m
from ..wire.methods import Method
from .channel import Channel
from .connection import Connection
from .delivery import Action, Raw, Verdict
from .runners import Runner
from .stats import ConsumerStats
from .topology import declare

_log = logging.getLogger("fedora_messaging.twisted.consumer")

#: Seconds for the broker to answer that a channel is closed.
_CLOSE_TIMEOUT = 5.0
#: Seconds before a channel that the broker keeps closing is opened again.
_REOPEN_DELAY = 1.0


class Consumer:
    """Consumes one queue, and hands its deliveries to a runner.

    Whatever happens to channels and connections there is one subscription at most: each has a new
    channel, and what still comes, or is still to be acknowledged, from an older one is dropped.

    Args:
        make_runner: Makes what processes the deliveries, given a way to report each verdict and one to ask
            whether a delivery is stale.
        queue: Declared at each connection.
        bindings: Bound at each connection.
        qos: Prefetch.

    Attributes:
        queue_name: Name of the queue; the broker's choice once it is known.
        tag: Consumer tag.
        stats: Counters.
        running: Subscribed, or about to be again; False once it has ended.
        runner: Processes the deliveries.
        unsettled: Deliveries that came on the present channel and are not settled yet.
        last_delivery: When the last one came, in seconds since 1970; ``None`` if none has.
        result: Done when consuming has ended: with the consumer after :meth:`stop`, or with the error
            that ended it.
    """

    def __init__(
        self,
        make_runner: Callable[["Consumer"], Runner],
        queue: QueueOptions,
        bindings: Sequence[BindingOptions],
        qos: QosOptions,
    ) -> None:
        self.queue = queue
        self.bindings = list(bindings)
        self.queue_name = queue.name
        self.tag = str(uuid.uuid4())
        self.stats = ConsumerStats()
        self.running = False
        self.unsettled = 0
        self.last_delivery: float | None = None
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Consumer] = loop.create_future()
        self._loop = loop
        self._qos = qos
        self._channel: Channel | None = None
        self._connection: Connection | None = None
        self._epoch = 0
        self._ack_due = 0
        self._stopping: asyncio.Task[None] | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.runner = make_runner(self)
        self._runner_started = False
        self._halted = False
        self._error: BaseException | None = None

    @property
    def connected(self) -> bool:
        """Whether deliveries can come now."""
        return self._channel is not None

    @property
    def _is_ending(self) -> bool:
        return self._stopping is not None or self._halted

    # The supervisor calls this

    async def attach(self, connection: Connection) -> None:
        """Declare, bind and subscribe on a new connection.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            PermissionException: The broker refuses to let us read the queue.
            ConnectionException: The connection was lost meanwhile, or another error came.
            NoFreeChannels: There is no channel left.
        """
        self._connection = connection
        self.queue_name = await declare(connection, self.queue, self.bindings)
        if not self._is_ending:
            await self._subscribe(connection)
        if not self._runner_started and not self._is_ending:
            self._runner_started = True
            self.runner.start()

    async def extend(
        self, connection: Connection, queue: QueueOptions, bindings: Sequence[BindingOptions]
    ) -> None:
        """Declare the queue once more, perhaps differently, and keep more bindings alive.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            ConnectionException: The connection was lost meanwhile.
            NoFreeChannels: There is no channel left.
        """
        await declare(connection, queue, bindings)
        self.bindings += [binding for binding in bindings if binding not in self.bindings]

    async def _subscribe(self, connection: Connection) -> None:
        channel = await connection.open_channel()
        try:
            await channel.call(m.BasicQos(self._qos.prefetch_size, self._qos.prefetch_count), m.BasicQosOk)
            self._epoch += 1
            self._ack_due = 0
            self.unsettled = 0
            # Deliveries may come in the same read as consume-ok.
            channel.listener = self
            self._channel = channel
            await channel.call(m.BasicConsume(self.queue_name, self.tag), m.BasicConsumeOk)
        except ChannelClosed as error:
            self._channel = None
            if self._is_ending and error.reply_code == REPLY_SUCCESS:
                return  # we closed it ourselves, having been stopped meanwhile
            if error.reply_code == ACCESS_REFUSED:
                raise PermissionException("queue", self.queue_name, error.reply_text) from error
            raise ConnectionException(str(error), reason=error) from error
        except BaseException:
            self._channel = None
            channel.close_soon()
            raise
        if self._is_ending:
            self._channel = None
            channel.close_soon()
            return
        self.running = True
        _log.info("Successfully registered %r", self)

    # The channel calls these

    def on_content(self, content: ev.ContentReceived) -> None:
        """A delivery."""
        method = content.method
        if isinstance(method, m.BasicDeliver) and not self._is_ending:
            self.unsettled += 1
            self.last_delivery = time.time()
            self.runner.put(
                Raw(
                    self._epoch,
                    method.delivery_tag,
                    self.queue_name,
                    method.exchange,
                    method.routing_key,
                    method.redelivered,
                    content.properties,
                    content.body,
                )
            )

    def on_method(self, method: Method) -> None:
        """The broker's cancel."""
        if isinstance(method, m.BasicCancel) and not self.result.done():
            _log.error("%r was canceled by the AMQP broker!", self)
            self._end(ConsumerCanceled(f"the broker canceled the consumer of queue {self.queue_name!r}"))

    def on_writable(self) -> None:
        """Acknowledgements are small: they never wait."""

    def on_channel_closed(self, error: AMQPError) -> None:
        """Wait for the next connection, or open another channel."""
        if self._channel is None:
            return
        self._channel = None
        self._epoch += 1
        if self._stopping is not None or self.result.done():
            return
        if isinstance(error, ConnectionClosed):
            self._connection = None
            _log.warning("The connection of %r was lost: %s", self, error.reply_text)
        elif error.reply_code == ACCESS_REFUSED:
            self._end(PermissionException("queue", self.queue_name, error.reply_text))
        else:
            _log.warning("The channel was closed by the server, %s. Consuming will resume.", error)
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        delay = 0.0
        while (connection := self._connection) is not None and self._stopping is None:
            await asyncio.sleep(delay)
            try:
                await self.attach(connection)
            except (BadDeclaration, ConnectionException, NoFreeChannels) as error:
                # As after a reconnect: a queue may come back, and only then is it declared as we want it.
                if connection.closed.done():
                    return
                _log.warning("%r cannot resume yet: %s", self, error)
                delay = _REOPEN_DELAY
            except PermissionException as error:
                self._end(error)
                return
            else:
                return

    # The runner calls these

    def is_stale(self, raw: Raw) -> bool:
        """Whether a delivery came on a channel that is gone: the broker delivers it again."""
        return raw.epoch != self._epoch

    def report(self, raw: Raw, verdict: Verdict) -> None:
        """Tell the broker what became of a delivery; end consuming if the verdict says so."""
        action, error = verdict
        if raw.epoch == self._epoch and self._channel is not None:
            self.unsettled -= 1
            self._tell(self._channel, raw.tag, action)
        if error is not None:
            self._end(error)

    def _tell(self, channel: Channel, tag: int, action: Action) -> None:
        if action is Action.ACK:
            if not self.runner.in_order:
                channel.send(m.BasicAck(tag))
                return
            # Messages are settled in order, so one acknowledgement serves all of one turn of the loop.
            if not self._ack_due:
                self._loop.call_soon(self._send_ack)
            self._ack_due = tag
            return
        self._send_ack()
        if action is Action.REQUEUE_ALL:
            channel.send(m.BasicNack(0, multiple=True, requeue=True))
        else:
            channel.send(m.BasicNack(tag, requeue=action is Action.REQUEUE))

    def _send_ack(self) -> None:
        tag, self._ack_due = self._ack_due, 0
        if tag and self._channel is not None:
            self._channel.send(m.BasicAck(tag, multiple=True))

    # The end

    def fail(self, error: Exception) -> None:
        """Stop because the broker will never serve this consumer."""
        self._end(error)

    def _end(self, error: BaseException) -> None:
        """Stop because of an error."""
        if isinstance(error, StopIteration | asyncio.CancelledError | GeneratorExit):
            # These would do something else to whoever waits for the result than tell that it failed.
            wrapped = RuntimeError(f"the callback raised {type(error).__name__}")
            wrapped.__cause__ = error
            error = wrapped
        self._error = self._error or error
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._shut_down())

    def halt(self) -> None:
        """Begin no more callbacks; :meth:`stop` does the rest."""
        self._halted = True
        self.runner.halt()

    async def stop(self) -> None:
        """Let the running callback end, acknowledge it, unsubscribe; what was not begun goes back."""
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._shut_down())
        await asyncio.shield(self._stopping)

    async def _shut_down(self) -> None:
        self.running = False
        await self.runner.finish()
        self._send_ack()
        channel, self._channel = self._channel, None
        if channel is not None and channel.is_open:
            channel.close_soon()
            await channel.wait_closed(_CLOSE_TIMEOUT)
            if channel.is_open:
                channel.connection.abort()  # a broker that does not answer to this answers to nothing
        if self.result.done():
            return
        # What the last callback raised counts, though the consumer was being stopped.
        if self._error is None:
            self.result.set_result(self)
        else:
            self.result.set_exception(self._error)
            # The error may be fetched late, or by nobody who cares; it has been logged where it arose.
            self.result.exception()

    def __repr__(self) -> str:
        return f"Consumer(queue={self.queue_name}, tag={self.tag})"
