"""Publishing: outcomes, signals, threads, and what it shares with `api.publish`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jsonschema
from tests.client.support import message, plan
from tests.support.proxy import BASIC_PUBLISH, CHANNEL_OPEN, CONFIRM_SELECT, DOWN, UP
from tests.support.waiting import WAIT
from tests.twisted.programs.stage import (
    NOBODY,
    Recorder,
    Stage,
    failure_of,
    from_thread,
    in_reactor_thread,
    in_thread,
    is_pending,
    nothing,
)
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from fedora_messaging import api, config
from fedora_messaging.exceptions import BaseException as LibraryError
from fedora_messaging.exceptions import (
    ConnectionException,
    PublishException,
    PublishForbidden,
    PublishReturned,
    PublishTimeout,
)
from fedora_messaging.message import Message
from fedora_messaging.signals import pre_publish_signal, publish_failed_signal, publish_signal
from fedora_messaging.twisted.consumer import Consumer
from fedora_messaging.twisted.stats import ConsumerStatistics, FactoryStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator


def body(number: int) -> bytes:
    """What `message` with this number is on the wire."""
    return f'{{"number": {number}}}'.encode()


async def _set_up(stage: Stage, url: str = "") -> None:
    """Make the service of `api` without consuming anything."""
    stage.use(url)
    assert await api.twisted_consume(lambda _message: None, queues={}) == []


async def round_trip(stage: Stage) -> None:
    """A message from `twisted_publish` to a callback of `twisted_consume`."""
    queue = stage.queue()
    stage.use()
    recorder = Recorder()
    registering = api.twisted_consume(recorder, **plan(queue))
    assert isinstance(registering, Deferred)
    consumers = await registering
    assert in_reactor_thread()
    [consumer] = consumers
    module: Any = api
    assert type(consumer) is module.Consumer is Consumer
    assert (consumer.queue, consumer.callback, consumer.running) == (queue, recorder, True)
    assert is_pending(consumer.result)

    sent = message(queue, 5)
    publishing = api.twisted_publish(sent)
    assert isinstance(publishing, Deferred)
    assert await nothing(publishing)
    assert in_reactor_thread()
    await stage.eventually(lambda: consumer.stats.processed)
    [received] = recorder.messages
    assert (received, received.id, received.queue) == (sent, sent.id, queue)
    assert recorder.in_reactor_thread == [False]
    assert consumer.stats == ConsumerStatistics(received=1, processed=1)

    assert await nothing(consumer.cancel())
    assert await consumer.result is consumer
    assert not consumer.running
    assert stage.admin.consumers(queue) == 0


async def before_the_service(stage: Stage) -> None:
    """Nothing sets it up, and the failure says so."""
    stage.use()
    failing = api.twisted_publish(message("nobody"))
    error = await failure_of(failing, RuntimeError)
    assert str(error) == "You must first initialize the Twisted service"
    assert api._twisted_service is None


async def exchange_argument_and_configuration(stage: Stage) -> None:
    """Read at each publish; the argument wins; the topic prefix is applied."""
    await _set_up(stage)
    queue, fanout = stage.queue(), stage.names()
    stage.admin.channel.exchange_declare(fanout, "fanout")
    stage.admin.channel.queue_bind(queue, fanout, "")
    await api.twisted_publish(message("a", 1), fanout)
    config.conf["publish_exchange"] = fanout
    await api.twisted_publish(message("b", 2))
    await api.twisted_publish(message("c", 3), exchange="amq.topic")
    await api.twisted_publish(Message(topic=queue, body={"number": 4}), exchange="")
    config.conf["topic_prefix"] = queue
    await api.twisted_publish(message("d", 5), exchange="amq.topic")
    assert stage.admin.take(queue) == [body(n) for n in (1, 2, 4, 5)]


async def p09_unknown_exchange(stage: Stage) -> None:
    """Fails at once and clearly, costs one channel, and the next publish works."""
    proxy, queue = stage.proxy(), stage.queue()
    await _set_up(stage, proxy.url())
    start = time.monotonic()
    error = await failure_of(api.twisted_publish(message(queue), "no.such"), PublishException)
    assert time.monotonic() - start < 10
    assert not isinstance(error, PublishTimeout)
    assert "no.such" in str(error)
    await api.twisted_publish(message(queue, 1))
    assert stage.admin.take(queue) == [body(1)]
    assert proxy.count(CHANNEL_OPEN) <= 4


async def forbidden(stage: Stage) -> None:
    """The broker's refusal, with its words."""
    await _set_up(stage)
    exchange = stage.names()
    stage.admin.channel.exchange_declare(exchange, "topic", internal=True)
    error = await failure_of(api.twisted_publish(message("x"), exchange), PublishForbidden)
    code, text = error.reason.args
    assert code == 403
    assert exchange in text


