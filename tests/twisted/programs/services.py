"""Services: life, children, subclasses, monitoring."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.client.support import message, plan
from tests.twisted.programs.stage import (
    NOBODY,
    Recorder,
    Stage,
    failure_of,
    free_port,
    from_thread,
    in_thread,
    is_pending,
    start,
    stop,
    the_reactor,
)
from twisted.application.service import Application, IService
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from fedora_messaging import api, config
from fedora_messaging.exceptions import ConnectionException
from fedora_messaging.twisted.factory import FedoraMessagingFactoryV2
from fedora_messaging.twisted.monitor import monitor_service
from fedora_messaging.twisted.service import FedoraMessagingServiceV2

if TYPE_CHECKING:
    from fedora_messaging.message import Message


async def not_started(stage: Stage) -> None:
    """Nothing connects before the start; what was asked for before is done then."""
    proxy, queue = stage.proxy(), stage.queue()
    service = FedoraMessagingServiceV2(proxy.url())
    publishing = service.factory.publish(message(queue, 1), "amq.topic")
    recorder = Recorder()
    consuming = service.factory.consume(recorder, **plan(queue))
    connecting = service.factory.when_connected()
    assert proxy.accepted == 0
    stage.run(service)
    await publishing
    [consumer] = await consuming
    await connecting
    await stage.eventually(lambda: consumer.stats.processed)
    assert recorder.numbers == [1]
    assert proxy.accepted == 1


async def restart(stage: Stage) -> None:
    """Start, stop, start: publishing and consuming work again; consumers of before have ended."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    factory = service.factory
    recorder = Recorder()
    for round_ in range(1, 4):
        [consumer] = await factory.consume(recorder, **plan(queue))
        await factory.publish(message(queue, round_), "amq.topic")
        await stage.eventually(lambda: len(recorder.messages) == round_)  # noqa: B023
        assert service.consuming
        await service.stopService()
        assert await consumer.result is consumer
        assert not service.running
        assert not service.consuming
        await stage.eventually(lambda: proxy.connections == 0)
        await failure_of(factory.publish(message(queue), "amq.topic"), ConnectionException)
        await failure_of(factory.when_connected(), ConnectionException)
        await stop(service)
        start(service)
        await factory.when_connected()
        assert stage.admin.consumers(queue) == 0
    assert recorder.numbers == [1, 2, 3]
    assert proxy.accepted == 4


async def stop_twice_at_once(stage: Stage) -> None:
    """As when a program stops its service, and then the reactor: both wait for the running callback."""
    queue, answers = stage.queue(), stage.queue()
    service = stage.service()
    gate = stage.gate()

    def callback(_received: Message) -> None:
        gate.pass_through()
        from_thread(service.factory.publish, message(answers, 1), "amq.topic")

    [consumer] = await service.factory.consume(callback, **plan(queue))
    await service.factory.publish(message(queue), "amq.topic")
    await gate.reached()
    stops = [service.stopService()]
    await stage.eventually(lambda: not consumer.running)
    stops.append(service.stopService())
    for _ in range(10):
        await deferLater(the_reactor(), 0.001)
        assert stage.admin.ready(queue) == 0
    assert is_pending(*stops)
    gate.open()
    for stopping in stops:
        await stopping
    assert await consumer.result is consumer
    assert consumer.stats.processed == 1
    assert stage.admin.take(answers) == [b'{"number": 1}']


async def start_while_stopping(stage: Stage) -> None:
    """It ends with a running service, and nothing of the old one stays."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    gate = stage.gate()
    [consumer] = await service.factory.consume(gate.pass_through, **plan(queue))
    await service.factory.publish(message(queue, 1), "amq.topic")
    await gate.reached()
    stopping = service.stopService()
    await stage.eventually(lambda: not consumer.running)
    start(service)
    gate.open()
    await stopping
    assert await consumer.result is consumer
    await service.factory.publish(message(queue, 2), "amq.topic")
    assert stage.admin.take(queue) == [b'{"number": 2}']
    assert service.running
    await service.stopService()
    await stage.eventually(lambda: proxy.connections == 0)


async def stop_start_stop(stage: Stage) -> None:
    """What was started while the first stop was under way is stopped too, and each stop waits for its own."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    gate = stage.gate()
    await service.factory.consume(gate.pass_through, **plan(queue))
    await service.factory.publish(message(queue), "amq.topic")
    await gate.reached()
    first = service.stopService()
    start(service)
    await service.factory.when_connected()
    await service.stopService()
    await stage.eventually(lambda: proxy.connections == 1)
    assert is_pending(first)
    gate.open()
    await first
    await stage.eventually(lambda: proxy.connections == 0)
    await failure_of(service.factory.publish(message(queue), "amq.topic"), ConnectionException)


