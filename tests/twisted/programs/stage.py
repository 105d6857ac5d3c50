"""What a scenario gets: a broker, names, proxies, services, and their removal at its end."""

from __future__ import annotations

import random
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.support.admin import Admin, Names
from tests.support.proxy import Proxy
from tests.support.waiting import WAIT
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.python import threadable

from fedora_messaging import api, config
from fedora_messaging.twisted.service import FedoraMessagingServiceV2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fedora_messaging.message import Message
    from fedora_messaging.twisted.consumer import Consumer

Result = TypeVar("Result")
ServiceT = TypeVar("ServiceT", bound=FedoraMessagingServiceV2)
ErrorT = TypeVar("ErrorT", bound=BaseException)

#: Nobody listens here, so every attempt to connect is refused.
NOBODY: Final = "amqp://user:canary-password@127.0.0.1:1"
#: Where a scenario listens: below the ephemeral ports.
_PORTS: Final = range(20_000, 32_000)
_POLL: Final = 0.01


def the_reactor() -> Any:
    """The installed reactor."""
    from twisted.internet import reactor

    return reactor


def in_reactor_thread() -> bool:
    """Whether this is the thread of the reactor."""
    current: Any = threadable
    return bool(current.isInIOThread())


class Stage:
    """The surroundings of one scenario.

    Attributes:
        url: URL of a broker that other scenarios use too.
        reactor: Name of the reactor that runs.
        admin: An independent client.
    """

    def __init__(self, url: str, reactor: str) -> None:
        self.url = url
        self.reactor = reactor
        self.names = Names(url)
        self.admin = Admin(url)
        self._proxies: list[Proxy] = []
        self._services: list[FedoraMessagingServiceV2] = []
        self._releases: list[Callable[[], object]] = []
        config.conf = config.LazyConfig()

    def queue(self, **arguments: Any) -> str:
        """A new queue that is bound for its messages."""
        return self.admin.declare(self.names(), **arguments)

    def proxy(self) -> Proxy:
        """A proxy in front of the broker."""
        proxy = Proxy(self.url).__enter__()
        self._proxies.append(proxy)
        return proxy

    def use(self, url: str = "") -> None:
        """Set up `api` for the broker."""
        config.conf["amqp_url"] = url or self.url

    def service(self, url: str = "") -> FedoraMessagingServiceV2:
        """A running service, quick to connect again."""
        return self.run(FedoraMessagingServiceV2(url or self.url))

    def run(self, service: ServiceT) -> ServiceT:
        """Start a service, which is stopped at the end."""
        service.factory.initialDelay = service.factory.delay = 0.05
        self._services.append(service)
        start(service)
        return service

    def gate(self) -> Gate:
        """A gate that is open at the latest at the end."""
        gate = Gate(self)
        self._releases.append(gate.open)
        return gate

    async def eventually(self, check: Callable[[], Result | None], timeout: float = WAIT) -> Result:
        """Call until the result is true, and return it, while the reactor runs."""
        reactor = the_reactor()
        deadline = reactor.seconds() + timeout
        while True:
            result = check()
            if result:
                return result
            assert reactor.seconds() < deadline, "the awaited state did not come"
            await deferLater(reactor, _POLL)

    async def close(self) -> None:
        """Leave nothing behind."""
        for release in self._releases:
            release()
        for service in self._services:
            await stop(service)
        await in_thread(api.close)
        for proxy in self._proxies:
            proxy.__exit__()
        self.admin.close()
        self.names.delete_all()


class Gate:
    """Where callbacks wait, in threads or coroutines, until they are let through."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._open = threading.Event()
        self.arrived = 0
        self.inside = 0
        self.most_inside = 0

    def pass_through(self, *_message: Message) -> None:
        """Wait; a callback."""
        self.arrived += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        assert self._open.wait(2 * WAIT)
        self.inside -= 1

    def open(self) -> None:
        """Let all through, also those to come."""
        self._open.set()

    async def reached(self, count: int = 1) -> None:
        """Somebody, or several, came."""
        await self._stage.eventually(lambda: self.arrived >= count)


class Recorder:
    """A callback that keeps what it is called with."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.in_reactor_thread: list[bool] = []

    def __call__(self, message: Message) -> None:
        self.in_reactor_thread.append(in_reactor_thread())
        self.messages.append(message)

    @property
    def numbers(self) -> list[int]:
        return [message.body["number"] for message in self.messages]


def in_thread(call: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
    """Call something that blocks, while the reactor runs."""
    deferred: Deferred[Result] = deferToThread(call, *arguments)
    return deferred


def from_thread(call: Any, *arguments: Any) -> Any:
    """What programs do in plain callbacks: wait for a Deferred in another thread than the reactor's."""
    return blockingCallFromThread(the_reactor(), call, *arguments)


def start(service: Any) -> None:
    """Start a service, which Twisted's declarations call untyped."""
    service.startService()


def stop(service: Any) -> Deferred[Any]:
    """Stop a service, whether that gives a Deferred or not."""
    return maybeDeferred(service.stopService)


async def nothing(awaited: Awaitable[object]) -> bool:
    """Whether something fires with None."""
    return await awaited is None


async def failure_of(awaited: Awaitable[object], kind: type[ErrorT]) -> ErrorT:
    """The error with which something must fail, in the reactor's thread."""
    try:
        result = await awaited
    except kind as error:
        assert in_reactor_thread()
        return error
    raise AssertionError(f"got {result!r} instead of {kind.__name__}")


def raised_by(call: Callable[[], object], kind: type[ErrorT]) -> ErrorT:
    """The error that a call must raise, rather than return as a failure."""
    try:
        result = call()
    except kind as error:
        return error
    raise AssertionError(f"got {result!r} instead of {kind.__name__}")


def is_pending(*deferreds: Deferred[Any]) -> bool:
    """Whether none of some Deferreds has fired."""
    return not any(deferred.called for deferred in deferreds)


def counts(consumer: Consumer) -> dict[str, int]:
    """A consumer's counters that are not zero."""
    return {name: count for name, count in consumer.stats.as_dict().items() if count}


def free_port() -> int:
    """A port nobody listens on now."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")
