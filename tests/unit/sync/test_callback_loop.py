"""The loop of coroutine callbacks: its thread, callbacks that block it, and runners that live in it."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import WAIT, eventually, soon

from fedora_messaging.client.consuming.consumer import Consumer
from fedora_messaging.client.publishing.awaited import AwaitedPublish
from fedora_messaging.client.publishing.outgoing import encode
from fedora_messaging.client.supervisor import Supervisor
from fedora_messaging.config import DEFAULTS
from fedora_messaging.exceptions import HaltConsumer
from fedora_messaging.message import Message
from fedora_messaging.options import QosOptions, QueueOptions
from fedora_messaging.settings.to_options import connection_options
from fedora_messaging.sync.callback_loop import CallbackLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fedora_messaging.broker import Broker

MESSAGE = Message(topic="t")
THREAD = "fedora-messaging callbacks"


def is_running() -> bool:
    return any(thread.name == THREAD for thread in threading.enumerate())


@contextmanager
def running() -> Iterator[CallbackLoop]:
    callback_loop = CallbackLoop()
    try:
        yield callback_loop
    finally:
        callback_loop.stop()
    assert not is_running()


def test_loop_starts_when_it_is_needed() -> None:
    with running() as callback_loop:
        assert callback_loop.answers()
        assert not callback_loop.is_current_thread
        assert not is_running()
        assert callback_loop.loop_thread is callback_loop.loop_thread
        assert is_running()
        assert callback_loop.answers()


def test_adapted_callback_runs_in_the_loop() -> None:
    called: list[Any] = []

    async def callback(message: Message) -> None:
        called.append((message, threading.current_thread().name, callback_loop.is_current_thread))
        if len(called) == 2:
            raise ValueError("canary")

    async def main() -> None:
        adapted = callback_loop.adapt(callback)
        await adapted(MESSAGE)
        with pytest.raises(ValueError, match="canary"):
            await adapted(MESSAGE)

    with running() as callback_loop:
        asyncio.run(main())
    assert called == [(MESSAGE, THREAD, True)] * 2


def test_adapted_callback_is_cancelled_with_its_call() -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def callback(_message: Message) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def main() -> None:
        task = asyncio.ensure_future(callback_loop.adapt(callback)(MESSAGE))
        await asyncio.to_thread(begun.wait, WAIT)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    with running() as callback_loop:
        asyncio.run(main())
        assert cancelled.wait(WAIT)


def test_callback_that_blocks_the_loop_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        return [text for text in caplog.messages if "has blocked its event loop" in text]

    async def block(_message: Message) -> None:
        eventually(told)

    async def main() -> None:
        await callback_loop.adapt(block)(MESSAGE)

    with running() as callback_loop:
        asyncio.run(main())
    (text,) = told()
    assert re.fullmatch(
        r"The callback test_callback_that_blocks_the_loop_is_told\.<locals>\.block has blocked its event "
        r"loop for \d+ seconds, so that no other coroutine callback runs: await what takes long, or make it "
        r"a plain function",
        text,
    )
    assert caplog.records[-1].name == "fedora_messaging.twisted.consumer"


def test_loop_that_is_blocked_does_not_answer() -> None:
    begun, release = threading.Event(), threading.Event()

    def block(_none: None) -> None:
        begun.set()
        release.wait(WAIT)

    with running() as callback_loop:
        callback_loop.loop_thread.post(block, None)
        assert begun.wait(WAIT)
        assert not callback_loop.loop_thread.answers(0.01)
        release.set()
        assert callback_loop.answers()


# Runners


class Stage:
    """A consumer whose callbacks run in the loop, and what it consumes."""

    def __init__(self, consumer: Consumer, supervisor: Supervisor, queue: str) -> None:
        self.consumer = consumer
        self._supervisor = supervisor
        self._queue = queue

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            message = Message(topic=self._queue, body={"number": number})
            with AwaitedPublish(encode(message, "", True)) as publish:
                self._supervisor.submit(publish.out)
                await publish.confirmed


@asynccontextmanager
async def consuming(broker: Broker, queue: str, callback: Any) -> AsyncIterator[Stage]:
    with running() as callback_loop:
        supervisor = Supervisor(connection_options(DEFAULTS, broker.amqp_url))
        make = callback_loop.runner_for(callback)
        consumer = Consumer(make, QueueOptions(queue, durable=True), [], QosOptions(10))
        try:
            await supervisor.consume(consumer)
            yield Stage(consumer, supervisor, queue)
        finally:
            await supervisor.close()


def test_runner_calls_in_the_loop_and_settles(embedded_broker: Broker) -> None:
    called: list[tuple[int, str]] = []

    async def callback(message: Message) -> None:
        await asyncio.sleep(0)
        called.append((message.body["number"], threading.current_thread().name))

    async def main() -> None:
        async with consuming(embedded_broker, "settles", callback) as stage:
            await stage.publish(*range(30))
            # A message is counted in the callbacks' thread, and settled in this one.
            await soon(lambda: stage.consumer.stats.processed == 30 and stage.consumer.unsettled == 0)
            await stage.consumer.stop()
            assert stage.consumer.result.result() is stage.consumer

    asyncio.run(main())
    assert called == [(number, THREAD) for number in range(30)]


@pytest.mark.parametrize("error", [HaltConsumer(), ValueError("canary")])
def test_error_of_a_callback_ends_the_consumer(embedded_broker: Broker, error: Exception) -> None:
    called: list[int] = []

    async def callback(message: Message) -> None:
        called.append(message.body["number"])
        raise error

    async def main() -> None:
        async with consuming(embedded_broker, type(error).__name__, callback) as stage:
            await stage.publish(1, 2)
            with pytest.raises(type(error)) as caught:
                await asyncio.wait_for(stage.consumer.result, WAIT)
            assert caught.value is error

    asyncio.run(main())
    assert called == [1]


def test_stopping_lets_the_running_callback_end(embedded_broker: Broker) -> None:
    called: list[int] = []
    begun, release = threading.Event(), threading.Event()

    async def callback(message: Message) -> None:
        begun.set()
        await asyncio.to_thread(release.wait, WAIT)
        called.append(message.body["number"])

    async def main() -> None:
        async with consuming(embedded_broker, "ends", callback) as stage:
            await stage.publish(1, 2)
            await asyncio.to_thread(begun.wait, WAIT)
            stopping = asyncio.ensure_future(stage.consumer.stop())
            await soon(lambda: not stage.consumer.running)
            assert not stopping.done()
            release.set()
            await stopping
            assert stage.consumer.stats.processed == 1

    asyncio.run(main())
    assert called == [1]
