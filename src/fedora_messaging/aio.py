"""Publish and consume in asyncio programs.

>>> async with aio.connect() as bus, bus.subscribe("bodhi.#") as deliveries:
...     await bus.publish(Message(topic="bodhi.update.comment", body={"karma": 1}))
...     async for delivery in deliveries:
...         print(delivery.message.summary)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, Self

from . import config
from .client.consuming.consumer import Consumer
from .client.consuming.delivery import Invalid, Raw, is_large, receive, receive_aside
from .client.consuming.hooks import Hooks
from .client.consuming.inbox import Inbox
from .client.consuming.verdict import Action
from .client.group import ConsumerGroup
from .client.publishing.awaited import AwaitedBatch, AwaitedPublish
from .client.publishing.batch import Batch, outcome_of
from .client.publishing.outgoing import Encoded, timed_out
from .client.supervisor import Supervisor
from .exceptions import BaseException as LibraryException
from .exceptions import ConnectionException
from .frontends.batches import MessageBatch, record_all
from .frontends.consuming import Callback, check_callback, hooks_of, queue_plan
from .frontends.publishing import prepare, publish_started, telling_outcome
from .frontends.recording import is_recording, recorded
from .limits import PREFETCH_MAX
from .logs import logger
from .message import Message
from .options import (
    BindingOptions,
    ConnectionOptions,
    ConsumerOptions,
    OutboxOptions,
    QosOptions,
    QueueOptions,
)
from .settings.to_options import connection_options, consumer_options, outbox_options

if TYPE_CHECKING:
    from .client.outbox.sender import Outbox

_log = logger(__name__)

__all__ = ["Bus", "Delivery", "Subscription", "connect"]

#: Seconds to wait for the broker when connecting, and for a confirm.
_TIMEOUT: Final = 30.0


def connect(url: str | None = None, *, timeout: float | None = _TIMEOUT) -> "Bus":
    """Make a bus; enter it with ``async with``.

    Args:
        url: AMQP URL; by default ``amqp_url`` of the configuration.
        timeout: Seconds to wait for the first connection; ``None`` waits for ever.

    Raises:
        ConfigurationException: The URL or a setting is wrong; TLS files are read when the bus is entered.
    """
    return Bus(connection_options(config.conf, url), timeout, outbox_options(config.conf))


class Bus:
    """A connection that is kept up, shared by all tasks of one event loop; see :func:`connect`."""

    def __init__(
        self, options: ConnectionOptions, timeout: float | None, outbox: OutboxOptions | None = None
    ) -> None:
        self._address = options.address
        self._supervisor = Supervisor(options)
        self._timeout = timeout
        self._outbox_options = outbox
        self._outbox: Outbox | None = None

    async def __aenter__(self) -> Self:
        if is_recording():
            return self
        if self._outbox_options is not None:
            from .client.outbox.sender import Outbox

            # With an outbox, a program can publish without waiting for the broker.
            self._outbox = Outbox(self._outbox_options)
            self._supervisor.attach_sender(self._outbox)
            self._supervisor.start()
            return self
        try:
            async with asyncio.timeout(self._timeout):
                await self._supervisor.connection()
        except TimeoutError:
            await self._supervisor.close()
            text = (
                f"no broker answered at {self._address} within {self._timeout:g} s; "
                "start one (`fedora-messaging broker`) or set amqp_url"
            )
            raise ConnectionException(text, reason=text) from None
        except BaseException:
            await self._supervisor.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let running callbacks end, unsubscribe and close the connection."""
        await self._supervisor.close()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; the bus reconnects by itself."""
        return self._supervisor.connected

    async def publish(
        self,
        message: Message,
        exchange: str | None = None,
        timeout: float | None = _TIMEOUT,
        *,
        mandatory: bool | None = None,
    ) -> None:
        """Publish a message and return when the broker has confirmed it, or when it is in the outbox.

        Any number of publishes may run at once. If the connection is lost meanwhile, the library connects
        and sends the message again, so that it may arrive twice.

        With an outbox (the table ``outbox`` of the configuration) the library stores the message first, and
        sends it in the background; then this method does not raise the broker's errors below.

        Args:
            message: The message; it is validated first.
            exchange: By default ``publish_exchange`` of the configuration.
            timeout: Limit for the whole call, in seconds; ``None`` waits for ever.
            mandatory: Whether to fail if no queue is bound for the message; by default the setting in the
                table ``publisher`` of the configuration.

        Raises:
            jsonschema.ValidationError: The message violates its schema. Nothing was sent.
            PublishTimeout: No confirm arrived in time; if the exception's ``sent`` is true, the message
                **may** have arrived nevertheless.
            PublishForbidden: The broker does not let us publish there.
            ExchangeNotFound: The exchange does not exist.
            PublishNacked: The broker refused the message, for example because a queue is full.
            PublishReturned: No queue was bound for the ``mandatory`` message.
            OutboxFull: The outbox holds as much as it may.
            OutboxError: The outbox cannot be written.
            ConnectionException: The broker refuses us.
        """
        if recorded(message):
            return
        publish_started(message)
        with telling_outcome(message):
            await self._confirmed(prepare(message, exchange, mandatory), timeout)

    async def publish_many(
        self,
        messages: Iterable[Message],
        exchange: str | None = None,
        timeout: float | None = _TIMEOUT,
        *,
        mandatory: bool | None = None,
    ) -> list[Exception | None]:
        """Publish messages in order, without waiting for each confirm; return when all have an outcome.

        Args:
            messages: The messages; each is validated first. A generator is asked for the next one when there
                is room for it: at most 1000 messages are on their way.
            exchange: By default ``publish_exchange`` of the configuration.
            timeout: Limit for the whole call, in seconds; ``None`` waits for ever.
            mandatory: Whether a message fails if no queue is bound for it; by default the setting in the
                table ``publisher`` of the configuration.

        Returns:
            For each message, in their order, ``None`` if the broker has confirmed it, or if it is in the
            outbox; otherwise the exception that :meth:`publish` would have raised. One that fails does not
            hold up the others. If the iterable itself raises, so does this method, and nobody learns which of
            the messages before have arrived.
        """
        if is_recording():
            return record_all(messages)
        pending = AwaitedBatch(timeout, self._begin, self._supervisor)
        published = MessageBatch(pending.batch, exchange, mandatory)
        with pending:
            for encoded in published.encoded(messages, pending.is_over):
                await pending.publish(encoded)
            await pending.finish()
        return published.finish()

    def _begin(self, batch: Batch, encoded: Encoded) -> None:
        if self._outbox is None:
            self._supervisor.submit(batch.publish(encoded))
            return
        settle = batch.begin()
        stored = asyncio.wrap_future(self._outbox.put(encoded))
        stored.add_done_callback(lambda done: settle(outcome_of(done)))

    async def _confirmed(self, encoded: Encoded, timeout: float | None) -> None:
        if self._outbox is not None:
            await self._stored(self._outbox, encoded, timeout)
            return
        supervisor = self._supervisor
        with AwaitedPublish(encoded) as publish:
            out = publish.out
            if timeout is None:
                supervisor.submit(out)
                await publish.confirmed
                return
            if timeout <= 0:
                raise out.expire(timeout, None)
            timer = asyncio.get_running_loop().call_later(
                timeout,
                lambda: publish.set_outcome(out.expire(timeout, supervisor.blocked, supervisor.trouble)),
            )
            try:
                supervisor.submit(out)
                await publish.confirmed
            finally:
                timer.cancel()

    async def _stored(self, outbox: "Outbox", encoded: Encoded, timeout: float | None) -> None:
        expired = timed_out(timeout)
        if timeout is not None and timeout <= 0:
            raise expired
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wrap_future(outbox.put(encoded))
        except TimeoutError:
            raise expired from None

    def subscribe(
        self,
        *topics: str,
        queue: str | None = None,
        exchange: str = "amq.topic",
        prefetch: int = 10,
        auto_ack: bool = True,
        durable: bool = True,
        arguments: Mapping[str, Any] | None = None,
        consumer_arguments: Mapping[str, Any] | None = None,
        resubscribe: bool = False,
    ) -> "Subscription":
        """Declare a queue, bind it, and iterate over its messages.

        Args:
            topics: Topic patterns to bind; without any, an existing queue keeps its bindings.
            queue: Name of the queue; ``None`` makes an exclusive one that ends with the connection.
            exchange: Exchange to bind to.
            prefetch: How many messages the broker may send ahead.
            auto_ack: Whether to acknowledge each message when the program asks for the next one.
            durable: Whether a named queue survives a restart of the broker.
            arguments: Arguments of the queue, for example ``{"x-queue-type": "quorum"}``.
            consumer_arguments: Arguments of the subscription, for example ``{"x-stream-offset": "first"}``
                for a RabbitMQ stream. After a reconnect, reading a stream continues where it stopped.
            resubscribe: Whether to subscribe again when the broker cancels the subscription, for example
                because the queue was deleted, instead of ending with ConsumerCanceled.

        Returns:
            An asynchronous iterator of :class:`Delivery`, which can also be entered with ``async with``.

        Raises:
            ValueError: ``prefetch`` is out of AMQP's range.
        """
        options = QueueOptions(
            name=queue or "",
            durable=durable and queue is not None,
            auto_delete=queue is None,
            exclusive=queue is None,
            arguments=arguments or {},
        )
        if not 0 <= prefetch <= PREFETCH_MAX:
            raise ValueError(f"prefetch must be from 0 (no limit) to {PREFETCH_MAX}, not {prefetch}")
        inbox = Inbox()
        consumer = Consumer(
            lambda _consumer: inbox,
            options,
            [BindingOptions(exchange, topic) for topic in topics],
            QosOptions(prefetch),
            ConsumerOptions(arguments=consumer_arguments or {}, resubscribe=resubscribe),
        )
        return Subscription(self._supervisor, consumer, inbox, auto_ack)

    async def consume(
        self,
        callback: Callback,
        bindings: config.BindingsType | None = None,
        queues: dict[str, Any] | None = None,
    ) -> None:
        """Call, or await, a callback with each message, until it raises.

        The callback's exceptions have the same meaning as for :func:`fedora_messaging.api.consume`.

        Args:
            callback: A function, a coroutine function, a callable object or a class of such objects. A class
                may have hooks, as for :func:`fedora_messaging.api.consume`.
            bindings: By default those of the configuration.
            queues: By default those of the configuration.

        Raises:
            ValueError: An argument is wrong.
            HaltConsumer: The callback asked to stop.
            BadDeclaration: The broker refuses a queue or binding.
            PermissionException: The broker refuses to let us read a queue.
            ConsumerCanceled: The broker ended a consumer.
        """
        plan, qos = queue_plan(bindings, queues)
        checked = check_callback(callback)
        group = ConsumerGroup(self._supervisor, checked, plan, qos, options=consumer_options(config.conf))
        async with _hooked(hooks_of(callback, checked)):
            try:
                await group.start()
                error = await group.wait()
            finally:
                await group.stop()
            if error is not None:
                raise error


@asynccontextmanager
async def _hooked(hooks: Hooks) -> AsyncIterator[None]:
    if not hooks:
        yield
        return
    await _call_hook(hooks.start)
    try:
        yield
    except BaseException as error:
        try:
            await _call_hook(partial(hooks.stop, error))
        except Exception:
            _log.exception("The callback's stop() failed")
        raise
    await _call_hook(partial(hooks.stop, None))


async def _call_hook(hook: Callable[[], Any]) -> None:
    # A hook that is an ordinary function may block, just as such a callback may.
    result = await asyncio.to_thread(hook)
    if isawaitable(result):
        await result


class Delivery:
    """A received message, which you settle once: acknowledge it, put it back or refuse it.

    Attributes:
        message: The message; it is valid.
        redelivered: Whether it was delivered before, to this or another consumer.
    """

    __slots__ = ("_consumer", "_raw", "_settled", "message", "redelivered")

    def __init__(self, message: Message, raw: Raw, consumer: Consumer) -> None:
        self.message: Message[Any] = message
        self.redelivered: bool = raw.redelivered
        self._raw = raw
        self._consumer = consumer
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether the message was acknowledged, put back or refused."""
        return self._settled

    async def ack(self) -> None:
        """Acknowledge the message: it is processed."""
        self._settle(Action.ACK)

    async def nack(self) -> None:
        """Put the message back on the queue; the broker delivers it again at once."""
        self._settle(Action.REQUEUE)

    async def reject(self) -> None:
        """Refuse the message: the broker drops it, or dead-letters it if the queue is set up for that."""
        self._settle(Action.REFUSE)

    def _settle(self, action: Action) -> None:
        if self._settled:
            raise RuntimeError(f"the fate of message {self.message.id} is decided already")
        self._settled = True
        self._consumer.stats.processed += action is Action.ACK
        self._consumer.stats.rejected += action is Action.REQUEUE
        self._consumer.stats.dropped += action is Action.REFUSE
        self._consumer.report(self._raw, (action, None))