async def refused_by_a_full_queue(stage: Stage) -> None:
    """A basic.nack of the broker."""
    await _set_up(stage)
    queue = stage.queue(**{"x-max-length": 1, "x-overflow": "reject-publish"})
    await api.twisted_publish(message(queue, 1))
    await failure_of(api.twisted_publish(message(queue, 2)), PublishReturned)
    assert stage.admin.take(queue) == [body(1)]


async def impossible_messages(stage: Stage) -> None:
    """Each fails as `api.publish` raises, and nothing is sent."""
    proxy, queue = stage.proxy(), stage.queue()
    await _set_up(stage, proxy.url())
    no_message: Any = "a text"
    no_exchange: Any = 5

    class Strict(Message):
        body_schema = {"type": "object", "required": ["owner"]}

    # An unregistered class is made with the properties of another one.
    invalid = Strict(body={"a": 1}, topic=queue, properties=message(queue)._properties)
    error = await failure_of(api.twisted_publish(invalid), jsonschema.ValidationError)
    assert error.message == "'owner' is a required property"
    bad_header = Message(topic=queue, headers={"x": object()})
    await failure_of(api.twisted_publish(no_message), AttributeError)
    await failure_of(api.twisted_publish(Message(topic=queue, body={"x": object()})), TypeError)
    await failure_of(api.twisted_publish(Message(topic="x" * 256)), LibraryError)
    await failure_of(api.twisted_publish(bad_header), LibraryError)
    await failure_of(api.twisted_publish(message(queue), no_exchange), (AssertionError, TypeError))  # type: ignore[arg-type]
    assert proxy.count(BASIC_PUBLISH) == 0
    await api.twisted_publish(message(queue, 1))
    assert stage.admin.take(queue) == [body(1)]


async def p16_invalid_message_offline(stage: Stage) -> None:
    """Validation needs no connection."""
    service = stage.service(NOBODY)
    api._twisted_service = service
    invalid = message("x")
    invalid._headers["fedora_messaging_severity"] = 42
    error = await failure_of(api.twisted_publish(invalid), jsonschema.ValidationError)
    assert error.message == "42 is not one of [10, 20, 30, 40]"


async def many_at_once(stage: Stage) -> None:
    """All in flight on one channel, each confirmed on its own."""
    proxy, queue = stage.proxy(), stage.queue()
    await _set_up(stage, proxy.url())
    await gatherResults([api.twisted_publish(message(queue, n)) for n in range(500)])
    assert stage.admin.take(queue) == [body(n) for n in range(500)]
    assert (proxy.accepted, proxy.count(CHANNEL_OPEN), proxy.count(CONFIRM_SELECT)) == (1, 1, 1)
    assert api._twisted_service.stats == FactoryStatistics(published=500)
    assert api._twisted_service.stats is api._twisted_service.factory.stats


async def one_connection_for_both_faces(stage: Stage) -> None:
    """`api.publish` in threads, `twisted_publish` and consuming share one connection."""
    proxy, queue = stage.proxy(), stage.queue()
    stage.use(proxy.url())
    recorder = Recorder()
    await in_thread(api.publish, message(queue, 1))
    await api.twisted_publish(message(queue, 2))
    await api.twisted_consume(recorder, **plan(queue))
    await in_thread(api.publish, message(queue, 3))
    await stage.eventually(lambda: recorder.numbers == [1, 2, 3])
    assert proxy.accepted == 1
    assert api._twisted_service.stats.published == 3


