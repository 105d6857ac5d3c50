"""A consumer of one queue, across channels and connections."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from ...exceptions import (
    AMQPError,
    BadDeclaration,
    ChannelClosed,
    ConnectionClosed,
    ConnectionException,
    ConsumerCanceled,
    NoFreeChannels,
    PermissionException,
)
from ...logs import CONSUMER, logger
from ...options import BindingOptions, ConsumerOptions, QosOptions, QueueOptions
from ...protocol import events as ev
from ...protocol.errors import ACCESS_REFUSED, NOT_FOUND, REPLY_SUCCESS
from ...wire import methods as m
from ...wire.methods import Method
from ..amqp.connection import Connection
from ..amqp.permission_hints import CONSUME, name_permission
from ..amqp.topology import count, declare, missing
from .consumer_state import ENDING, RUNNING, TRANSITIONS, ConsumerState, Input
from .delivery import Raw
from .resubscriber import Resubscriber
from .runner import Runner, finished
from .stats import ConsumerStats
from .stream_position import StreamPosition, is_stream
from .subscription import Subscription
from .verdict import Verdict
from .watchdog import ProgressWatch

_log = logger(CONSUMER)

#: A single active consumer of a queue has others beside it that get nothing.
_SINGLE_ACTIVE: Final = "x-single-active-consumer"


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
        options: How to subscribe, and when to give up or subscribe again.

    Attributes:
        queue_name: Name of the queue; the broker's choice once it is known.
        tag: Consumer tag.
        stats: Counters.
        state: Where it is.
        runner: Processes the deliveries.
        deliveries: How many deliveries have come.
        last_delivery: When the last one came, in seconds since 1970; ``None`` if none has.
        resubscriptions: How often it was subscribed again over the same connection.
        ask_elsewhere: Asks another node of the cluster how many messages wait in a queue; ``None`` if there
            is none.
        result: Done when consuming has ended: with the consumer after :meth:`stop`, or with the error
            that ended it.
    """

    def __init__(
        self,
        make_runner: Callable[["Consumer"], Runner],
        queue: QueueOptions,
        bindings: Sequence[BindingOptions],
        qos: QosOptions,
        options: ConsumerOptions | None = None,
    ) -> None:
        self.queue = queue
        self.bindings = list(bindings)
        self.queue_name = queue.name
        self.tag = str(uuid.uuid4())
        self.stats = ConsumerStats()
        self.state = ConsumerState.NEW
        self.deliveries = 0
        self.last_delivery: float | None = None
        self.resubscriptions = 0
        self.ask_elsewhere: Callable[[str], Awaitable[int]] | None = None
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[Consumer] = loop.create_future()
        self._loop = loop
        self._qos = qos
        self._options = options or ConsumerOptions()
        self._stream: StreamPosition | None = None
        if is_stream(queue.arguments, self._options.arguments):
            self._stream = StreamPosition(self._options.arguments)
        self._watch = ProgressWatch(self, self._options.watchdog)
        self._watching: asyncio.Task[None] | None = None
        # The present one, or the last.
        self._subscription: Subscription | None = None
        self._connection: Connection | None = None
        self._epoch = 0
        self._shutting_down: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._resubscriber = Resubscriber(self, self._attach, self._is_resuming, self._end)
        self._deliveries_before = 0
        self.runner = make_runner(self)
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Subscribed, or about to be again; False before the first subscription and once it stops."""
        return self.state in RUNNING

    @property
    def connected(self) -> bool:
        """Whether deliveries can come now."""
        return self._subscription is not None and not self._subscription.is_over

    @property
    def unsettled(self) -> int:
        """How many deliveries came on the present channel, or the last, and are not settled yet."""
        return 0 if self._subscription is None else len(self._subscription.in_flight)

    @property
    def oldest_unsettled(self) -> float | None:
        """When the oldest of them came, by the monotonic clock."""
        return None if self._subscription is None else self._subscription.in_flight.oldest

    @property
    def last_progress(self) -> float | None:
        """When one of them was settled, or the first came, by the monotonic clock; ``None`` without any."""
        return self._subscription.in_flight.progress if self._subscription and self.unsettled else None

    @property
    def stalled(self) -> bool:
        """Whether messages wait in the queue, and none arrives."""
        return self._watch.stalled

    @property
    def _is_ending(self) -> bool:
        return self.state in ENDING

    def _advance(self, what: Input) -> None:
        self.state = TRANSITIONS[self.state][what]

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
        await self._attach(connection)
        if not self._is_ending:
            self.runner.start()
            self._begin_watching()

    def resume(self, connection: Connection) -> "asyncio.Future[None]":
        """Attach to another connection, however often that has to be tried.

        Returns:
            Done after the first attempt, be it a success or not.
        """
        self._connection = connection
        # It may have been our attempt that ended the last connection: first come the others.
        return self._resume_soon(connection, self._resubscriber.next_pause)

    async def _attach(self, connection: Connection) -> None:
        self.queue_name = await declare(connection, self.queue, self.bindings)
        if not self._is_ending:
            await self._subscribe(connection)

    def _begin_watching(self) -> None:
        # In a stream all messages wait always; and beside a single active consumer the others have none.
        silent = self._stream is not None or self.queue.arguments.get(_SINGLE_ACTIVE)
        if self._options.watchdog and not silent:
            self._watching = self._begin(self._watch.run())

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
        self._epoch += 1
        self._deliveries_before = self.deliveries
        subscription = Subscription(self._epoch, channel, self._qos, self._stream, self.runner.in_order)
        self._subscription = subscription
        try:
            await subscription.begin(self, self._consume_method())
        except ChannelClosed as error:
            subscription.lost()
            if self._is_ending and error.reply_code == REPLY_SUCCESS:
                return  # we closed it ourselves, having been stopped meanwhile
            if error.reply_code == ACCESS_REFUSED:
                raise self._forbidden(error) from error
            if error.reply_code == NOT_FOUND and self.queue.passive:
                raise missing(self.queue, error) from error
            raise ConnectionException(str(error), reason=error) from error
        except BaseException:
            subscription.give_up()
            raise
        if self._is_ending:
            subscription.give_up()
            return
        self._advance(Input.SUBSCRIBED)
        self._resubscriber.backoff.succeeded()
        _log.info("Successfully registered %r", self)
        # The broker may have ended it in the very bytes in which it confirmed it.
        if subscription.is_over:
            self._replace_channel()
        elif subscription.canceled:
            self._canceled()

    def _forbidden(self, error: AMQPError) -> PermissionException:
        refusal = PermissionException("queue", self.queue_name, error.reply_text)
        return name_permission(refusal, error, CONSUME)

    def _consume_method(self) -> m.BasicConsume:
        arguments = dict(self._options.arguments) if self._stream is None else self._stream.arguments()
        return m.BasicConsume(self.queue_name, self.tag, arguments=arguments)

    # The channel calls these

    def on_content(self, content: ev.ContentReceived) -> None:
        """A delivery."""
        method = content.method
        if isinstance(method, m.BasicDeliver) and self._subscription is not None and not self._is_ending:
            raw = self._subscription.arrived(content, method, self.queue_name)
            self.deliveries += 1
            self.last_delivery = time.time()
            self.runner.put(raw)

    def on_method(self, method: Method) -> None:
        """The broker's cancel."""
        if isinstance(method, m.BasicCancel) and self._subscription is not None:
            self._subscription.canceled = True
            if self.state is ConsumerState.CONSUMING:
                self._canceled()

    def _canceled(self) -> None:
        if self._options.resubscribe:
            self.resubscribe("it was canceled by the broker")
        elif self.unsettled:
            self._advance(Input.CANCELED)
            self._asking = self._begin(self._find_out_why_canceled())
        else:
            self._end_canceled()

    async def _find_out_why_canceled(self) -> None:
        """Go on if it was for a slow callback, and end if it was because the queue is gone.

        RabbitMQ 4.3 cancels the consumer of a quorum queue whose message is not acknowledged in time
        (``consumer_timeout``). Older ones close the channel for that, which ends no consumer of ours either.
        """
        try:
            await self.count_waiting()
        except ConnectionException:
            return  # the next connection subscribes again
        except (BadDeclaration, NoFreeChannels):
            if self.state is ConsumerState.ASKING:
                self._end_canceled()
            return
        if self.state is ConsumerState.ASKING:
            self.resubscribe("the broker canceled it, perhaps because a callback takes longer than it allows")

    def _end_canceled(self) -> None:
        _log.error("%r was canceled by the AMQP broker!", self)
        self._end(ConsumerCanceled(f"the broker canceled the consumer of queue {self.queue_name!r}"))

    def on_writable(self) -> None:
        """Acknowledgements are small: they never wait."""

    def on_channel_closed(self, error: AMQPError) -> None:
        """Wait for the next connection, or open another channel."""
        if self._subscription is None:
            return
        self._subscription.lost()
        if isinstance(error, ConnectionClosed):
            self._connection = None
        if self.state not in (ConsumerState.CONSUMING, ConsumerState.ASKING):
            return  # whoever subscribes now is told of it, and nobody else cares
        if isinstance(error, ConnectionClosed):
            _log.warning("The connection of %r was lost: %s", self, error.reply_text)
        elif error.reply_code == ACCESS_REFUSED:
            self._end(self._forbidden(error))
            return
        else:
            _log.warning("The channel was closed by the server, %s. Consuming will resume.", error)
        self._replace_channel()

    def _replace_channel(self) -> None:
        """Subscribe again over the same connection, if there is one."""
        self._advance(Input.LOST)
        if self._connection is not None:
            self.resubscriptions += 1
            # A broker may take a subscription and end it at once, again and again.
            if self.deliveries > self._deliveries_before:
                self._resubscriber.backoff.reset()
            self._resume_soon(self._connection, self._resubscriber.backoff.again())

    def _resume_soon(self, connection: Connection, pause: float) -> "asyncio.Future[None]":
        task, tried = self._resubscriber.begin(connection, pause)
        self._mind(task)
        return tried

    def _is_resuming(self) -> bool:
        return self.state is ConsumerState.RESUMING

    # The watch calls these

    async def count_waiting(self) -> int:
        """Ask the broker how many messages wait in the queue; raises what :func:`.topology.count` does."""
        if self._connection is None:
            raise ConnectionException("there is no connection")
        return await count(self._connection, self.queue_name)

    async def count_elsewhere(self) -> int:
        """Ask another node of the cluster the same; 0 if nobody can be asked."""
        if self.ask_elsewhere is None or self.queue.exclusive:
            return 0
        return await self.ask_elsewhere(self.queue_name)

    def resubscribe(self, why: str) -> None:
        """Subscribe again, on another channel."""
        if self._subscription is not None and self.state in (ConsumerState.CONSUMING, ConsumerState.ASKING):
            _log.warning("%r is subscribed again: %s", self, why)
            self._subscription.give_up()
            self._replace_channel()

    def reconnect(self, why: str) -> None:
        """Give the connection up; it will be made again."""
        if self._connection is not None and not self._is_ending:
            _log.error("The connection of %r is given up: %s", self, why)
            self._connection.abort()

    # The runner calls these

    def is_stale(self, raw: Raw) -> bool:
        """Whether a delivery came on a channel that is gone: the broker delivers it again."""
        subscription = self._subscription
        return subscription is None or subscription.is_over or raw.epoch != subscription.epoch

    def report(self, raw: Raw, verdict: Verdict) -> None:
        """Tell the broker what became of a delivery; end consuming if the verdict says so."""
        action, error = verdict
        if self._subscription is not None and raw.epoch == self._subscription.epoch:
            self._subscription.settle(raw.tag, action)
        if error is not None:
            self._end(error)

    # The end

    def fail(self, error: BaseException) -> None:
        """Stop because of an error that belongs to no delivery; nothing if it is stopping already."""
        if self.state not in (ConsumerState.STOPPING, ConsumerState.ENDED):
            _log.error("%r cannot go on", self, exc_info=error)
            self._end(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self._mind(self._loop.create_task(work))

    def _mind(self, task: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """End with an error that a task did not foresee, which must not leave the consumer deaf."""

        def ended(task: "asyncio.Task[None]") -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.fail(error)

        task.add_done_callback(ended)
        return task

    def _end(self, error: BaseException) -> None:
        """Stop because of an error."""
        if isinstance(error, StopIteration | asyncio.CancelledError | GeneratorExit):
            # These would do something else to whoever waits for the result than tell that it failed.
            wrapped = RuntimeError(f"the callback raised {type(error).__name__}")
            wrapped.__cause__ = error
            error = wrapped
        self._error = self._error or error
        self._begin_shutting_down()

    def halt(self) -> None:
        """Begin no more callbacks; :meth:`stop` does the rest."""
        self._advance(Input.HALT)
        self.runner.halt()

    async def stop(self) -> None:
        """Let the running callback end, acknowledge it, unsubscribe; what was not begun goes back."""
        await asyncio.shield(self._begin_shutting_down())

    def _begin_shutting_down(self) -> "asyncio.Task[None]":
        if self._shutting_down is None:
            self._advance(Input.STOP)
            self._shutting_down = self._loop.create_task(self._shut_down())
        return self._shutting_down

    async def _shut_down(self) -> None:
        self._resubscriber.cancel()
        for task in (self._watching, self._asking):
            if task is not None:
                task.cancel()
        try:
            await self._let_callbacks_end()
        except Exception as error:
            # Whoever waits for the end is to be told of it all the same.
            _log.exception("The callbacks of %r have not ended well", self)
            self._error = self._error or error
        if self._subscription is not None:
            await self._subscription.end()
        self._advance(Input.SHUT_DOWN)
        # What the last callback raised counts, though the consumer was being stopped.
        if self._error is None:
            self.result.set_result(self)
        else:
            self.result.set_exception(self._error)
            # The error may be fetched late, or by nobody who cares; it has been logged where it arose.
            self.result.exception()

    async def _let_callbacks_end(self) -> None:
        patience = self._options.stop_timeout
        finishing = await finished(self.runner, self.queue_name, patience)
        if not finishing.done():
            _log.error(
                "A callback of %r has not ended within %g s; its message goes back to the queue",
                self,
                patience,
            )
            if self._subscription is not None:
                self._subscription.settle_no_more()
            self.runner.abandon()
            finishing.cancel()
            await asyncio.wait([finishing])
        elif not finishing.cancelled():
            finishing.result()

    def __repr__(self) -> str:
        return f"Consumer(queue={self.queue_name}, tag={self.tag})"