async def start_twice(stage: Stage) -> None:
    """One connection."""
    proxy = stage.proxy()
    service = stage.service(proxy.url())
    start(service)
    await service.factory.when_connected()
    await service.factory.publish(message("x"), "amq.topic")
    assert proxy.accepted == 1


async def two_services(stage: Stage) -> None:
    """Each has its own connection, consumers and counters; stopping one leaves the other alone."""
    proxies = [stage.proxy(), stage.proxy()]
    queue = stage.queue()
    services = [stage.service(proxy.url()) for proxy in proxies]
    recorders = [Recorder(), Recorder()]
    consumers = []
    for service, recorder in zip(services, recorders, strict=True):
        consumers += await service.factory.consume(recorder, **plan(queue))
    assert consumers[0] is not consumers[1]
    assert stage.admin.consumers(queue) == 2
    for number in range(10):
        await services[0].factory.publish(message(queue, number), "amq.topic")
    await stage.eventually(lambda: sum(len(recorder.messages) for recorder in recorders) == 10)
    assert all(recorder.messages for recorder in recorders)
    assert [service.stats.published for service in services] == [10, 0]
    await services[0].stopService()
    await services[1].factory.publish(message(queue, 10), "amq.topic")
    await stage.eventually(lambda: 10 in recorders[1].numbers)
    assert [proxy.accepted for proxy in proxies] == [1, 1]
    # The service of `api` is a third one.
    stage.use()
    [third] = await api.twisted_consume(Recorder(), **plan(queue))
    assert third not in consumers
    assert services[1].factory._consumers[0].consumer is consumers[1]


async def part_of_an_application(stage: Stage) -> None:
    """A parent starts and stops it."""
    application: Any = Application("test")  # type: ignore[no-untyped-call]
    parent = IService(application)
    service: Any = FedoraMessagingServiceV2(stage.url)
    service.setServiceParent(application)
    start(parent)
    try:
        assert service.running
        await service.factory.publish(message("x"), "amq.topic")
    finally:
        await stop(parent)
    assert not service.running
    await failure_of(service.factory.when_connected(), ConnectionException)


class _Bridge(FedoraMessagingServiceV2):
    """A subclass as applications have them: consumes by itself, publishes what it gets."""

    name = "bridge"

    def __init__(self, url: str, source: str, target: str) -> None:
        super().__init__(amqp_url=url)
        self.source = source
        self.target = target
        self.events: list[str] = []

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self.events.append("started")
        self.factory.consume(self.forward, **plan(self.source)).addCallback(self.ready)

    def ready(self, consumers: list[Any]) -> None:
        self.events.append(f"consuming {len(consumers)}")

    async def forward(self, received: Message) -> None:
        self.factory.publish(message(self.target, received.body["number"]), "amq.topic")

    async def _stop(self) -> None:
        await super().stopService()
        self.events.append("stopped")

    def stopService(self) -> Any:
        return Deferred.fromCoroutine(self._stop())


async def subclass(stage: Stage) -> None:
    """Overriding start and stop."""
    source, target = stage.queue(), stage.queue()
    service = stage.run(_Bridge(stage.url, source, target))
    assert service.name == "bridge"
    await service.factory.publish(message(source, 5), "amq.topic")
    await stage.eventually(lambda: stage.admin.ready(target))
    assert stage.admin.take(target) == [b'{"number": 5}']
    await service.stopService()
    assert service.events == ["started", "consuming 1", "stopped"]


def _get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


COUNTERS = {"received": 0, "processed": 0, "dropped": 0, "rejected": 0, "failed": 0}