async def own_service_for_both_faces(stage: Stage) -> None:
    """A service that the program made and assigned serves `api` too, `api.publish` included."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    api._twisted_service = service
    await in_thread(api.publish, message(queue, 1))
    await api.twisted_publish(message(queue, 2))
    recorder = Recorder()
    [consumer] = await api.twisted_consume(recorder, **plan(queue))
    await stage.eventually(lambda: recorder.numbers == [1, 2])
    assert proxy.accepted == 1
    assert service.stats.published == 2
    assert [record.consumer for record in service.factory._consumers] == [consumer]
    await in_thread(api.close)
    await service.factory.publish(message(queue, 3), "amq.topic")
    await stage.eventually(lambda: recorder.numbers == [1, 2, 3])


async def from_threads_of_the_reactor(stage: Stage) -> None:
    """`threads.blockingCallFromThread`, as programs call it in plain callbacks; errors come through."""
    queue, answers = stage.queue(), stage.queue()
    stage.use()
    errors: list[BaseException] = []

    def callback(received: Message) -> None:
        number = received.body["number"]
        from_thread(api.twisted_publish, message(answers, number))
        try:
            from_thread(api.twisted_publish, message("x"), "no.such")
        except PublishException as error:
            errors.append(error)
        # The blocking function is fine in a plain callback too.
        api.publish(message(answers, 10 + number))

    [consumer] = await api.twisted_consume(callback, **plan(queue))
    await api.twisted_publish(message(queue, 1))
    await stage.eventually(lambda: consumer.stats.processed == 1)
    assert stage.admin.take(answers) == [body(1), body(11)]
    assert len(errors) == 1


async def in_coroutine_callbacks(stage: Stage) -> None:
    """A coroutine callback awaits asyncio, and the Deferred of a publish as a future of its loop."""
    queue, answers = stage.queue(), stage.queue()
    await _set_up(stage)
    for number in (1, 2):
        await api.twisted_publish(message(queue, number))
    where: list[bool] = []
    errors: list[BaseException] = []

    async def callback(received: Message) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        where.append(in_reactor_thread())
        await api.twisted_publish(message(answers, received.body["number"])).asFuture(loop)
        where.append(in_reactor_thread())
        try:
            await api.twisted_publish(message("x"), "no.such").asFuture(loop)
        except PublishException as error:
            errors.append(error)

    [consumer] = await api.twisted_consume(callback, **plan(queue))
    await stage.eventually(lambda: consumer.stats.processed == 2)
    assert stage.admin.take(answers) == [body(1), body(2)]
    assert where == [stage.reactor == "asyncio"] * 4
    assert len(errors) == 2


async def blocking_publish_in_a_coroutine_callback(stage: Stage) -> None:
    """Refused with an error, before anything is sent, where it would block its own loop for ever."""
    queue, answers = stage.queue(), stage.queue()
    stage.use()
    errors: list[BaseException] = []

    async def callback(_received: Message) -> None:
        try:
            api.publish(message(answers, 1), timeout=20)
        except RuntimeError as error:
            errors.append(error)

    [consumer] = await api.twisted_consume(callback, **plan(queue))
    await api.twisted_publish(message(queue, 1))
    await stage.eventually(lambda: consumer.stats.processed)
    if stage.reactor != "asyncio":
        # In the reactor's thread it does not wait for its own loop, only blocks the program's.
        assert len(errors) == 1
        assert stage.admin.take(answers) == []


async def cancelled_publish(stage: Stage) -> None:
    """A cancelled publish that waits for the broker is not sent later."""
    proxy, queue = stage.proxy(), stage.queue()
    api._twisted_service = stage.service(proxy.url())
    await api.twisted_publish(message(queue, 0))
    proxy.refuse()
    proxy.cut()
    cancelled, other = (api.twisted_publish(message(queue, n)) for n in (1, 2))
    cancelled.cancel()
    await failure_of(cancelled, CancelledError)
    proxy.resume()
    await other
    assert stage.admin.take(queue) == [body(0), body(2)]


async def publish_waits_for_the_broker(stage: Stage) -> None:
    """However long it takes to come."""
    proxy, queue = stage.proxy(), stage.queue()
    proxy.refuse()
    service = stage.service(proxy.url())
    publishing = service.factory.publish(message(queue, 1), "amq.topic")
    await stage.eventually(lambda: service.factory.retries >= 2)
    assert is_pending(publishing)
    proxy.resume()
    await publishing
    assert stage.admin.take(queue) == [body(1)]


async def by_way_of_an_outbox(stage: Stage) -> None:
    """Fires when the message is stored, though the broker is away."""
    proxy, queue = stage.proxy(), stage.queue()
    proxy.refuse()
    with tempfile.TemporaryDirectory() as directory:
        config.conf["outbox"] = {"path": f"{directory}/outbox.db"}
        await _set_up(stage, proxy.url())
        for number in range(3):
            assert await nothing(api.twisted_publish(message(queue, number)))
        assert stage.admin.ready(queue) == 0
        proxy.resume()
        await stage.eventually(lambda: stage.admin.ready(queue) == 3)
        await in_thread(api.close)
    assert stage.admin.take(queue) == [b'{"number": 0}', b'{"number": 1}', b'{"number": 2}']


async def p14_connection_lost_before_the_confirm(stage: Stage) -> None:
    """Sent again on the next connection; only the confirm fires the Deferred."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    await service.factory.publish(message(queue, 0), "amq.topic")
    proxy.stall_at(BASIC_PUBLISH, DOWN)
    publishing = service.factory.publish(message(queue, 1), "amq.topic")
    await stage.eventually(lambda: stage.admin.ready(queue) == 2)
    assert is_pending(publishing)
    proxy.resume()
    await publishing
    proxy.stall_at(BASIC_PUBLISH, UP, DOWN)
    lost = service.factory.publish(message(queue, 2), "amq.topic")
    await stage.eventually(lambda: proxy.count(BASIC_PUBLISH) == 3)
    assert is_pending(lost)
    proxy.cut()
    await lost
    assert proxy.accepted == 2
    assert set(stage.admin.take(queue)) == {body(0), body(1), body(2)}


