"""Giving a message back to the broker for later, or for good.

A message that is to be tried again is published, with a confirm, to a delay queue whose messages expire into
the consumed queue; only then the delivery is acknowledged. So a crash at any moment loses nothing, though it
may duplicate.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ...exceptions import BadDeclaration, ChannelClosed, EncodingError, PublishReturned, Unroutable
from ...logs import logger
from ...options import QueueOptions, RetryOptions
from ...protocol.errors import PRECONDITION_FAILED, RESOURCE_LOCKED
from ...wire import methods as m
from ...wire.errors import WireError
from ...wire.properties import (
    PERSISTENT,
    BasicProperties,
    PropertyScan,
    decode_properties,
    encode_properties,
)
from ..amqp.topology import declare, declare_alone, ensure
from ..consuming.history import HEADER, History, without_traces
from ..publishing.awaited import AwaitedPublish
from ..publishing.outgoing import Encoded

if TYPE_CHECKING:
    from ..consuming.delivery import Raw
    from ..supervisor import Supervisor

_log = logger(__name__)

#: Parts of a delay by which it is shortened at random, so that what failed together is not tried together.
#: Few, because each has a queue: messages expire at the head of a queue only.
_JITTER: Final = (1.0, 0.9, 0.8, 0.7)
#: How long a delay queue outlives its last use, beyond its delay, in milliseconds.
_LINGER: Final = 60_000
#: Bytes, with room for what :func:`declare_alone` adds.
_NAME_MAX: Final = 250


class Redelivery:
    """Publishes copies of deliveries of one queue.

    Args:
        supervisor: Whose publisher and connection are used.
        quorum: The consumed queue is a quorum queue; then those that belong to it are, too.
        choose: Chooses one of several numbers at random.
    """

    def __init__(
        self,
        supervisor: "Supervisor",
        quorum: bool,
        choose: Callable[[tuple[float, ...]], float] = random.choice,
    ) -> None:
        self._supervisor = supervisor
        self._quorum = quorum
        self._choose = choose
        self._made: set[str] = set()
        # Names of delay queues that are somebody else's queues.
        self._foreign: set[str] = set()

    async def retry(self, raw: "Raw", history: History, options: RetryOptions) -> None:
        """Have the message come again after the delay that follows from its history.

        Raises:
            PublishException: The broker does not take it.
            BadDeclaration: The broker refuses the delay queue.
            ConnectionException: The broker refuses us.
            EncodingError: The headers have no room for the history.
        """
        ceiling = min(options.max_delay, options.delay * 2.0 ** min(history.attempts - 1, 64))
        properties = _with_history(raw, history)
        queue = self._delay_queue(raw.queue, ceiling * self._choose(_JITTER))
        if queue.name not in self._foreign:
            try:
                await self._publish(raw, properties, queue)
            except BadDeclaration as error:
                if not _is_there_otherwise(error):
                    raise
                # What is published there might never come back.
                _log.warning("%s; another queue is used in its place", error)
                self._foreign.add(queue.name)
            else:
                return
        await self._publish(raw, properties, replace(queue, name=_other_name(queue)))

    async def dead_letter(self, raw: "Raw", history: History, queue: str) -> None:
        """Keep the message in a queue for people to look at, if need be without its history.

        The queue is declared only if it is missing: it may be an operator's, with any arguments. Raises what
        :meth:`retry` does.
        """
        try:
            await self._keep(raw, _with_history(raw, history), queue)
        except EncodingError as error:
            _log.warning("A message for the queue %s is kept there without its history: %s", queue, error)
            await self._keep(raw, _with_own_headers(raw), queue)

    async def _keep(self, raw: "Raw", properties: bytes, queue: str) -> None:
        try:
            await self._confirmed(raw, properties, queue)
        except PublishReturned as error:
            if not isinstance(error.reason, Unroutable):
                raise
            await self.prepare(queue)
            await self._confirmed(raw, properties, queue)

    async def prepare(self, queue: str) -> None:
        """Declare the queue for dead letters, unless there is one of its name.

        Raises:
            BadDeclaration: There is none, and the broker does not let us declare it.
            ConnectionException: The broker refuses us.
        """
        arguments = {"x-queue-type": "quorum"} if self._quorum else {}
        options = QueueOptions(queue, durable=True, arguments=arguments)
        await self._supervisor.with_connection(lambda connection: ensure(connection, options))

    async def give_back(self, raw: "Raw", history: History) -> None:
        """Put the message into the queue that its history names, at once; raises what :meth:`retry` does."""
        await self._publish(raw, _with_history(raw, history), QueueOptions(history.queue, passive=True))

    def _delay_queue(self, queue: str, seconds: float) -> QueueOptions:
        milliseconds = max(1, round(seconds * 1000))
        arguments: dict[str, Any] = {
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
        }
        if self._quorum:
            # A node that dies while it moves a message must not lose it. Such a queue stays for ever: one
            # that expires is ended by RabbitMQ although it is used, with the messages that are in it.
            arguments |= {
                "x-queue-type": "quorum",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }
        else:
            arguments["x-expires"] = 2 * milliseconds + _LINGER
        return QueueOptions(_delay_queue_name(queue, milliseconds), durable=True, arguments=arguments)

    async def _publish(self, raw: "Raw", properties: bytes, queue: QueueOptions) -> None:
        try:
            await self._declare_and_publish(raw, properties, queue)
        except PublishReturned as error:
            # A queue that is full refuses again; one that expired, or was deleted, between the two does not.
            if not isinstance(error.reason, Unroutable):
                raise
            _log.info("The queue %s was gone: %s", queue.name, error)
            self._made.discard(queue.name)
            await self._declare_and_publish(raw, properties, queue)

    async def _declare_and_publish(self, raw: "Raw", properties: bytes, queue: QueueOptions) -> None:
        if "x-dead-letter-strategy" in queue.arguments:
            await self._make(queue)
        else:
            # Declared each time: that also makes an unused queue live on.
            await self._supervisor.with_connection(lambda connection: declare(connection, queue, []))
        await self._confirmed(raw, properties, queue.name)

    async def _make(self, queue: QueueOptions) -> None:
        """Declare a delay queue of a quorum queue, once."""
        async with self._supervisor.declaring:
            if queue.name not in self._made:
                await self._supervisor.with_connection(lambda connection: declare_alone(connection, queue))
                self._made.add(queue.name)

    async def _confirmed(self, raw: "Raw", properties: bytes, queue: str) -> None:
        method = m.BasicPublish("", queue, True).encode()
        with AwaitedPublish(Encoded("", queue, method, properties, raw.body or b"", True)) as publish:
            self._supervisor.submit(publish.out)
            await publish.confirmed


def _with_history(raw: "Raw", history: History) -> bytes:
    """Return the properties of a copy: persistent, and with what was tried."""
    properties = _properties(raw)
    properties.headers = {**without_traces(properties.headers), HEADER: history.as_table()}
    properties.delivery_mode = PERSISTENT
    return encode_properties(properties)


def _with_own_headers(raw: "Raw") -> bytes:
    """Return the properties of a copy whose headers are those that came, byte for byte.

    They came in one frame, so they fit into one again.
    """
    headers = PropertyScan(raw.properties).headers
    return encode_properties(_properties(raw), None if headers is None else raw.properties[slice(*headers)])


def _properties(raw: "Raw") -> BasicProperties:
    """Return the properties that came, without what would hold only for the original."""
    try:
        properties = decode_properties(raw.properties)
    except WireError:
        # Nobody can read them; the body is kept at least.
        return BasicProperties()
    # The broker would compare the one with our login, and let the other make the delay shorter.
    properties.user_id = None
    properties.expiration = None
    return properties


def _delay_queue_name(queue: str, milliseconds: int) -> str:
    # Names that begin with "amq." belong to the broker.
    if queue.startswith("amq."):
        return f"retry.{milliseconds}.{queue}"
    name = f"{queue}.retry.{milliseconds}"
    return name if len(name.encode()) <= _NAME_MAX else f"retry.{milliseconds}.{_digest(queue)}"


def _other_name(queue: QueueOptions) -> str:
    """Return a name for a delay queue whose own name is taken."""
    mark = _digest(f"{queue.name} {sorted(queue.arguments.items())}")[:8]
    name = f"{queue.name}.{mark}"
    if len(name.encode()) <= _NAME_MAX:
        return name
    return f"retry.{queue.arguments['x-message-ttl']}.{_digest(name)}"


def _is_there_otherwise(error: BadDeclaration) -> bool:
    """Whether a queue was refused because there is one of its name that is another one."""
    reason = error.reason
    return isinstance(reason, ChannelClosed) and reason.reply_code in (PRECONDITION_FAILED, RESOURCE_LOCKED)


def _digest(name: str) -> str:
    """Return a short stand-in for a name that is too long."""
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()[:32]
