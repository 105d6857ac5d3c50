"""Connections: reconnecting, giving up, protocols, `when_connected`."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.client.support import message, plan, queue_settings
from tests.support.proxy import BASIC_CONSUME, CHANNEL_OPEN, START_OK
from tests.twisted.programs.stage import (
    NOBODY,
    Recorder,
    Stage,
    counts,
    failure_of,
    in_reactor_thread,
    is_pending,
    nothing,
    start,
)
from twisted.internet.defer import CancelledError

from fedora_messaging import api, config
from fedora_messaging.exceptions import BadDeclaration, ConnectionException, NoFreeChannels
from fedora_messaging.twisted.consumer import Consumer
from fedora_messaging.twisted.protocol import FedoraMessagingProtocolV2
from fedora_messaging.twisted.service import FedoraMessagingServiceV2


def _with_login(url: str, login: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.hostname}:{parts.port}"))


async def p02_cut_while_idle(stage: Stage) -> None:
    """The same Consumer goes on: result, tag and counters are kept, and it is subscribed once."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    factory = service.factory
    recorder = Recorder()
    [consumer] = await factory.consume(recorder, **plan(queue))
    result, tag = consumer.result, consumer._tag
    for number in range(1, 4):
        await factory.publish(message(queue, number), "amq.topic")
        await stage.eventually(lambda: number in recorder.numbers)  # noqa: B023
        protocol = await factory.when_connected()
        proxy.cut()
        await stage.eventually(lambda: protocol.is_closed)  # noqa: B023
        assert consumer.running
        another = await factory.when_connected()
        assert another is not protocol
    assert (consumer.result, consumer._tag) == (result, tag)
    assert is_pending(result)
    assert [record.consumer for record in factory._consumers] == [consumer]
    assert another._consumers == {queue: consumer}
    assert stage.admin.consumers(queue) == 1
    await stage.eventually(lambda: consumer.stats.processed == consumer.stats.received)
    # What a cut kept from being acknowledged came twice.
    assert list(dict.fromkeys(recorder.numbers)) == [1, 2, 3]
    assert counts(consumer).keys() == {"received", "processed"}
    assert consumer.stats.received == len(recorder.messages)
    assert service.stats.as_dict()["published"] == 3
    assert proxy.accepted == 4
    await consumer.cancel()
    assert await result is consumer


async def p03_cut_during_a_callback(stage: Stage) -> None:
    """The message comes again only when the callback has ended; the queue ends with one consumer."""
    proxy, queue = stage.proxy(), stage.queue()
    factory = stage.service(proxy.url()).factory
    gate = stage.gate()
    [consumer] = await factory.consume(gate.pass_through, **plan(queue))
    await factory.publish(message(queue, 1), "amq.topic")
    await gate.reached()
    proxy.cut()
    await stage.eventually(lambda: proxy.count(BASIC_CONSUME) == 2)
    await factory.when_connected()
    await stage.eventually(lambda: stage.admin.ready(queue) == 0)
    assert gate.arrived == 1
    gate.open()
    await stage.eventually(lambda: consumer.stats.processed == 2)
    assert gate.most_inside == 1
    await factory.publish(message(queue, 2), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed == 3)
    assert stage.admin.consumers(queue) == 1
    assert is_pending(consumer.result)
    assert stage.admin.take(queue) == []


async def server_named_queue_after_a_cut(stage: Stage) -> None:
    """It gets a new name, and the Consumer knows it."""
    proxy, topic = stage.proxy(), stage.names()
    stage.use(proxy.url())
    config.conf["bindings"] = [{"queue": "", "exchange": "amq.topic", "routing_keys": [f"{topic}.#"]}]
    recorder = Recorder()
    [consumer] = await api.twisted_consume(recorder)
    api._twisted_service.factory.delay = 0.05
    first = consumer.queue
    assert first
    proxy.cut()
    await stage.eventually(lambda: consumer.queue != first)
    await api.twisted_publish(message(topic, 1))
    await stage.eventually(lambda: recorder.numbers == [1])
    assert recorder.messages[0].queue == consumer.queue


async def consuming_waits_for_the_broker(stage: Stage) -> None:
    """`consume` and `when_connected` fire when it comes; both can be cancelled before."""
    proxy, queue = stage.proxy(), stage.queue()
    proxy.refuse()
    factory = stage.service(proxy.url()).factory
    recorder = Recorder()
    consuming = factory.consume(recorder, **plan(queue))
    connecting, cancelled = factory.when_connected(), factory.when_connected()
    await stage.eventually(lambda: factory.retries >= 2)
    assert is_pending(consuming, connecting, cancelled)
    cancelled.cancel()
    await failure_of(cancelled, CancelledError)
    proxy.resume()
    [consumer] = await consuming
    assert in_reactor_thread()
    assert (await connecting) is (await factory.when_connected())
    await factory.publish(message(queue, 1), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)