async def closed_publish_channel(stage: Stage) -> None:
    """Closing the channel that a program finds on the protocol disturbs nobody."""
    proxy, queue = stage.proxy(), stage.queue()
    service = stage.service(proxy.url())
    await service.factory.publish(message(queue, 1), "amq.topic")
    protocol = await service.factory.when_connected()
    await protocol._publish_channel.close()
    await service.factory.publish(message(queue, 2), "amq.topic")
    assert stage.admin.take(queue) == [body(1), body(2)]
    assert proxy.accepted == 1


class _Receivers:
    """Receivers of all signals, which note what they get, and where."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any, dict[str, Any]]] = []
        self.in_reactor_thread: list[bool] = []
        self.raising: dict[str, Exception] = {}

    def _note(self, name: str, sender: Any, arguments: dict[str, Any]) -> None:
        self.in_reactor_thread.append(in_reactor_thread())
        self.seen.append((name, sender, arguments))
        if name in self.raising:
            raise self.raising[name]

    @contextmanager
    def connected(self) -> Iterator[None]:
        def before(sender: Any, **arguments: Any) -> None:
            arguments["message"].body["changed"] = True
            self._note("pre", sender, arguments)

        def after(sender: Any, **arguments: Any) -> None:
            self._note("success", sender, arguments)

        def failed(sender: Any, **arguments: Any) -> None:
            self._note("failed", sender, arguments)

        with (
            pre_publish_signal.connected_to(before),
            publish_signal.connected_to(after),
            publish_failed_signal.connected_to(failed),
        ):
            yield

    def take(self) -> list[tuple[str, Any, dict[str, Any]]]:
        seen, self.seen = self.seen, []
        return seen


async def signals(stage: Stage) -> None:
    """Worker threads send them in the name of `api.publish`: one before, then one of success or failure."""
    queue = stage.queue()
    await _set_up(stage)
    receivers = _Receivers()
    with receivers.connected():
        sent = message(queue, 1)
        await api.twisted_publish(sent)
        assert receivers.take() == [
            ("pre", api.publish, {"message": sent}),
            ("success", api.publish, {"message": sent}),
        ]
        [stored] = stage.admin.take(queue)
        assert stored == b'{"number": 1, "changed": true}'

        error = await failure_of(api.twisted_publish(sent, "no.such"), PublishException)
        assert receivers.take() == [
            ("pre", api.publish, {"message": sent}),
            ("failed", api.publish, {"message": sent, "reason": error}),
        ]

        sent._headers["fedora_messaging_severity"] = 42
        invalid = await failure_of(api.twisted_publish(sent), jsonschema.ValidationError)
        assert receivers.take() == [
            ("pre", api.publish, {"message": sent}),
            ("failed", api.publish, {"message": sent, "reason": invalid}),
        ]
    assert not any(receivers.in_reactor_thread)


async def receivers_of_signals_that_raise(stage: Stage) -> None:
    """Before, nothing is published; after, the message stays published."""
    queue = stage.queue()
    await _set_up(stage)
    receivers = _Receivers()
    receivers.raising = {name: KeyError(name) for name in ("pre", "success", "failed")}
    with receivers.connected():
        error = await failure_of(api.twisted_publish(message(queue, 1)), KeyError)
        assert error is receivers.raising.pop("pre")
        assert [name for name, *_ in receivers.take()] == ["pre"]
        assert stage.admin.take(queue) == []

        await api.twisted_publish(message(queue, 2))
        assert [name for name, *_ in receivers.take()] == ["pre", "success"]
        assert len(stage.admin.take(queue)) == 1

        await failure_of(api.twisted_publish(message(queue, 3), "no.such"), PublishException)
        assert [name for name, *_ in receivers.take()] == ["pre", "failed"]


async def receiver_of_a_signal_that_publishes(stage: Stage) -> None:
    """Receivers run where they may block."""
    queue, answers = stage.queue(), stage.queue()
    await _set_up(stage)

    def before(_sender: Any, message: Message) -> None:
        if message.topic.startswith(queue):
            api.publish(Message(topic=f"{answers}.x", body={"number": 7}))

    with pre_publish_signal.connected_to(before):
        await api.twisted_publish(message(queue, 1))
    assert stage.admin.take(answers) == [body(7)]
    assert stage.admin.take(queue) == [body(1)]


async def pending_publishes_fail_when_the_service_stops(stage: Stage) -> None:
    """None hangs, none spins; connected, offline, and before the start."""
    proxy = stage.proxy()
    offline, connected = stage.service(NOBODY), stage.service(proxy.url())
    await connected.factory.publish(message("x"), "amq.topic")
    proxy.stall(DOWN)
    waiting = [
        service.factory.publish(message("x"), "amq.topic") for service in (offline, connected) for _ in "ab"
    ]
    await stage.eventually(lambda: proxy.count(BASIC_PUBLISH) == 3)
    assert is_pending(*waiting)
    stopping = [offline.stopService(), connected.stopService()]
    for publishing in waiting:
        await failure_of(publishing, ConnectionException)
    proxy.resume()
    await gatherResults(stopping)
    await failure_of(offline.factory.publish(message("x"), "amq.topic"), ConnectionException)


async def publish_from_a_callback_while_the_service_stops(stage: Stage) -> None:
    """A callback that runs when the stop is asked for can still publish; then its message is settled."""
    queue, answers = stage.queue(), stage.queue()
    service = stage.service()
    gate = stage.gate()

    def callback(received: Message) -> None:
        gate.pass_through()
        from_thread(service.factory.publish, message(answers, 1), "amq.topic")

    [consumer] = await service.factory.consume(callback, **plan(queue))
    await service.factory.publish(message(queue, 1), "amq.topic")
    await gate.reached()
    stopping = service.stopService()
    gate.open()
    await stopping
    await consumer.result
    assert stage.admin.take(answers) == [body(1)]
    assert stage.admin.take(queue) == []


async def blocking_publish_from_a_callback_while_the_service_stops(stage: Stage) -> None:
    """`api.publish` there must not make a connection that outlives the stop."""
    proxy, queue, answers = stage.proxy(), stage.queue(), stage.queue()
    service = stage.service(proxy.url())
    api._twisted_service = service
    gate = stage.gate()

    def callback(_received: Message) -> None:
        gate.pass_through()
        api.publish(message(answers, 1), timeout=WAIT)

    [consumer] = await api.twisted_consume(callback, **plan(queue))
    await api.twisted_publish(message(queue, 1))
    await gate.reached()
    stopping = service.stopService()
    gate.open()
    await stopping
    await consumer.result
    assert stage.admin.take(answers) == [body(1)]
    await stage.eventually(lambda: proxy.connections == 0)
    assert proxy.accepted == 1


async def assigned_mock_service(stage: Stage) -> None:
    """Tests of applications put a mock in place of the service."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    class Factory:
        def publish(self, *arguments: Any, **keywords: Any) -> Deferred[None]:
            calls.append((arguments, keywords))
            published: Deferred[None] = Deferred()
            published.callback(None)
            return published

        def consume(self, *arguments: Any, **keywords: Any) -> str:
            calls.append((arguments, keywords))
            return "what the factory gives"

    class Service:
        factory = Factory()

    api._twisted_service = Service()
    sent = message("x")
    await api.twisted_publish(sent)
    await api.twisted_publish(sent, exchange="there")
    assert calls == [((sent,), {"exchange": "amq.topic"}), ((sent,), {"exchange": "there"})]
    calls.clear()

    def callback(_message: Message) -> None: ...

    bindings: config.BindingConfig = {"exchange": "e", "queue": "q", "routing_keys": ["#"]}
    queues = plan("q")["queues"]
    given: Any = api.twisted_consume(callback, bindings, queues)
    assert given == "what the factory gives"
    assert calls == [((callback, [bindings], queues), {})]
