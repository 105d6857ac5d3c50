"""The object that represents one connection to the broker."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, gatherResults, succeed

from .. import config
from ..client.amqp import topology
from ..client.amqp.connection import Connection
from ..exceptions import ConnectionException
from ..message import Message
from ..options import BindingOptions, ConnectionOptions, ExchangeOptions, QueueOptions
from ..settings.to_options import queue_options

if TYPE_CHECKING:
    from ..client.supervisor import Supervisor
    from .consumer import Consumer
    from .factory import FedoraMessagingFactoryV2


class BindingArgument(config.BaseBinding):
    """A binding of a queue for one routing key."""

    routing_key: str


class FedoraMessagingProtocolV2:
    """One connection to the broker; :meth:`FedoraMessagingFactoryV2.when_connected` gives it.

    Args:
        parameters: Where to connect.
        confirms: Kept for compatibility: publishes are always confirmed.

    Attributes:
        factory: The factory that the connection belongs to.
        ready: Fires with the protocol when the connection can be used.
    """

    name = "FedoraMessaging:Protocol"
    factory: "FedoraMessagingFactoryV2"

    def __init__(self, parameters: ConnectionOptions, confirms: bool = True) -> None:
        self.ready: Deferred[FedoraMessagingProtocolV2] = Deferred()
        self._parameters = parameters
        self._confirms = confirms
        self._connection: Connection | None = None

    def _attach(self, connection: Connection) -> None:
        self._connection = connection
        if not self.ready.called:
            self.ready.callback(self)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self._connection is None or self._connection.closed.done()

    @property
    def _consumers(self) -> "dict[str | None, Consumer]":
        return {record.consumer.queue: record.consumer for record in self.factory._consumers}

    @property
    def _publish_channel(self) -> "_PublishChannel":
        return _PublishChannel(self)

    def publish(self, message: Message, exchange: str) -> "Deferred[None]":
        """Publish on this connection; fires when the broker has confirmed the message."""
        if self.is_closed:
            return fail(_closed())
        return self.factory.publish(message, exchange)

    def consume(
        self, callback: Any, queue: str, previous_consumer: "Consumer | None" = None
    ) -> "Deferred[Consumer]":
        """Consume an existing queue; fires with the consumer."""
        if self.is_closed:
            return fail(_closed())
        options = QueueOptions(queue, passive=True)
        return self.factory._consume(callback, [(options, [])], previous_consumer).addCallback(
            lambda consumers: consumers[0]
        )

    def declare_exchanges(self, exchanges: Sequence[Mapping[str, Any]]) -> "Deferred[None]":
        """Declare exchanges in the given order; each is an ``ExchangeDefinition``."""

        async def declare(_supervisor: "Supervisor") -> None:
            for settings in exchanges:
                await topology.declare_exchange(self._open(), _exchange_options(settings))

        return self._run(declare)

    def declare_queue(self, queue: Mapping[str, Any]) -> "Deferred[str]":
        """Declare a queue, which is a ``NamedQueueConfig``; fires with its name."""
        return self.declare_queues([queue]).addCallback(lambda names: names[0])

    def declare_queues(self, queues: Sequence[Mapping[str, Any]]) -> "Deferred[list[str]]":
        """Declare queues in the given order; fires with their names."""

        async def declare(_supervisor: "Supervisor") -> list[str]:
            return [await topology.declare(self._open(), _queue_options(queue), []) for queue in queues]

        return self._run(declare)

    def bind_queues(self, bindings: Sequence[Mapping[str, Any]]) -> "Deferred[None]":
        """Bind queues; each binding is a ``BindingArgument``, which may have ``arguments`` too."""

        async def bind(_supervisor: "Supervisor") -> None:
            for binding in bindings:
                options = BindingOptions(
                    binding["exchange"], binding["routing_key"], binding.get("arguments")
                )
                await topology.bind(self._open(), binding["queue"], options)

        return self._run(bind)

    def halt(self) -> "Deferred[None]":
        """Cancel the consumers, letting their running callbacks end."""
        if self.is_closed:
            return succeed(None)
        consumers = [record.consumer for record in self.factory._consumers]
        return gatherResults([consumer.cancel() for consumer in consumers]).addCallback(_nothing)

    def close(self) -> "Deferred[None]":
        """Cancel the consumers, then close the connection; the factory makes a new one."""
        if self.is_closed:
            return succeed(None)
        return self.halt().addCallback(lambda _result: self.factory.engine.run(self._close))

    async def _close(self, _supervisor: "Supervisor") -> None:
        if self._connection is not None:
            await self._connection.close()

    def _run(self, work: Any) -> "Deferred[Any]":
        if self.is_closed:
            return fail(_closed())
        return self.factory.engine.run(work)

    def _open(self) -> Connection:
        if self._connection is None or self.is_closed:
            raise _closed()
        return self._connection


class _PublishChannel:
    """The publisher's channel, for programs that close it themselves."""

    def __init__(self, protocol: FedoraMessagingProtocolV2) -> None:
        self._protocol = protocol

    def close(self) -> "Deferred[None]":
        """Close the channel; the next publish opens a new one."""

        async def close(supervisor: "Supervisor") -> None:
            await supervisor.publisher.close_channel()

        return self._protocol._run(close)


def _queue_options(settings: Mapping[str, Any]) -> QueueOptions:
    rest = {key: value for key, value in settings.items() if key != "queue"}
    return queue_options(settings["queue"], rest, config.conf["passive_declares"])


def _exchange_options(settings: Mapping[str, Any]) -> ExchangeOptions:
    return ExchangeOptions(
        name=settings["exchange"],
        type=settings["exchange_type"],
        durable=bool(settings.get("durable", False)),
        auto_delete=bool(settings.get("auto_delete", False)),
        arguments=settings.get("arguments") or {},
        passive=bool(settings.get("passive", config.conf["passive_declares"])),
    )


def _closed() -> ConnectionException:
    return ConnectionException("the connection is closed", reason="the connection is closed")


def _nothing(_result: object) -> None:
    return None
