"""Consuming: outcomes of callbacks, how consumers end, and what stopping waits for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

from tests.client.support import message, numbers, plan, queue_settings
from tests.support.proxy import BASIC_CONSUME
from tests.support.waiting import WAIT
from tests.twisted.programs.stage import (
    Gate,
    Recorder,
    Stage,
    counts,
    failure_of,
    in_reactor_thread,
    is_pending,
    nothing,
    raised_by,
    the_reactor,
)
from twisted.internet.defer import gatherResults

from fedora_messaging import api, config
from fedora_messaging.exceptions import (
    BadDeclaration,
    ConsumerCanceled,
    Drop,
    HaltConsumer,
    Nack,
    NoFreeChannels,
    PermissionException,
)
from fedora_messaging.twisted.consumer import Consumer, is_coro
from fedora_messaging.twisted.stats import ConsumerStatistics, FactoryStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fedora_messaging.message import Message
    from fedora_messaging.twisted.factory import FedoraMessagingFactoryV2

KINDS = ("function", "coroutine")


def _raising(kind: str, outcomes: Sequence[BaseException | None]) -> Callable[[Message], Any]:
    """A callback that ends as told, one outcome per message; then it returns."""
    left = iter(outcomes)

    def end() -> None:
        outcome = next(left, None)
        if outcome is not None:
            raise outcome

    def function(_message: Message) -> None:
        end()

    async def coroutine(_message: Message) -> None:
        await asyncio.sleep(0)
        end()

    return function if kind == "function" else coroutine


async def _consumer(stage: Stage, callback: Any, queue: str) -> tuple[FedoraMessagingFactoryV2, Consumer]:
    factory = stage.service().factory
    [consumer] = await factory.consume(callback, **plan(queue))
    return factory, consumer


async def nack_and_drop(stage: Stage) -> None:
    """Neither ends the consumer; both are counted."""
    for kind in KINDS:
        dead = stage.queue()
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        queue = stage.queue(**arguments)
        factory = stage.service().factory
        outcomes = [None, Nack(), Drop()]
        [consumer] = await factory.consume(_raising(kind, outcomes), **plan(queue, **arguments))
        for number in (1, 2):
            await factory.publish(message(queue, number), "amq.topic")
        # The first is processed, the second put back, and dropped when it comes again.
        await stage.eventually(lambda: consumer.stats.dropped == 1)  # noqa: B023
        await factory.publish(message(queue, 3), "amq.topic")
        await stage.eventually(lambda: consumer.stats.processed == 2)  # noqa: B023
        assert consumer.stats == ConsumerStatistics(received=4, processed=2, dropped=1, rejected=1)
        assert is_pending(consumer.result)
        assert stage.admin.take(dead) == [b'{"number": 2}']


async def halt(stage: Stage) -> None:
    """The result fails with the exception; the message is acknowledged, or put back if asked for."""
    for kind in KINDS:
        for requeue, expected in ((False, {"processed": 1}), (True, {"rejected": 1})):
            queue = stage.queue()
            outcome = HaltConsumer(exit_code=3, reason="enough", requeue=requeue)
            factory, consumer = await _consumer(stage, _raising(kind, [outcome]), queue)
            await factory.publish(message(queue, 1), "amq.topic")
            error = await failure_of(consumer.result, HaltConsumer)
            assert (error.exit_code, error.reason, error.requeue) == (3, "enough", requeue)
            assert counts(consumer) == {"received": 1, **expected}
            assert not consumer.running
            assert not factory.consuming
            assert factory._consumers == []
            await stage.eventually(lambda: stage.admin.consumers(queue) == 0)  # noqa: B023
            assert len(stage.admin.take(queue)) == int(requeue)


async def any_other_exception(stage: Stage) -> None:
    """The result fails with it; this message and the prefetched ones go back."""
    for kind in KINDS:
        queue = stage.queue()
        for number in range(5):
            stage.admin.channel.basic_publish("amq.topic", f"{queue}.x", b'{"number": %d}' % number)
        outcome = ZeroDivisionError("canary")
        factory, consumer = await _consumer(stage, _raising(kind, [None, outcome]), queue)
        assert await failure_of(consumer.result, ZeroDivisionError) is outcome
        assert counts(consumer) == {"received": 2, "processed": 1, "failed": 1}
        assert not consumer.running
        await stage.eventually(lambda: stage.admin.ready(queue) == 4)  # noqa: B023
        # The connection is as good as before.
        await factory.publish(message(queue), "amq.topic")


async def invalid_delivery(stage: Stage) -> None:
    """Refused for good; the consumer goes on, and its callback and counters never see it."""
    dead = stage.queue()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = stage.queue(**arguments)
    stage.admin.publish(queue, b"no json")
    recorder = Recorder()
    factory = stage.service().factory
    [consumer] = await factory.consume(recorder, **plan(queue, **arguments))
    await factory.publish(message(queue, 1), "amq.topic")
    await stage.eventually(lambda: consumer.stats.processed)
    assert numbers(recorder.messages) == [1]
    assert counts(consumer) == {"received": 1, "processed": 1}
    assert stage.admin.take(dead) == [b"no json"]


async def kinds_of_callbacks(stage: Stage) -> None:
    """Functions run in threads, coroutines in an event loop: the reactor's if it has one."""

    class Plain:
        def __call__(self, received: Message) -> None:
            seen.append(("plain", received.body["number"], in_reactor_thread()))

    class Coroutine:
        async def __call__(self, received: Message) -> None:
            asyncio.get_running_loop()
            seen.append(("coroutine", received.body["number"], in_reactor_thread()))

    mock = AsyncMock()
    assert [is_coro(one) for one in (Plain(), Plain, Coroutine(), mock, print)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    stage.use()
    seen: list[tuple[str, int, bool]] = []
    for callback in (Plain, Plain(), Coroutine, Coroutine(), mock):
        queue = stage.queue()
        [consumer] = await api.twisted_consume(callback, **plan(queue))
        await api.twisted_publish(message(queue, 1))
        await stage.eventually(lambda: consumer.stats.processed)  # noqa: B023
        await consumer.cancel()
    in_reactor = stage.reactor == "asyncio"
    assert seen == [("plain", 1, False)] * 2 + [("coroutine", 1, in_reactor)] * 2
    assert mock.await_count == 1


async def p05_blocking_callback_leaves_the_reactor_alone(stage: Stage) -> None:
    """While a plain callback blocks, the reactor publishes, and another queue is consumed."""
    blocked, other = stage.queue(), stage.queue()
    gate, recorder = stage.gate(), Recorder()
    factory, consumer = await _consumer(stage, gate.pass_through, blocked)
    await factory.consume(recorder, **plan(other))
    await factory.publish(message(blocked, 1), "amq.topic")
    await gate.reached()
    for number in range(20):
        await factory.publish(message(other, number), "amq.topic")
    await stage.eventually(lambda: len(recorder.messages) == 20)
    assert counts(consumer) == {"received": 1}
    gate.open()
    await stage.eventually(lambda: consumer.stats.processed)


async def queues_of_one_callback(stage: Stage) -> None:
    """One consumer each, in the order given; one message at a time each, in parallel with the others."""
    queues = [stage.queue() for _ in range(12)]
    factory = stage.service().factory
    together = threading.Barrier(len(queues))
    consumers = await factory.consume(lambda _message: together.wait(WAIT), **plan(*queues))
    assert [consumer.queue for consumer in consumers] == queues
    assert len({consumer._tag for consumer in consumers}) == len(queues)
    await gatherResults([factory.publish(message(queue), "amq.topic") for queue in queues])
    await stage.eventually(lambda: all(consumer.stats.processed for consumer in consumers))
    assert factory.stats == FactoryStatistics(12, ConsumerStatistics(received=12, processed=12))
    assert await nothing(factory.cancel(consumers[:11]))
    assert [consumer.running for consumer in consumers] == [False] * 11 + [True]
    assert factory.consuming
    assert [record.consumer for record in factory._consumers] == consumers[11:]
    await factory.cancel(consumers)
    assert not factory.consuming


async def records_of_consumers(stage: Stage) -> None:
    """`_consumers` tells what was asked for; a queue that the broker names keeps its configured name."""
    queue = stage.queue()
    factory = stage.service().factory
    named, anonymous = await factory.consume(
        Recorder(),
        [
            {"exchange": "amq.topic", "queue": queue, "routing_keys": ["a.#", "b.#"]},
            {"exchange": "amq.topic", "routing_keys": [f"{queue}.anonymous"]},
        ],
        {
            queue: queue_settings(),
            "": {"durable": False, "auto_delete": True, "exclusive": True, "arguments": {}},
        },
    )
    records = factory._consumers
    assert [record.consumer for record in records] == [named, anonymous]
    assert records[0].queue["queue"] == queue
    assert records[0].queue["durable"] is True
    assert [(b["exchange"], b["routing_key"]) for b in records[0].bindings] == [
        ("amq.topic", "a.#"),
        ("amq.topic", "b.#"),
    ]
    assert records[1].queue["queue"] == ""
    assert anonymous.queue
    assert anonymous.queue != queue
    await factory.publish(api.Message(topic=f"{queue}.anonymous"), "amq.topic")
    await stage.eventually(lambda: anonymous.stats.processed)


async def same_queue_again(stage: Stage) -> None:
    """A second consume of the queue swaps the callback, and the consumer stays."""
    proxy, queue = stage.proxy(), stage.queue()
    stage.use(proxy.url())
    first, second = Recorder(), Recorder()
    [consumer] = await api.twisted_consume(first, **plan(queue))
    await api.twisted_publish(message(queue, 1))
    await stage.eventually(lambda: consumer.stats.processed == 1)
    tag = consumer._tag
    [again] = await api.twisted_consume(second, **plan(queue))
    assert again is consumer
    assert (consumer.callback, consumer._tag) == (second, tag)
    await api.twisted_publish(message(queue, 2))
    await stage.eventually(lambda: consumer.stats.processed == 2)
    assert (first.numbers, second.numbers) == ([1], [2])
    assert stage.admin.consumers(queue) == 1
    assert proxy.count(BASIC_CONSUME) == 1
    assert len(api._twisted_service.factory._consumers) == 1
    assert api._twisted_service.stats.consumed == ConsumerStatistics(received=2, processed=2)

    async def third(received: Message) -> None:
        second(received)

    assert await api.twisted_consume(third, **plan(queue)) == [consumer]
    await api.twisted_publish(message(queue, 3))
    await stage.eventually(lambda: consumer.stats.processed == 3)
    assert second.numbers == [2, 3]


async def cancelled_consumer_can_be_replaced(stage: Stage) -> None:
    """A queue whose consumer has ended gets another one."""
    queue = stage.queue()
    stage.use()
    [first] = await api.twisted_consume(Recorder(), **plan(queue))
    await first.cancel()
    recorder = Recorder()
    [second] = await api.twisted_consume(recorder, **plan(queue))
    assert second is not first
    assert second._tag != first._tag
    await api.twisted_publish(message(queue, 1))
    await stage.eventually(lambda: second.stats.processed)
    assert counts(first) == {}
    assert (first.running, second.running) == (False, True)


async def cancel_waits_for_the_callback(stage: Stage) -> None:
    """It ends, its message is acknowledged, prefetched ones go back, then the Deferreds fire."""
    queue = stage.queue()
    gate = stage.gate()
    factory, consumer = await _consumer(stage, gate.pass_through, queue)
    for number in range(3):
        await factory.publish(message(queue, number), "amq.topic")
    await gate.reached()
    cancelling = [consumer.cancel(), consumer.cancel()]
    # Much can happen meanwhile.
    await factory.publish(message(queue, 3), "amq.topic")
    await _nothing_more_comes(stage, gate, factory, queue)
    assert is_pending(*cancelling, consumer.result)
    gate.open()
    await gatherResults(cancelling)
    assert await consumer.result is consumer
    assert counts(consumer) == {"received": 1, "processed": 1}
    assert gate.arrived == 1
    assert len(stage.admin.take(queue)) == 3
    assert await nothing(consumer.cancel())


async def _nothing_more_comes(
    stage: Stage, gate: Gate, factory: FedoraMessagingFactoryV2, queue: str
) -> None:
    """Some round trips later nothing more has come to a gate."""
    for number in range(3):
        await factory.publish(message("nowhere", number), "amq.topic")
        assert stage.admin.ready(queue) >= 0
    assert gate.inside == 1


async def callback_that_cancels_its_own_consumer(stage: Stage) -> None:
    """It ends first: the message is acknowledged."""
    queue = stage.queue()
    factory = stage.service().factory
    consumers: list[Consumer] = []

    def callback(_message: Message) -> None:
        the_reactor().callFromThread(consumers[0].cancel)

    bindings: config.BindingConfig = {"exchange": "amq.topic", "queue": queue, "routing_keys": [f"{queue}.#"]}
    consumers += await factory.consume(callback, bindings, {queue: queue_settings()})
    await factory.publish(message(queue), "amq.topic")
    assert await consumers[0].result is consumers[0]
    assert stage.admin.take(queue) == []


async def cancel_waits_for_a_coroutine(stage: Stage) -> None:
    """As for functions."""
    queue = stage.queue()
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    async def callback(_message: Message) -> None:
        begun.set()
        while not may_end.is_set():  # noqa: ASYNC110 - it is set in any thread
            await asyncio.sleep(0.001)
        ended.set()

    factory, consumer = await _consumer(stage, callback, queue)
    await factory.publish(message(queue, 1), "amq.topic")
    await stage.eventually(begun.is_set)
    cancelling = consumer.cancel()
    await factory.publish(message("nowhere"), "amq.topic")
    assert is_pending(cancelling)
    may_end.set()
    await cancelling
    assert ended.is_set()
    assert stage.admin.ready(queue) == 0
    assert counts(consumer) == {"received": 1, "processed": 1}


async def stop_waits_for_callbacks(stage: Stage) -> None:
    """Of all consumers; what they raise still counts; the connection is closed in good order."""
    queues = [stage.queue(), stage.queue()]
    proxy = stage.proxy()
    service = stage.service(proxy.url())
    gate = stage.gate()

    consumers = await service.factory.consume(gate.pass_through, **plan(*queues))
    for number, queue in enumerate(queues):
        await service.factory.publish(message(queue, number), "amq.topic")
    await gate.reached(2)
    stopping = service.stopService()
    for _ in range(10):
        assert [stage.admin.ready(queue) for queue in queues] == [0, 0]
    assert is_pending(stopping)
    gate.open()
    await stopping
    for consumer in consumers:
        assert await consumer.result is consumer
    await stage.eventually(lambda: proxy.connections == 0)
    assert [stage.admin.take(queue) for queue in queues] == [[], []]
    assert not service.consuming
    # The numbers of a stopped service stay.
    assert service.stats.consumed.processed == 2


async def outcome_while_stopping(stage: Stage) -> None:
    """What the callback raises is the result, though its consumer is being cancelled."""
    for outcome in (HaltConsumer(exit_code=9), ZeroDivisionError("canary")):
        for how in ("cancel", "stop"):
            queue = stage.queue()
            service = stage.service()
            gate = stage.gate()

            def callback(received: Message) -> None:
                gate.pass_through(received)  # noqa: B023
                raise outcome  # noqa: B023

            [consumer] = await service.factory.consume(callback, **plan(queue))
            await service.factory.publish(message(queue), "amq.topic")
            await gate.reached()
            stopping = consumer.cancel() if how == "cancel" else service.stopService()
            gate.open()
            await stopping
            assert await failure_of(consumer.result, type(outcome)) is outcome
            assert len(stage.admin.take(queue)) == int(isinstance(outcome, ZeroDivisionError))


async def declaration_refused(stage: Stage) -> None:
    """BadDeclaration says of what, and why; nothing is consumed."""
    queue, other = stage.queue(), stage.queue()
    stage.use()
    different = plan(other, queue)
    different["queues"][queue]["durable"] = False
    error = await failure_of(api.twisted_consume(Recorder(), **different), BadDeclaration)
    assert error.obj_type == "queue"
    assert error.description["queue"] == queue
    assert error.description["durable"] is False
    code, text = error.reason.args
    assert code == 406
    assert "durable" in text
    assert stage.admin.consumers(other) == 0

    nowhere = plan(queue)
    nowhere["bindings"][0]["exchange"] = "no.such"
    error = await failure_of(api.twisted_consume(Recorder(), **nowhere), BadDeclaration)
    assert error.obj_type == "binding"
    expected = {"queue": queue, "exchange": "no.such", "routing_key": f"{queue}.#"}
    assert {key: error.description[key] for key in expected} == expected
    assert error.reason.args[0] == 404
    assert api._twisted_service.factory._consumers == []

    missing = plan(stage.names())
    config.conf["passive_declares"] = True
    error = await failure_of(api.twisted_consume(Recorder(), **missing), BadDeclaration)
    assert (error.obj_type, error.description["passive"], error.reason.args[0]) == ("queue", True, 404)
    await api.twisted_publish(message(queue))


async def consuming_refused(stage: Stage) -> None:
    """PermissionException, when the broker refuses basic.consume: here to a second, exclusive one's rival."""
    queue = stage.queue()
    stage.admin.channel.basic_consume(queue, lambda *_delivery: None, exclusive=True)
    stage.use()
    error = await failure_of(api.twisted_consume(Recorder(), **plan(queue)), PermissionException)
    assert not isinstance(error, BadDeclaration)
    assert (error.obj_type, error.description, str(error)) == ("queue", queue, queue)
    assert isinstance(error.reason, str)
    assert "exclusive" in error.reason


async def no_free_channels(stage: Stage) -> None:
    """When the connection has none left for a consumer."""
    queues = [stage.queue(), stage.queue()]
    stage.use(f"{stage.url}?channel_max=1")
    await failure_of(api.twisted_consume(Recorder(), **plan(*queues)), NoFreeChannels)
    await stage.eventually(lambda: [stage.admin.consumers(queue) for queue in queues] == [0, 0])


async def cancelled_by_the_broker(stage: Stage) -> None:
    """The result fails with ConsumerCanceled; other consumers go on."""
    queue, other = stage.queue(), stage.queue()
    factory = stage.service().factory
    [consumer] = await factory.consume(Recorder(), **plan(queue))
    [lives] = await factory.consume(Recorder(), **plan(other))
    stage.admin.delete(queue)
    await failure_of(consumer.result, ConsumerCanceled)
    assert not consumer.running
    assert [record.consumer for record in factory._consumers] == [lives]
    await factory.publish(message(other), "amq.topic")
    await stage.eventually(lambda: lives.stats.processed)


async def wrong_arguments(stage: Stage) -> None:
    """ValueError at once, with the text of the configuration's checks, and no connection is made."""
    proxy = stage.proxy()
    stage.use(proxy.url())
    consume: Any = api.twisted_consume

    class NoCall: ...

    class Unmakeable:
        def __init__(self, _needed: int) -> None: ...

        def __call__(self, _message: Message) -> None: ...

    def text(*arguments: Any) -> str:
        return str(raised_by(lambda: consume(*arguments), ValueError))

    not_callable = "Callback must be a class that implements __call__ or a function."
    assert text(5) == text(NoCall) == not_callable
    assert text(print, 5) == "bindings must be a list or tuple of dictionaries, but was a <class 'int'>"
    assert text(print, [{"exchange": "e"}]) == (
        "a binding is missing the following keys from its settings value: ['routing_keys']"
    )
    assert text(print, [], 5) == "'queues' must be a dictionary mapping queue names to settings."
    # The callback is looked at last.
    assert text(5, [], 5) == text(print, [], 5)
    raised_by(lambda: consume(Unmakeable), TypeError)
    assert proxy.accepted == 0


async def configured_queues_and_bindings(stage: Stage) -> None:
    """What the arguments leave out comes from the configuration; one binding may come without its list."""
    queue = stage.queue()
    stage.use()
    config.conf["queues"] = plan(queue)["queues"]
    config.conf["bindings"] = [{"exchange": "amq.topic", "queue": queue, "routing_keys": [f"{queue}.conf"]}]
    recorder = Recorder()
    [consumer] = await api.twisted_consume(recorder)
    assert consumer.queue == queue
    again = await api.twisted_consume(
        recorder, bindings={"exchange": "amq.direct", "queue": queue, "routing_keys": [f"{queue}-key"]}
    )
    assert again == [consumer]
    await api.twisted_publish(api.Message(topic=f"{queue}.conf", body={"number": 1}))
    await api.twisted_publish(api.Message(topic=f"{queue}-key", body={"number": 2}), "amq.direct")
    await stage.eventually(lambda: recorder.numbers == [1, 2])


async def consumer_of_ones_own(stage: Stage) -> None:
    """A Consumer that belongs to no connection."""

    def callback(_message: Message) -> None: ...

    consumer = Consumer("q", callback)
    assert (consumer.queue, consumer.callback, consumer.running) == ("q", callback, False)
    assert consumer.stats == ConsumerStatistics()
    assert repr(consumer) == f"Consumer(queue=q, callback={callback!r})"
    assert len(consumer._tag) == 36
    assert is_pending(consumer.result)
    await consumer.cancel()
    await failure_of(consumer.consume(), RuntimeError)
    assert repr(Consumer()) == "Consumer(queue=None, callback=None)"
    raised_by(lambda: setattr(consumer, "running", True), AttributeError)


async def repr_of_a_consumer(stage: Stage) -> None:
    """Names queue and callback."""
    queue = stage.queue()
    recorder = Recorder()
    _factory, consumer = await _consumer(stage, recorder, queue)
    assert repr(consumer) == f"Consumer(queue={queue}, callback={recorder!r})"


async def prefetch_of_the_configuration(stage: Stage) -> None:
    """Not more than that are out at once."""
    queue = stage.queue()
    config.conf["qos"] = {"prefetch_size": 0, "prefetch_count": 2}
    gate = stage.gate()
    factory, consumer = await _consumer(stage, gate.pass_through, queue)
    for number in range(5):
        await factory.publish(message(queue, number), "amq.topic")
    await gate.reached()
    await stage.eventually(lambda: stage.admin.ready(queue) == 3)
    gate.open()
    await stage.eventually(lambda: consumer.stats.processed == 5)
    assert gate.most_inside == 1
