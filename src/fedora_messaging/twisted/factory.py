"""The factory that keeps a connection up, publishes and consumes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred, fail, gatherResults

from .. import config
from ..client.consuming.stats import ConsumerStats
from ..client.group import ConsumerGroup
from ..frontends.consuming import QueuePlan, queue_plan
from ..frontends.publishing import prepare
from ..message import Message
from ..monitoring.snapshot import Snapshot
from ..options import ConnectionOptions, QosOptions
from ..settings.to_options import consumer_options, qos_options
from ..sync.service import Service
from .consumer import Consumer, engine_callback
from .engine import Engine
from .protocol import FedoraMessagingProtocolV2
from .stats import ConsumerStatistics, FactoryStatistics

if TYPE_CHECKING:
    from ..client.amqp.connection import Connection
    from ..client.supervisor import Supervisor


class ConsumerRecord(NamedTuple):
    """A consumer with the queue and bindings that the program asked for.

    Attributes:
        consumer: The consumer.
        queue: Settings of its queue; the key ``queue`` holds the name.
        bindings: Bindings of the queue, one for each routing key.
    """

    consumer: Consumer
    queue: Mapping[str, Any]
    bindings: Sequence[Mapping[str, Any]]


class FedoraMessagingFactoryV2:
    """Keeps one connection up, publishes and consumes over it.

    The connection is not Twisted's: the asyncio client makes it, in its own thread, from :meth:`doStart` on.
    The attributes of Twisted's reconnecting factories exist and take effect.

    Args:
        parameters: Where to connect.
        confirms: Kept for compatibility: publishes are always confirmed.

    Attributes:
        protocol: Class of the objects that :meth:`when_connected` gives.
        engine: The asyncio client.
    """

    protocol: type[FedoraMessagingProtocolV2]

    def __init__(
        self, parameters: ConnectionOptions, confirms: bool = True, *, service: Service | None = None
    ) -> None:
        self.protocol = FedoraMessagingProtocolV2
        self.engine: Engine = Engine(parameters, service)
        self._parameters = parameters
        self._confirms = confirms
        self._protocols: dict[Connection, FedoraMessagingProtocolV2] = {}
        self._records: list[ConsumerRecord] = []
        self._stats = FactoryStatistics()
        self._last_snapshot = Snapshot(
            connected=False,
            consuming=False,
            reason="not started",
            published=0,
            consumed=ConsumerStats(),
            reconnects=0,
            blocked=None,
            queues=(),
        )

    def __repr__(self) -> str:
        return f"FedoraMessagingFactoryV2(parameters={self._parameters!r}, confirms={self._confirms})"

    # Start and stop

    def doStart(self) -> None:
        """Connect, and carry out the requests made so far."""
        self.engine.start()

    def stopFactory(self) -> "Deferred[None]":
        """Let running callbacks and, for some seconds, pending publishes end; close the connection."""
        service = self.engine.service

        def keep_numbers(_none: None) -> None:
            if service is not None:
                self._last_snapshot = service.snapshot()._replace(
                    connected=False, consuming=False, reason="stopped", queues=()
                )
            self._protocols.clear()

        return self.engine.stop().addCallback(keep_numbers)

    def buildProtocol(self, addr: object) -> FedoraMessagingProtocolV2:
        """Make the object that represents one connection."""
        protocol = self.protocol(self._parameters, self._confirms)
        protocol.factory = self
        return protocol

    def when_connected(self) -> "Deferred[FedoraMessagingProtocolV2]":
        """Fires with the connection, as soon as there is one.

        Fails with ConnectionException if the broker refuses us; the client goes on trying nevertheless.
        """

        def wait(supervisor: "Supervisor") -> Any:
            return supervisor.connection()

        return self.engine.run(wait).addCallback(self._protocol_of)

    def _protocol_of(self, connection: "Connection") -> FedoraMessagingProtocolV2:
        protocol = self._protocols.get(connection)
        if protocol is None:
            protocol = self.buildProtocol(None)
            protocol._attach(connection)
            # We keep only the current one; a program may keep those of ended connections.
            self._protocols = {connection: protocol}
        return protocol

    # Publishing and consuming

    def publish(self, message: Message, exchange: str | None = None) -> "Deferred[None]":
        """Publish a message; fires when the broker has confirmed it, even if that takes several connections.

        Fails like :func:`fedora_messaging.api.publish`, but without a timeout. Sends no signals.
        """
        try:
            encoded = prepare(message, exchange)
        except Exception:
            return fail()
        return self.engine.publish(encoded)

    def consume(
        self, callback: Any, bindings: Any, queues: Mapping[str, Mapping[str, Any]]
    ) -> "Deferred[list[Consumer]]":
        """Consume queues; fires with one consumer for each queue when all are registered.

        Args:
            callback: A function, called in a thread, or a coroutine function.
            bindings: A table or list of tables as in the configuration.
            queues: Tables as in the configuration, by name.

        Fails with BadDeclaration, PermissionException, ConnectionException or NoFreeChannels.
        """
        plan, _qos = queue_plan(bindings, queues)
        return self._consume(callback, plan, None)

    def _consume(
        self, callback: Any, plan: QueuePlan, previous: Consumer | None
    ) -> "Deferred[list[Consumer]]":
        qos = qos_options(config.conf)

        async def register(supervisor: "Supervisor") -> list[Consumer]:
            return await self._register(supervisor, callback, plan, qos, previous)

        return self.engine.run(register)

    async def _register(
        self,
        supervisor: "Supervisor",
        callback: Any,
        plan: QueuePlan,
        qos: QosOptions,
        previous: Consumer | None,
    ) -> list[Consumer]:
        group = ConsumerGroup(
            supervisor,
            engine_callback(callback),
            plan,
            qos,
            shared=True,
            options=consumer_options(config.conf),
        )
        await group.start()
        known = {record.consumer._consumer: record.consumer for record in self._records}
        consumers = []
        for registered, (queue, bindings) in zip(group.consumers, plan, strict=True):
            consumer = known.get(registered)
            if consumer is None:
                consumer = previous or Consumer(queue.name)
                consumer._attach(self.engine, registered)
                self._records.append(_record(consumer, queue, bindings))
            consumer.callback = callback
            consumers.append(consumer)
        return consumers

    def cancel(self, consumers: Sequence[Consumer]) -> "Deferred[None]":
        """Cancel consumers; fires when their running callbacks have ended."""
        return gatherResults([consumer.cancel() for consumer in consumers]).addCallback(lambda _all: None)

    # State

    @property
    def _consumers(self) -> list[ConsumerRecord]:
        self._records = [record for record in self._records if record.consumer.running]
        return self._records

    @property
    def consuming(self) -> bool:
        """Whether messages can arrive now."""
        return self.snapshot().consuming

    def snapshot(self) -> Snapshot:
        """Return the state that the monitoring endpoints show."""
        service = self.engine.service
        return self._last_snapshot if service is None else service.snapshot()

    @property
    def stats(self) -> FactoryStatistics:
        """Counters over all connections of this factory."""
        snapshot = self.snapshot()
        self._stats.published = snapshot.published
        self._stats.consumed = ConsumerStatistics(**snapshot.ready_counters())
        return self._stats

    # Attributes and methods of Twisted's reconnecting factories

    @property
    def maxRetries(self) -> int | None:
        """Number of failed attempts after which to give up; ``None`` means never."""
        return self.engine.backoff.limit

    @maxRetries.setter
    def maxRetries(self, value: int | None) -> None:
        self.engine.backoff.limit = value

    @property
    def retries(self) -> int:
        """Number of failed attempts since the last connection."""
        return self.engine.backoff.attempts

    @property
    def initialDelay(self) -> float:
        """Upper limit of the first delay, in seconds."""
        return self.engine.backoff.initial

    @initialDelay.setter
    def initialDelay(self, value: float) -> None:
        self.engine.backoff.initial = value

    @property
    def delay(self) -> float:
        """Upper limit of the next delay, in seconds."""
        return self.engine.backoff.ceiling

    @delay.setter
    def delay(self, value: float) -> None:
        self.engine.backoff.ceiling = value

    @property
    def maxDelay(self) -> float:
        """Upper limit of all delays, in seconds."""
        return self.engine.backoff.maximum

    @maxDelay.setter
    def maxDelay(self, value: float) -> None:
        self.engine.backoff.maximum = value

    @property
    def factor(self) -> float:
        """Factor by which the delay grows after each attempt."""
        return self.engine.backoff.factor

    @factor.setter
    def factor(self, value: float) -> None:
        self.engine.backoff.factor = value

    @property
    def continueTrying(self) -> bool:
        """Whether to connect again when the connection is lost."""
        return self.engine.backoff.keep_trying

    @continueTrying.setter
    def continueTrying(self, value: int) -> None:
        self.engine.backoff.keep_trying = bool(value)

    def stopTrying(self) -> None:
        """Stop connecting again."""
        self.continueTrying = False
        service = self.engine.service
        if service is not None:
            service.stop_trying()

    def resetDelay(self) -> None:
        """Start with short delays again."""
        self.engine.backoff.reset()


def _record(consumer: Consumer, queue: Any, bindings: Sequence[Any]) -> ConsumerRecord:
    settings = {
        "queue": queue.name,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive,
        "arguments": dict(queue.arguments),
    }
    expanded = []
    for binding in bindings:
        entry = {"exchange": binding.exchange, "queue": queue.name, "routing_key": binding.routing_key}
        if binding.arguments is not None:
            entry["arguments"] = dict(binding.arguments)
        expanded.append(entry)
    return ConsumerRecord(consumer, settings, expanded)