class Subscription:
    """An iterator over received messages; :meth:`Bus.subscribe` returns it.

    Leaving the loop by ``break`` or an exception does not settle the last message. Unless you have
    settled it, it goes back to the queue when the subscription, or the bus, is closed.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        consumer: Consumer,
        inbox: Inbox,
        auto_ack: bool,
    ) -> None:
        self._supervisor = supervisor
        self._auto_ack = auto_ack
        self._inbox = inbox
        self._consumer = consumer
        self._starting: asyncio.Task[None] | None = None
        self._closed = False
        self._last: Delivery | None = None
        self._receiving: dict[Raw, asyncio.Task[Message | Invalid]] = {}

    @property
    def queue_name(self) -> str:
        """Name of the queue; if the broker chooses it, the name is known after subscribing."""
        return self._consumer.queue_name

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Unsubscribe; unacknowledged messages go back to the queue."""
        self._closed = True
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._consumer.stop()

    async def _start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._supervisor.consume(self._consumer))
        # A caller that gives up waiting may come back later, so the subscribing task goes on.
        await asyncio.wait([self._starting])
        if not self._closed:
            self._starting.result()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """Return the next valid message; invalid ones are refused and counted.

        Raises:
            BadDeclaration: The broker refuses the queue or a binding.
            ConsumerCanceled: The queue was deleted.
        """
        if self._closed:
            raise StopAsyncIteration
        await self._start()
        if self._closed:
            raise StopAsyncIteration
        last, self._last = self._last, None
        if self._auto_ack and last is not None and not last.settled:
            await last.ack()
        while True:
            raw = await self._inbox.take()
            if raw is None:
                await self._ended()
                raise StopAsyncIteration
            if self._consumer.is_stale(raw):
                self._receiving.pop(raw, None)
                continue
            message = await self._receive(raw)
            if isinstance(message, Invalid):
                self._consumer.report(raw, (Action.REFUSE, None))
                continue
            self._last = Delivery(message, raw, self._consumer)
            return self._last

    async def _receive(self, raw: Raw) -> Message | Invalid:
        """Build the message; if the caller is cancelled meanwhile, the next call gets the delivery."""
        if not is_large(raw):
            return receive(raw, self._consumer.stats)
        work = self._receiving.get(raw)
        if work is None:
            work = self._receiving[raw] = asyncio.create_task(receive_aside(raw, self._consumer.stats))
        try:
            message = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._inbox.put_back(raw)
            raise
        del self._receiving[raw]
        return message

    async def _ended(self) -> None:
        try:
            await self._consumer.result
        except LibraryException as error:
            _log.info("The subscription of %r ended: %s", self.queue_name, error)
            raise