async def cancelled_consume(stage: Stage) -> None:
    """Cancelled while it waits for the broker, it does not consume later."""
    proxy, queue, other = stage.proxy(), stage.queue(), stage.queue()
    proxy.refuse()
    factory = stage.service(proxy.url()).factory
    cancelled = factory.consume(Recorder(), **plan(queue))
    lives = factory.consume(Recorder(), **plan(other))
    await stage.eventually(lambda: factory.retries >= 1)
    cancelled.cancel()
    await failure_of(cancelled, CancelledError)
    proxy.resume()
    [consumer] = await lives
    await factory.publish(message(other), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)
    assert stage.admin.consumers(queue) == 0
    assert [record.consumer for record in factory._consumers] == [consumer]


async def when_connected(stage: Stage) -> None:
    """The same object as long as the connection lives; an instance of the factory's `protocol`."""

    class Protocol(FedoraMessagingProtocolV2):
        pass

    proxy = stage.proxy()
    factory = stage.service(proxy.url()).factory
    assert factory.protocol is FedoraMessagingProtocolV2
    factory.protocol = Protocol
    protocol = await factory.when_connected()
    assert isinstance(protocol, Protocol)
    assert protocol.factory is factory
    assert protocol.name == "FedoraMessaging:Protocol"
    assert not protocol.is_closed
    assert await protocol.ready is protocol
    assert await factory.when_connected() is protocol
    await protocol.close()
    assert protocol.is_closed
    another = await factory.when_connected()
    assert another is not protocol
    assert not another.is_closed
    assert proxy.accepted == 2


async def login_refused(stage: Stage) -> None:
    """ConnectionException for all who wait, with what the broker said; trying goes on."""
    proxy, queue = stage.proxy(), stage.queue()
    wrong = _with_login(proxy.url(), "nobody:canary-password")
    factory = stage.service(wrong).factory
    for begin in (
        factory.when_connected,
        lambda: factory.consume(Recorder(), **plan(queue)),
        lambda: factory.publish(message(queue), "amq.topic"),
    ):
        waiting: Any = begin()
        error = await failure_of(waiting, ConnectionException)
        assert error.reason.startswith(
            "The TCP connection appears to have started, but the TLS or AMQP handshake"
        )
        assert "canary-password" not in f"{error!r} {error} {error.reason}"
    assert factory._consumers == []
    attempts = proxy.accepted
    await stage.eventually(lambda: proxy.accepted > attempts)
    assert "canary-password" not in repr(factory)


async def login_refused_through_api(stage: Stage) -> None:
    """The same from `twisted_consume`."""
    stage.use(_with_login(stage.url, "nobody:wrong"))
    await failure_of(api.twisted_consume(Recorder(), **plan(stage.queue())), ConnectionException)


async def unknown_virtual_host(stage: Stage) -> None:
    """Likewise."""
    parts = urlsplit(stage.url)
    factory = stage.service(urlunsplit(parts._replace(path="/no-such-vhost"))).factory
    error = await failure_of(factory.when_connected(), ConnectionException)
    assert "handshake" in error.reason


async def giving_up_after_retries(stage: Stage) -> None:
    """`maxRetries`: whoever waits is told; a restart begins anew."""
    proxy, queue = stage.proxy(), stage.queue()
    proxy.refuse()
    service = FedoraMessagingServiceV2(proxy.url())
    factory = service.factory
    assert factory.maxRetries is None
    factory.maxRetries = 3
    factory.maxDelay = 0.02
    stage.run(service)
    waiting: list[Any] = [factory.when_connected(), factory.publish(message(queue, 1), "amq.topic")]
    for one in waiting:
        await failure_of(one, ConnectionException)
    await failure_of(factory.when_connected(), ConnectionException)
    await failure_of(factory.publish(message(queue, 2), "amq.topic"), ConnectionException)
    await failure_of(factory.consume(Recorder(), **plan(queue)), ConnectionException)
    await service.stopService()
    proxy.resume()
    start(service)
    await factory.publish(message(queue, 3), "amq.topic")
    assert stage.admin.take(queue) == [b'{"number": 3}']


