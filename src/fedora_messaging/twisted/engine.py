"""Connects two threads: the reactor's, to which Deferreds belong, and the asyncio client's."""

import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..client.backoff import Backoff
from ..client.consuming.coroutine_runner import in_other_loop
from ..client.publishing.outgoing import Encoded, outgoing
from ..client.supervisor import Supervisor
from ..exceptions import ConnectionException
from ..message import Message
from ..options import ConnectionOptions
from ..sync.service import Service

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")
Work = Callable[[Supervisor], Coroutine[Any, Any, Result]]


def the_reactor() -> Any:
    """Return the application's reactor; without one, the import installs Twisted's default reactor."""
    from twisted.internet import reactor

    return reactor


def in_reactor(call: Callable[..., Any], *arguments: Any) -> None:
    """Schedule a call in the reactor's thread."""
    the_reactor().callFromThread(call, *arguments)


def reactor_callback(callback: Callable[[Message], Awaitable[Any]]) -> Callable[[Message], Awaitable[Any]]:
    """Make a coroutine function run in the reactor's event loop if it has one, instead of the client's."""
    return in_other_loop(callback, lambda: getattr(the_reactor(), "_asyncioEventloop", None))


class Engine:
    """The asyncio client of a factory.

    Requests that come before the start wait for it. No thread runs before the start, so that a program may
    fork until then.

    Args:
        options: Where to connect.
        service: A client that already runs, to use instead of a new one.
    """

    def __init__(self, options: ConnectionOptions, service: Service | None = None) -> None:
        self.options = options
        self.backoff: Backoff = service.backoff if service is not None else Backoff()
        self._service = service
        self._stopped = False
        self._waiting: list[Callable[[Service | None], None]] = []
        self._stops: dict[Service, list[Deferred[None]]] = {}
        # A blocking publish may start the client from any thread.
        self._lock = threading.RLock()

    @property
    def service(self) -> Service | None:
        """The running client, if it is running."""
        return self._service

    def start(self) -> Service:
        """Start the client unless it runs, and carry out the requests that have waited."""
        with self._lock:
            if self._service is None or self._service.closing:
                self.backoff.keep_trying = True
                self._service = Service(self.options, backoff=self.backoff)
                self._stopped = False
            service = self._service
            waiting, self._waiting = self._waiting, []
        service.connect()
        for call in waiting:
            call(service)
        return service

    def stop(self) -> "Deferred[None]":
        """Let running callbacks and, for some seconds, pending publishes end; close the connection.

        A second call while the client stops waits for the same end.
        """
        with self._lock:
            service = self._service
            waiting, self._waiting = self._waiting, []
            if service is None:
                self._stopped = True
        for call in waiting:
            call(None)
        if service is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        stops = self._stops.setdefault(service, [])
        stops.append(stopped)
        if len(stops) == 1:
            threading.Thread(target=self._close, args=(service,), name="fedora-messaging stop").start()
        return stopped

    def _close(self, service: Service) -> None:
        # Callbacks that still run may publish meanwhile.
        service.close()
        with self._lock:
            # Meanwhile another client may have been started.
            if self._service is service:
                self._service = None
                self._stopped = True
        in_reactor(self._fire_stops, service)

    def _fire_stops(self, service: Service) -> None:
        for stopped in self._stops.pop(service):
            if not stopped.called:
                stopped.callback(None)

    def run(self, work: Work[Result]) -> "Deferred[Result]":
        """Run a coroutine function in the client's event loop."""
        begun: list[Future[Result]] = []

        def cancel(_deferred: Deferred[Result]) -> None:
            for future in begun:
                future.cancel()

        deferred: Deferred[Result] = Deferred(cancel)

        def begin(service: Service | None) -> None:
            if deferred.called:
                return  # cancelled before the start
            if service is None:
                deferred.errback(Failure(_stopped()))
                return
            try:
                future = service.call(work)
            except ConnectionException:
                deferred.errback(Failure())
                return
            begun.append(future)
            future.add_done_callback(lambda future: in_reactor(_fire, deferred, future))

        self._when_started(begin)
        return deferred

    def publish(self, encoded: Encoded) -> "Deferred[None]":
        """Publish a message; fires when the broker has confirmed it, or when it is in the outbox."""
        deferred: Deferred[None] = Deferred(lambda _deferred: out.abandon())

        def on_outcome(error: Exception | None) -> None:
            in_reactor(_fire_published, deferred, error)

        out = outgoing(encoded, on_outcome)

        def begin(service: Service | None) -> None:
            if deferred.called:
                return  # cancelled before the start
            if service is None:
                deferred.errback(Failure(_stopped()))
            elif service.outbox is not None:
                stored = service.outbox.put(encoded)
                stored.add_done_callback(lambda stored: in_reactor(_fire, deferred, stored))
            else:
                service.submit(out)

        self._when_started(begin)
        return deferred

    def _when_started(self, call: Callable[[Service | None], None]) -> None:
        with self._lock:
            service = self._service
            if service is None and not self._stopped:
                self._waiting.append(call)
                return
        call(service)


def _stopped() -> ConnectionException:
    return ConnectionException("the service is stopped", reason="the service is stopped")


def _fire_published(deferred: "Deferred[None]", error: Exception | None) -> None:
    if deferred.called:
        return
    if error is None:
        deferred.callback(None)
    else:
        deferred.errback(Failure(error))


def _fire(deferred: "Deferred[Any]", future: "Future[Any]") -> None:
    if deferred.called:
        return
    try:
        result = future.result()
    except BaseException:  # every error goes to the code that waits for the Deferred
        deferred.errback(Failure())
    else:
        deferred.callback(result)
