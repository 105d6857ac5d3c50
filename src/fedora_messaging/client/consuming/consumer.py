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
from .runner import Runner, let_callbacks_end
from .stats import ConsumerStats
from .stream_position import StreamPosition, is_stream
from .subscription import Subscription
from .verdict import Verdict
from .watchdog import ProgressWatch

_log = logger(CONSUMER)

#: Argument of queues that deliver to one of their consumers only; the others get nothing.
_SINGLE_ACTIVE: Final = "x-single-active-consumer"


class Consumer:
    """Consumes one queue, and hands its deliveries to a runner.

    A consumer never has more than one subscription. Each subscription has a new channel; deliveries and
    verdicts that belong to an older one are dropped.

    Args:
        make_runner: Makes the runner. It gets this consumer, to report each verdict to and to ask whether a
            delivery is stale.
        queue: The queue; declared at each connection.
        bindings: Its bindings; made at each connection.
        qos: Prefetch.
        options: How to subscribe, and when to give up or subscribe again.

    Attributes:
        queue_name: Name of the queue; if the broker chooses it, it is known after the first declaration.
        tag: Consumer tag.
        stats: Counters.
        state: State of the consumer.
        runner: Processes the deliveries.
        deliveries: How many deliveries have arrived.
        last_delivery: When the last one arrived, in seconds since 1970; ``None`` if none has.
        resubscriptions: How often it subscribed again over the same connection.
        ask_elsewhere: Asks another node of the cluster how many messages wait in a queue; ``None`` if there
            is no other node.
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
        self.bindings: list[BindingOptions] = list(bindings)
        self.queue_name: str = queue.name
        self.tag: str = str(uuid.uuid4())
        self.stats: ConsumerStats = ConsumerStats()
        self.state: ConsumerState = ConsumerState.NEW
        self.deliveries: int = 0
        self.last_delivery: float | None = None
        self.resubscriptions: int = 0
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
        # The current subscription, or the last one.
        self._subscription: Subscription | None = None
        self._connection: Connection | None = None
        self._epoch = 0
        self._background: list[asyncio.Task[None]] = []
        self._shutting_down: asyncio.Task[None] | None = None
        self._resubscriber = Resubscriber(
            self, self._attach, lambda: self.state is ConsumerState.RESUMING, self._end
        )
        self._deliveries_before = 0
        self.runner: Runner = make_runner(self)
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether it is subscribed, or about to be again; False before the first time and once it stops."""
        return self.state in RUNNING

    @property
    def connected(self) -> bool:
        """Whether deliveries can arrive now."""
        return self._subscription is not None and not self._subscription.is_over

    @property
    def unsettled(self) -> int:
        """How many deliveries arrived on the current channel, or the last one, and are not settled yet."""
        return 0 if self._subscription is None else len(self._subscription.in_flight)

    @property
    def oldest_unsettled(self) -> float | None:
        """When the oldest unsettled delivery arrived, by the monotonic clock."""
        return None if self._subscription is None else self._subscription.in_flight.oldest

    @property
    def last_progress(self) -> float | None:
        """When one was last settled, or the first arrived, by the monotonic clock; ``None`` without any."""
        return self._subscription.in_flight.progress if self._subscription and self.unsettled else None

    @property
    def stalled(self) -> bool:
        """Whether messages wait in the queue and none arrives."""
        return self._watch.stalled

    @property
    def _is_ending(self) -> bool:
        return self.state in ENDING

    def _advance(self, what: Input) -> None:
        self.state = TRANSITIONS[self.state][what]

    # Called by the supervisor

    async def attach(self, connection: Connection) -> None:
        """Declare, bind and subscribe on a new connection.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            PermissionException: The broker refuses to let us read the queue.
            ConnectionException: The connection was lost meanwhile, or the broker reported another error.
            NoFreeChannels: No channel is left.
        """
        self._connection = connection
        await self._attach(connection)
        if not self._is_ending:
            self.runner.start()
            self._begin_watching()

    def resume(self, connection: Connection) -> "asyncio.Future[None]":
        """Attach to another connection, trying as often as needed.

        Returns:
            A future that is done after the first attempt, whether that succeeds or not.
        """
        self._connection = connection
        # Our own attempt may have ended the last connection; after a failure, other consumers go first.
        return self._resume_soon(connection, self._resubscriber.next_pause)

    async def _attach(self, connection: Connection) -> None:
        self.queue_name = await declare(connection, self.queue, self.bindings)
        if not self._is_ending:
            await self._subscribe(connection)

    def _begin_watching(self) -> None:
        # Messages stay in a stream for ever, and consumers beside a single active one get none: for both the
        # watch would raise false alarms.
        silent = self._stream is not None or self.queue.arguments.get(_SINGLE_ACTIVE)
        if self._options.watchdog and not silent:
            self._begin(self._watch.run())

    async def extend(
        self, connection: Connection, queue: QueueOptions, bindings: Sequence[BindingOptions]
    ) -> None:
        """Declare the queue again, perhaps differently, and maintain additional bindings.

        Raises:
            BadDeclaration: The broker refuses queue or binding.
            ConnectionException: The connection was lost meanwhile.
            NoFreeChannels: No channel is left.
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
                return  # we closed it ourselves, because the consumer was stopped meanwhile
            if error.reply_code == ACCESS_REFUSED:
                raise _forbidden(self.queue_name, error) from error
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
        # The broker may have ended the subscription in the same bytes in which it confirmed it.
        if subscription.is_over:
            self._replace_channel()
        elif subscription.canceled:
            self._canceled()

    def _consume_method(self) -> m.BasicConsume:
        arguments = dict(self._options.arguments) if self._stream is None else self._stream.arguments()
        return m.BasicConsume(self.queue_name, self.tag, arguments=arguments)

    # Called by the channel

    def on_content(self, content: ev.ContentReceived) -> None:
        """Hand a delivery to the runner."""
        method = content.method
        if isinstance(method, m.BasicDeliver) and self._subscription is not None and not self._is_ending:
            raw = self._subscription.arrived(content, method, self.queue_name)
            self.deliveries += 1
            self.last_delivery = time.time()
            self.runner.put(raw)

    def on_method(self, method: Method) -> None:
        """React when the broker cancels the subscription."""
        if isinstance(method, m.BasicCancel) and self._subscription is not None:
            self._subscription.canceled = True
            if self.state is ConsumerState.CONSUMING:
                self._canceled()

    def _canceled(self) -> None:
        if self._options.resubscribe:
            self.resubscribe("it was canceled by the broker")
        elif self.unsettled:
            self._advance(Input.CANCELED)
            self._begin(self._find_out_why_canceled())
        else:
            self._end_canceled()

    async def _find_out_why_canceled(self) -> None:
        """Subscribe again if the queue still exists; end consuming if it is gone.

        RabbitMQ 4.3 cancels the consumer of a quorum queue that does not acknowledge a message in time
        (``consumer_timeout``). Older versions close the channel, after which we subscribe again, too.
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
        """Do nothing: acknowledgements are small and never wait for room."""

    def on_channel_closed(self, error: AMQPError) -> None:
        """Wait for the next connection, or open another channel."""
        if self._subscription is None:
            return
        self._subscription.lost()
        if isinstance(error, ConnectionClosed):
            self._connection = None
        if self.state not in (ConsumerState.CONSUMING, ConsumerState.ASKING):
            return  # if we are subscribing now, that call raises; otherwise it does not matter
        if isinstance(error, ConnectionClosed):
            _log.warning("The connection of %r was lost: %s", self, error.reply_text)
        elif error.reply_code == ACCESS_REFUSED:
            self._end(_forbidden(self.queue_name, error))
            return
        else:
            _log.warning("The channel was closed by the server, %s. Consuming will resume.", error)
        self._replace_channel()

    def _replace_channel(self) -> None:
        """Subscribe again over the same connection, if there is one."""
        self._advance(Input.LOST)
        if self._connection is not None:
            self.resubscriptions += 1
            # A broker may accept each subscription and end it at once, so pauses grow until messages arrive.
            if self.deliveries > self._deliveries_before:
                self._resubscriber.backoff.reset()
            self._resume_soon(self._connection, self._resubscriber.backoff.again())

    def _resume_soon(self, connection: Connection, pause: float) -> "asyncio.Future[None]":
        task, tried = self._resubscriber.begin(connection, pause)
        self._mind(task)
        return tried

    # Called by the watch

    async def count_waiting(self) -> int:
        """Ask the broker how many messages wait in the queue; raises what :func:`.topology.count` does."""
        if self._connection is None:
            raise ConnectionException("there is no connection")
        return await count(self._connection, self.queue_name)

    async def count_elsewhere(self) -> int:
        """Ask another node of the cluster how many messages wait; 0 if no other node can be asked."""
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
        """Cut the connection; the supervisor makes another one."""
        if self._connection is not None and not self._is_ending:
            _log.error("The connection of %r is given up: %s", self, why)
            self._connection.abort()

    # Called by the runner

    def is_stale(self, raw: Raw) -> bool:
        """Whether a delivery arrived on a channel that is gone, so that the broker delivers it again."""
        subscription = self._subscription
        return subscription is None or subscription.is_over or raw.epoch != subscription.epoch

    def report(self, raw: Raw, verdict: Verdict) -> None:
        """Tell the broker the outcome of a delivery; end consuming if the verdict says so."""
        action, error = verdict
        if self._subscription is not None and raw.epoch == self._subscription.epoch:
            self._subscription.settle(raw.tag, action)
        if error is not None:
            self._end(error)

    # The end

    def fail(self, error: BaseException) -> None:
        """Stop because of an error that belongs to no delivery; do nothing if it is stopping already."""
        if self.state not in (ConsumerState.STOPPING, ConsumerState.ENDED):
            _log.error("%r cannot go on", self, exc_info=error)
            self._end(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._background.append(task)
        task.add_done_callback(self._background.remove)
        self._mind(task)

    def _mind(self, task: "asyncio.Task[None]") -> None:
        """Have the consumer end if a task fails unexpectedly; otherwise it might go on without messages."""

        def ended(task: "asyncio.Task[None]") -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.fail(error)

        task.add_done_callback(ended)

    def _end(self, error: BaseException) -> None:
        """Stop because of an error."""
        self._error = self._error or _fit_for_future(error)
        self._begin_shutting_down()

    def halt(self) -> None:
        """Begin no more callbacks; :meth:`stop` does the rest."""
        self._advance(Input.HALT)
        self.runner.halt()

    async def stop(self) -> None:
        """Let the running callback end, settle its message and unsubscribe; other messages go back."""
        await asyncio.shield(self._begin_shutting_down())

    def _begin_shutting_down(self) -> "asyncio.Task[None]":
        if self._shutting_down is None:
            self._advance(Input.STOP)
            self._shutting_down = self._loop.create_task(self._shut_down())
        return self._shutting_down

    async def _shut_down(self) -> None:
        self._resubscriber.cancel()
        for task in self._background:
            task.cancel()
        try:
            await let_callbacks_end(
                self.runner, self.queue_name, self._options.stop_timeout, self._give_back_unfinished
            )
        except Exception as error:
            # The caller that waits for the end must get this error, too.
            _log.exception("The callbacks of %r have not ended well", self)
            self._error = self._error or error
        if self._subscription is not None:
            await self._subscription.end()
        self._advance(Input.SHUT_DOWN)
        # An error of the last callback counts, although the consumer was being stopped.
        if self._error is None:
            self.result.set_result(self)
        else:
            self.result.set_exception(self._error)
            # Mark the error as retrieved, so that asyncio does not log it: it was logged where it arose.
            self.result.exception()

    def _give_back_unfinished(self) -> None:
        _log.error(
            "A callback of %r has not ended within %g s; its message goes back to the queue",
            self,
            self._options.stop_timeout,
        )
        if self._subscription is not None:
            self._subscription.settle_no_more()

    def __repr__(self) -> str:
        return f"Consumer(queue={self.queue_name}, tag={self.tag})"


def _forbidden(queue_name: str, error: AMQPError) -> PermissionException:
    return name_permission(PermissionException("queue", queue_name, error.reply_text), error, CONSUME)


def _fit_for_future(error: BaseException) -> BaseException:
    """Wrap an error that has a special meaning as the result of a future, or cannot be set at all."""
    if not isinstance(error, StopIteration | asyncio.CancelledError | GeneratorExit):
        return error
    wrapped = RuntimeError(f"the callback raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