async def monitoring(stage: Stage) -> None:
    """The endpoints, as a child of the service, from its start to its stop."""
    queue, proxy = stage.queue(), stage.proxy()
    service: Any = FedoraMessagingServiceV2(proxy.url())
    port = free_port()
    server = monitor_service(service, address="127.0.0.1", port=port)
    assert service.getServiceNamed("monitoring") is server
    assert server.parent is service
    assert len(service.services) == 2
    stage.run(service)
    await service.factory.when_connected()

    status, headers, body = await in_thread(_get, port, "/live")
    assert (status, body) == (200, b'{"status": "OK"}\n')
    assert headers["Content-Type"].strip() == "application/json"
    for path in ("/ready", "/ready?x=1", "/ready/x"):
        status, headers, body = await in_thread(_get, port, path)
        assert (status, body) == (
            200,
            b'{"consuming": false, "published": 0, "consumed": {"received": 0, "processed": 0, '
            b'"dropped": 0, "rejected": 0, "failed": 0}}\n',
        )
        assert headers["Content-Type"].strip() == "application/json"

    [consumer] = await service.factory.consume(Recorder(), **plan(queue))
    await service.factory.publish(message(queue), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)
    status, _headers, body = await in_thread(_get, port, "/ready")
    expected = {"consuming": True, "published": 1, "consumed": {**COUNTERS, "received": 1, "processed": 1}}
    assert (status, json.loads(body)) == (200, expected)

    # P06: not ready while disconnected, and again afterwards.
    proxy.refuse()
    proxy.cut()
    await stage.eventually(lambda: not service.consuming)
    status, _headers, body = await in_thread(_get, port, "/ready")
    assert (status, json.loads(body)["consuming"]) == (503, False)
    assert json.loads(body)["published"] == 1
    proxy.resume()
    await stage.eventually(lambda: service.consuming)
    status, _headers, body = await in_thread(_get, port, "/ready")
    assert (status, json.loads(body)) == (200, expected)

    await service.stopService()
    raised = await failure_of(in_thread(_get, port, "/live"), ConnectionRefusedError)
    assert raised.errno
    start(service)
    await service.factory.when_connected()
    assert (await in_thread(_get, port, "/live"))[0] == 200


async def monitoring_before_a_connection(stage: Stage) -> None:
    """It answers while the broker is away."""
    service = FedoraMessagingServiceV2(NOBODY)
    port = free_port()
    monitor_service(service, address="127.0.0.1", port=port)
    stage.run(service)
    assert (await in_thread(_get, port, "/live"))[0] == 200
    status, _headers, body = await in_thread(_get, port, "/ready")
    assert (status, json.loads(body)["consuming"]) == (503, False)


async def monitoring_of_api(stage: Stage) -> None:
    """Configured, it is served for whatever uses `api`, and found under its name."""
    port = free_port()
    stage.use()
    config.conf["monitoring"] = {"address": "127.0.0.1", "port": port}
    await api.twisted_consume(print, queues={})
    await api.twisted_publish(message("x"))
    status, _headers, body = await in_thread(_get, port, "/ready")
    assert (status, json.loads(body)) == (200, {"consuming": False, "published": 1, "consumed": COUNTERS})
    assert api._twisted_service.getServiceNamed("monitoring").name == "monitoring"


async def service_of_api(stage: Stage) -> None:
    """What programs do with `api._twisted_service`."""
    proxy, queue = stage.proxy(), stage.queue()
    assert api._twisted_service is None
    stage.use(proxy.url())
    service = api._init_twisted_service()
    assert service is api._twisted_service is api._init_twisted_service()
    [consumer] = await api.twisted_consume(Recorder(), **plan(queue))
    assert service is api._twisted_service
    assert isinstance(service.factory, FedoraMessagingFactoryV2)
    parts = urlsplit(proxy.url())
    assert f"{parts.hostname}:{parts.port}" in [child.name for child in service.services]
    assert service.consuming
    protocol = await service.factory.when_connected()
    assert protocol._consumers == {queue: consumer}
    await service.stopService()
    assert await consumer.result is consumer
    assert not service.consuming
    assert protocol.is_closed
    await stage.eventually(lambda: proxy.connections == 0)
    # After a stop the next use makes another one.
    proxy_accepted = proxy.accepted
    await in_thread(api.publish, message("x"))
    assert api._twisted_service is not service
    assert proxy.accepted == proxy_accepted + 1
    service = api._init_twisted_service()
    # Setting it to None makes the next use begin anew.
    api._twisted_service = None
    stage.use()
    [another] = await api.twisted_consume(Recorder(), **plan(queue))
    assert another is not consumer
    assert api._twisted_service is not service
    assert proxy.accepted == 2
    await in_thread(service.close)


async def timeouts_on_results(stage: Stage) -> None:
    """`addTimeout` on a result and on a publish: both are ordinary Deferreds."""
    queue = stage.queue()
    factory = stage.service().factory
    [consumer] = await factory.consume(Recorder(), **plan(queue))
    reactor = the_reactor()
    result: Any = consumer.result
    result.addTimeout(0.01, reactor)
    await failure_of(result, TimeoutError)
    assert consumer.running
    await factory.publish(message(queue), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)
    offline = stage.service(NOBODY).factory
    publishing: Any = offline.publish(message(queue), "amq.topic").addTimeout(0.01, reactor)
    await failure_of(publishing, TimeoutError)
    connecting: Any = offline.when_connected().addTimeout(0.01, reactor)
    await failure_of(connecting, TimeoutError)
    assert not is_pending(consumer.result)
    await consumer.cancel()