async def stop_trying(stage: Stage) -> None:
    """The connection lives on; when it is lost, it was the last one."""
    for stop in (lambda f: f.stopTrying(), lambda f: setattr(f, "continueTrying", 0)):
        proxy, queue = stage.proxy(), stage.queue()
        service = stage.service(proxy.url())
        factory = service.factory
        [consumer] = await factory.consume(Recorder(), **plan(queue))
        assert factory.continueTrying
        stop(factory)
        assert not factory.continueTrying
        await factory.publish(message(queue), "amq.topic")
        await stage.eventually(lambda: consumer.stats.processed == 1)  # noqa: B023
        protocol = await factory.when_connected()
        proxy.cut()
        await stage.eventually(lambda: protocol.is_closed)  # noqa: B023
        await failure_of(factory.when_connected(), ConnectionException)
        await failure_of(factory.publish(message(queue), "amq.topic"), ConnectionException)
        assert proxy.accepted == 1
        await service.stopService()
        start(service)
        assert factory.continueTrying
        await factory.publish(message(queue), "amq.topic")
        assert proxy.accepted == 2


async def stop_trying_while_offline(stage: Stage) -> None:
    """Ends the attempts, and the waiting."""
    factory = stage.service(NOBODY).factory
    waiting = factory.when_connected()
    await stage.eventually(lambda: factory.retries >= 1)
    factory.stopTrying()
    await failure_of(waiting, ConnectionException)


async def the_start_connects(stage: Stage) -> None:
    """And connects again when the connection is lost, though nothing is asked for."""
    proxy = stage.proxy()
    stage.service(proxy.url())
    for number in (1, 2):
        await stage.eventually(lambda: proxy.count(START_OK) == number)  # noqa: B023
        proxy.cut()


async def delays(stage: Stage) -> None:
    """The attributes of Twisted's reconnecting factories."""
    service = FedoraMessagingServiceV2(NOBODY)
    factory = service.factory
    assert factory.retries == 0
    assert 0 < factory.initialDelay <= factory.maxDelay
    assert factory.factor > 1
    # An outage must not make a consumer deaf for an hour.
    assert factory.maxDelay <= 60
    factory.maxDelay = 0.02
    stage.run(service)
    waiting = factory.when_connected()
    await stage.eventually(lambda: factory.retries >= 5)
    assert factory.delay <= 0.02
    await service.stopService()
    await failure_of(waiting, ConnectionException)
    factory.resetDelay()
    assert (factory.retries, factory.delay) == (0, factory.initialDelay)


async def stop_while_offline(stage: Stage) -> None:
    """Ends at once; what waits for a connection fails."""
    service = stage.service(NOBODY)
    waiting = service.factory.when_connected()
    consuming = service.factory.consume(Recorder(), **plan("q"))
    await stage.eventually(lambda: service.factory.retries >= 1)
    await service.stopService()
    await failure_of(waiting, ConnectionException)
    await failure_of(consuming, ConnectionException)


def _queue(name: str, **changes: Any) -> dict[str, Any]:
    return {"queue": name, **queue_settings(), **changes}


async def protocol_declares(stage: Stage) -> None:
    """Exchanges, queues and bindings, in Deferreds; what is given is not changed, no channel stays."""
    proxy = stage.proxy()
    exchange, queue, second = (stage.names() for _ in range(3))
    protocol = await stage.service(proxy.url(channel_max=2)).factory.when_connected()
    exchanges = [
        {
            "exchange": exchange,
            "exchange_type": "topic",
            "durable": False,
            "auto_delete": False,
            "arguments": None,
        },
    ]
    queues = [_queue(queue), _queue(second)]
    bindings = [{"queue": queue, "exchange": exchange, "routing_key": f"{n}.#"} for n in (1, 2)]
    given = copy.deepcopy((exchanges, queues, bindings))
    for _ in range(3):
        assert await nothing(protocol.declare_exchanges(exchanges))
        assert await protocol.declare_queues(queues) == [queue, second]
        assert await nothing(protocol.bind_queues(bindings))
    assert (exchanges, queues, bindings) == given
    await protocol.publish(message("1", 1), exchange)
    await protocol.publish(message("2", 2), exchange)
    await protocol.publish(message("3", 3), exchange)
    assert stage.admin.take(queue) == [b'{"number": 1}', b'{"number": 2}']
    named = await protocol.declare_queue(_queue("", durable=False, exclusive=True))
    assert named
    assert await protocol.declare_queues([]) == []


