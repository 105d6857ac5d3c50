"""Giving a message back to the broker, for another attempt later or to be kept.

To try a message again, a consumer publishes a copy, with a confirm, to a delay queue whose messages expire
into the consumed queue. It acknowledges the delivery only after that, so that a crash loses no message, but
may duplicate one.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...exceptions import BadDeclaration, ChannelClosed, EncodingError, PublishReturned, Unroutable
from ...logs import logger
from ...options import QueueOptions, RetryOptions
from ...protocol.errors import PRECONDITION_FAILED, RESOURCE_LOCKED
from ...wire import methods as m
from ...wire.errors import WireError
from ...wire.properties import BasicProperties, decode_properties
from ...wire.property_codec import PERSISTENT, PropertyScan, encode_properties
from ..amqp.topology import declare, declare_alone, ensure
from ..consuming.history import HEADER, History, without_traces
from ..publishing.awaited import AwaitedPublish
from ..publishing.outgoing import Encoded

if TYPE_CHECKING:
    from ..consuming.delivery import Raw
    from ..supervisor import Supervisor

_log = logger(__name__)

#: Each delay is multiplied by one of these at random, to spread messages that failed together. They are few,
#: because each delay needs its own queue: messages expire only at the head of a queue.
_JITTER: Final = (1.0, 0.9, 0.8, 0.7)
#: How long a delay queue outlives its last use, beyond its delay, in milliseconds.
_LINGER: Final = 60_000
#: Longest name of a queue in bytes, with room for the suffix that :func:`declare_alone` adds.
_NAME_MAX: Final = 250


class Redelivery:
    """Publishes copies of deliveries of one queue.

    Args:
        supervisor: Its publisher and connection are used.
        quorum: Whether the consumed queue is a quorum queue; then the delay queues and the dead-letter queue
            are, too.
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
        # Names of delay queues under which another queue exists.
        self._foreign: set[str] = set()

    async def retry(self, raw: "Raw", history: History, options: RetryOptions) -> None:
        """Have the message delivered again after the delay that follows from its history.

        Raises:
            PublishException: The broker does not take the copy.
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
                # Messages published to the other queue might never come back.
                _log.warning("%s; another queue is used in its place", error)
                self._foreign.add(queue.name)
            else:
                return
        await self._publish(raw, properties, queue._replace(name=_other_name(queue)))

    async def dead_letter(self, raw: "Raw", history: History, queue: str) -> None:
        """Keep the message in a queue for people to look at, without its history if that does not fit.

        The queue is declared only if it is missing, because an operator may have made it with other
        arguments. Raises what :meth:`retry` does.
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
        """Declare the queue for dead letters, unless a queue of its name exists.

        Raises:
            BadDeclaration: The queue does not exist, and the broker does not let us declare it.
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
            # A node that dies while it moves a message must not lose it. The queue gets no x-expires, because
            # RabbitMQ would delete it, with its messages, although it is in use. So it stays for ever.
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
            # The queue expired or was deleted between declaring and publishing, so declaring it again helps.
            if not isinstance(error.reason, Unroutable):
                raise
            _log.info("The queue %s was gone: %s", queue.name, error)
            self._made.discard(queue.name)
            await self._declare_and_publish(raw, properties, queue)

    async def _declare_and_publish(self, raw: "Raw", properties: bytes, queue: QueueOptions) -> None:
        if "x-dead-letter-strategy" in queue.arguments:
            await self._make(queue)
        else:
            # Declare the queue each time: that also begins its x-expires anew.
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
    """Return the properties of a copy: persistent, and with the history of attempts."""
    properties = _properties(raw)
    properties.headers = {**without_traces(properties.headers), HEADER: history.as_table()}
    properties.delivery_mode = PERSISTENT
    return encode_properties(properties)


def _with_own_headers(raw: "Raw") -> bytes:
    """Return the properties of a copy that has the headers of the original, byte for byte.

    They arrived in one frame, so they fit into one again.
    """
    headers = PropertyScan(raw.properties).headers
    return encode_properties(_properties(raw), None if headers is None else raw.properties[slice(*headers)])


def _properties(raw: "Raw") -> BasicProperties:
    """Return the properties of the original, without those that must not be copied."""
    try:
        properties = decode_properties(raw.properties)
    except WireError:
        # No program can decode them; keep at least the body.
        return BasicProperties()
    # The broker would compare user_id with our login, and expiration could shorten the delay.
    properties.user_id = None
    properties.expiration = None
    return properties


def _delay_queue_name(queue: str, milliseconds: int) -> str:
    # Names that begin with "amq." are reserved for the broker.
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
    """Whether a queue was refused because another queue has its name."""
    reason = error.reason
    return isinstance(reason, ChannelClosed) and reason.reply_code in (PRECONDITION_FAILED, RESOURCE_LOCKED)


def _digest(name: str) -> str:
    """Return a short stand-in for a name that is too long."""
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()[:32]
