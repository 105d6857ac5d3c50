"""The Twisted service of the library, which an application can add to its own services or run alone."""

from typing import TYPE_CHECKING, Any, Self

from twisted.application.service import MultiService, Service
from twisted.internet.defer import succeed

from .. import config
from ..settings.to_options import connection_options
from ..transport.tls import client_context
from .engine import in_reactor, the_reactor
from .factory import FedoraMessagingFactoryV2
from .stats import FactoryStatistics

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from ..options import ConnectionOptions
    from ..sync.service import Service as BlockingService


class FedoraMessagingServiceV2(MultiService):
    """Connects when it is started; requests to its factory before the start wait for it.

    Args:
        amqp_url: Where to connect; by default ``amqp_url`` of the configuration.
        publish_confirms: Kept for compatibility: publishes are always confirmed.

    Attributes:
        factory: The factory, with which the application publishes and consumes.

    Raises:
        ConfigurationException: The URL or the TLS settings are wrong.
    """

    name = "fedora-messaging-servicev2"

    def __init__(self, amqp_url: str | None = None, publish_confirms: bool = True) -> None:
        parameters = connection_options(config.conf, amqp_url or None)
        self._set_up(parameters, publish_confirms, None)

    def _set_up(
        self, parameters: "ConnectionOptions", confirms: bool, service: "BlockingService | None"
    ) -> None:
        MultiService.__init__(self)
        if parameters.tls is not None:
            client_context(parameters.tls)
        self._parameters = parameters
        self._confirms = confirms
        self.factory: FedoraMessagingFactoryV2 = FedoraMessagingFactoryV2(
            parameters, confirms, service=service
        )
        self._service = _ConnectionService(self.factory)
        self._service.setServiceParent(self)
        if service is not None and service.monitored:
            monitoring = Service()
            monitoring.setName("monitoring")
            monitoring.setServiceParent(self)

    @classmethod
    def _around(cls, service: "BlockingService") -> Self:
        """Make a Twisted service of a blocking one; it starts and stops with the reactor."""
        self = cls.__new__(cls)
        self._set_up(service.options, True, service)
        in_reactor(self._run_with_reactor)
        return self

    def _run_with_reactor(self) -> None:
        self.startService()
        the_reactor().addSystemEventTrigger("before", "shutdown", self.stopService)

    def blocking_service(self) -> "BlockingService":
        """Return the client for blocking calls; start it first if necessary."""
        service = self.factory.engine.service
        # A client that is stopping still serves the callbacks that run.
        return service if service is not None and not service.closed else self.factory.engine.start()

    @property
    def survives_fork(self) -> bool:
        """Whether a forked child can use it: until the start it has neither threads nor connections."""
        return self.factory.engine.service is None

    @property
    def stats(self) -> FactoryStatistics:
        """Counters of the factory."""
        return self.factory.stats

    @property
    def consuming(self) -> bool:
        """Whether messages can arrive now."""
        return self.factory.consuming

    def stopService(self) -> "Deferred[Any]":
        """Let running callbacks end and close the connection; the service may be started again."""

        def stop_children(_none: None) -> "Deferred[Any]":
            if self.factory.engine.service is not None:
                return succeed(None)  # the service was started again meanwhile
            stopped: Deferred[Any] = MultiService.stopService(self)
            return stopped

        return self.factory.stopFactory().addCallback(stop_children)


class _ConnectionService(Service):
    """The connection, as a child service."""

    def __init__(self, factory: FedoraMessagingFactoryV2) -> None:
        self.factory = factory
        options = factory.engine.options
        where = options.unix_path or f"{options.host}:{options.port}"
        self.setName(f"ssl:{where}" if options.tls is not None else where)

    def startService(self) -> None:
        """Connect."""
        super().startService()
        self.factory.doStart()