async def protocol_is_refused(stage: Stage) -> None:
    """BadDeclaration with kind, settings and the broker's code; the connection stays usable."""
    queue, missing = stage.queue(), stage.names()
    protocol = await stage.service().factory.when_connected()
    error = await failure_of(protocol.declare_queue(_queue(queue, durable=False)), BadDeclaration)
    assert (error.obj_type, error.description["queue"], error.reason.args[0]) == ("queue", queue, 406)
    error = await failure_of(protocol.declare_queues([_queue(missing, passive=True)]), BadDeclaration)
    assert (error.obj_type, error.description["passive"], error.reason.args[0]) == ("queue", True, 404)
    topic = {"exchange": "amq.topic", "exchange_type": "topic", "auto_delete": False, "arguments": {}}
    error = await failure_of(protocol.declare_exchanges([{**topic, "durable": False}]), BadDeclaration)
    assert (error.obj_type, error.description["exchange"]) == ("exchange", "amq.topic")
    assert error.reason.args[0] in (403, 406)
    binding = {"queue": missing, "exchange": "amq.topic", "routing_key": "#"}
    error = await failure_of(protocol.bind_queues([binding]), BadDeclaration)
    assert (error.obj_type, error.description["queue"], error.reason.args[0]) == ("binding", missing, 404)
    config.conf["passive_declares"] = True
    await failure_of(protocol.declare_queue(_queue(missing)), BadDeclaration)
    absent = {**topic, "exchange": missing, "durable": True}
    error = await failure_of(protocol.declare_exchanges([absent]), BadDeclaration)
    assert error.reason.args[0] == 404
    assert await protocol.declare_queue(_queue(missing, passive=False)) == missing
    assert not protocol.is_closed


async def protocol_without_a_channel_left(stage: Stage) -> None:
    """NoFreeChannels."""
    queue = stage.queue()
    protocol = await stage.service(f"{stage.url}?channel_max=1").factory.when_connected()
    await protocol.consume(Recorder(), queue)
    await failure_of(protocol.declare_queue(_queue(queue)), NoFreeChannels)
    assert not protocol.is_closed


async def protocol_consumes(stage: Stage) -> None:
    """A queue that exists; the consumer is one of the factory's; `halt` ends it gracefully."""
    proxy, queue = stage.proxy(), stage.queue()
    factory = stage.service(proxy.url()).factory
    protocol = await factory.when_connected()
    recorder = Recorder()
    consumer = await protocol.consume(recorder, queue)
    assert (consumer.queue, consumer.callback, consumer.running) == (queue, recorder, True)
    assert protocol._consumers == {queue: consumer}
    await protocol.publish(message(queue, 1), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)
    await protocol.halt()
    assert await consumer.result is consumer
    assert protocol._consumers == {}
    previous = Consumer(queue, recorder)
    assert await protocol.consume(recorder, queue, previous_consumer=previous) is previous
    await protocol.publish(message(queue, 2), "amq.topic")
    await stage.eventually(lambda: previous.stats.processed)
    await protocol.halt()
    assert stage.admin.consumers(queue) == 0
    assert not protocol.is_closed
    assert proxy.accepted == 1


async def closed_protocol(stage: Stage) -> None:
    """Everything fails with ConnectionException, though the factory has another connection."""
    proxy, queue = stage.proxy(), stage.queue()
    factory = stage.service(proxy.url()).factory
    protocol = await factory.when_connected()
    proxy.cut()
    await stage.eventually(lambda: protocol.is_closed)
    await factory.when_connected()
    opened = proxy.count(CHANNEL_OPEN)
    topic = {"exchange": "amq.topic", "exchange_type": "topic", "durable": True, "auto_delete": False}
    for failing in (
        protocol.publish(message(queue), "amq.topic"),
        protocol.consume(Recorder(), queue),
        protocol.declare_queue(_queue(queue)),
        protocol.declare_queues([_queue(queue)]),
        protocol.declare_exchanges([{**topic, "arguments": {}}]),
        protocol.bind_queues([{"queue": queue, "exchange": "amq.topic", "routing_key": "#"}]),
    ):
        await failure_of(failing, ConnectionException)
    assert proxy.count(CHANNEL_OPEN) == opened


async def closing_what_is_closed(stage: Stage) -> None:
    """It does no harm, neither to the caller nor to what the next connection does."""
    proxy, queue = stage.proxy(), stage.queue()
    factory = stage.service(proxy.url()).factory
    protocol = await factory.when_connected()
    await protocol.close()
    [consumer] = await factory.consume(Recorder(), **plan(queue))
    await protocol.halt()
    await protocol.close()
    assert consumer.running
    assert proxy.accepted == 2
