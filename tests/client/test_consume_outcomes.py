"""What a callback does, and what becomes of its message: the same for `api.consume` and `aio.Bus.consume`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.client.support import AioConsuming, Consuming, message, numbers, plan
from tests.support.waiting import WAIT, eventually

from fedora_messaging.exceptions import ConsumerCanceled, Drop, HaltConsumer, Nack

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin import Admin, Names
    from tests.support.brokers import Broker

    from fedora_messaging.config import LazyConfig
    from fedora_messaging.message import Message

    Make = Callable[..., Consuming]


@pytest.fixture(params=["api", "aio"])
def consuming(request: pytest.FixtureRequest, broker: Broker, service: None) -> Make:
    """Begins to consume in a thread."""
    if request.param == "api":
        return Consuming
    return functools.partial(AioConsuming, broker.url)


def publish(admin: Admin, queue: str, *which: int) -> None:
    """Put messages into a queue by the independent client."""
    for number in which:
        one = message(queue, number)
        properties = pika_properties(one)
        admin.publish(queue, one._encoded_body, properties)


def pika_properties(one: Message) -> Any:
    import pika

    return pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        headers=dict(one._headers),
        message_id=one.id,
    )


def as_callback(kind: str, function: Callable[[Message], None]) -> Any:
    """Wrap a function in one of the forms a callback may have."""

    async def coroutine(received: Message) -> None:
        await asyncio.sleep(0)
        function(received)

    class Plain:
        def __call__(self, received: Message) -> None:
            function(received)

        def method(self, received: Message) -> None:
            function(received)

    class Asynchronous:
        async def __call__(self, received: Message) -> None:
            await coroutine(received)

        async def method(self, received: Message) -> None:
            await coroutine(received)

    async def two(_first: object, received: Message) -> None:
        await coroutine(received)

    return {
        "function": function,
        "coroutine function": coroutine,
        "object": Plain(),
        "class": Plain,
        "method": Plain().method,
        "async object": Asynchronous(),
        "async class": Asynchronous,
        "async method": Asynchronous().method,
        "partial of coroutine function": functools.partial(two, 1),
    }[kind]


KINDS = [
    "function",
    "coroutine function",
    "object",
    "class",
    "method",
    "async object",
    "async class",
    "async method",
    "partial of coroutine function",
]
BOTH = pytest.mark.parametrize("kind", ["function", "coroutine function"])


class Recorder:
    """A callback that notes what it gets, and after that does what it is told to."""

    def __init__(self, act: Callable[[int], None] | None = None) -> None:
        self.received: list[Message] = []
        self._act = act

    def __call__(self, received: Message) -> None:
        self.received.append(received)
        if self._act is not None:
            self._act(received.body["number"])

    @property
    def numbers(self) -> list[int]:
        return numbers(self.received)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_callback(broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str) -> None:
    recorder = Recorder()
    publish(admin, queue, *range(5))
    with consuming(as_callback(kind, recorder), **plan(queue)):
        eventually(lambda: len(recorder.received) == 5)
    assert recorder.numbers == list(range(5))
    assert {received.queue for received in recorder.received} == {queue}
    eventually(lambda: admin.consumers(queue) == 0)
    assert admin.ready(queue) == 0


@BOTH
def test_nack_puts_it_back(broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str) -> None:
    def act(number: int) -> None:
        if number == 1 and recorder.numbers.count(1) < 3:
            raise Nack

    recorder = Recorder(act)
    publish(admin, queue, 0, 1, 2)
    with consuming(as_callback(kind, recorder), **plan(queue)):
        eventually(lambda: len(recorder.received) == 5)
    assert sorted(recorder.numbers) == [0, 1, 1, 1, 2]
    assert admin.ready(queue) == 0


@BOTH
def test_drop_dead_letters_it(broker: Broker, admin: Admin, names: Names, consuming: Make, kind: str) -> None:
    def act(number: int) -> None:
        if number == 1:
            raise Drop

    recorder = Recorder(act)
    dead, name = admin.declare(names("dead")), names()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    admin.declare(name, **arguments)
    publish(admin, name, 0, 1, 2)
    with consuming(as_callback(kind, recorder), **plan(name, **arguments)):
        eventually(lambda: len(recorder.received) == 3)
        eventually(lambda: admin.ready(dead) == 1)
    assert admin.ready(name) == 0
    assert admin.take(dead) == [b'{"number": 1}']


@BOTH
@pytest.mark.parametrize("requeue", [False, True])
@pytest.mark.parametrize("exit_code", [0, 3])
def test_halt(
    broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str, requeue: bool, exit_code: int
) -> None:
    """It is raised whatever its exit code; what was not begun goes back."""

    def act(number: int) -> None:
        if number == 2:
            raise HaltConsumer(exit_code, "enough", requeue=requeue)

    recorder = Recorder(act)
    publish(admin, queue, *range(6))
    with consuming(as_callback(kind, recorder), **plan(queue)) as run:
        error = run.ended()
    assert isinstance(error, HaltConsumer)
    assert (error.exit_code, error.reason, error.requeue) == (exit_code, "enough", requeue)
    assert recorder.numbers == [0, 1, 2]
    left = [2, 3, 4, 5] if requeue else [3, 4, 5]
    eventually(lambda: admin.ready(queue) == len(left))
    assert admin.take(queue) == [f'{{"number": {n}}}'.encode() for n in left]


@BOTH
@pytest.mark.parametrize(
    "raised",
    [
        ValueError("canary"),
        AssertionError("canary"),
        StopIteration("canary"),
        StopAsyncIteration("canary"),
        GeneratorExit("canary"),
        SystemExit("canary"),
        KeyboardInterrupt("canary"),
        asyncio.CancelledError("canary"),
        TimeoutError("canary"),
        ExceptionGroup("canary", [Nack()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_exception_ends_consuming_and_loses_nothing(
    broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str, raised: BaseException
) -> None:
    """The message, and all that were sent ahead, go back in their order."""

    def act(number: int) -> None:
        if number == 2:
            raise raised

    recorder = Recorder(act)
    publish(admin, queue, *range(6))
    with consuming(as_callback(kind, recorder), **plan(queue)) as run:
        error = run.ended()
    assert error is not None
    # Python lets no StopIteration leave a coroutine or a future, nor asyncio a foreign cancellation.
    assert error is raised or isinstance(error, RuntimeError) or type(error) is type(raised)
    assert recorder.numbers == [0, 1, 2]
    eventually(lambda: admin.ready(queue) == 4)
    assert admin.take(queue) == [f'{{"number": {n}}}'.encode() for n in range(2, 6)]
    assert admin.consumers(queue) == 0


def test_function_that_returns_a_coroutine_loses_nothing(
    broker: Broker, admin: Admin, queue: str, consuming: Make
) -> None:
    """A forgotten `async`, or a decorator: the message must not be acknowledged without being processed."""
    recorder = Recorder()
    coroutine = as_callback("coroutine function", recorder)
    publish(admin, queue, 0)
    with consuming(lambda received: coroutine(received), **plan(queue)) as run:
        eventually(lambda: recorder.received or not run.is_alive or admin.ready(queue) == 0)
    assert recorder.received or admin.ready(queue) == 1


@BOTH
def test_one_message_at_a_time(broker: Broker, admin: Admin, queue: str, consuming: Make, kind: str) -> None:
    at_work, most = [0], [0]

    def plain(received: Message) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        done.wait(0.01)
        at_work[0] -= 1
        seen.append(received)

    async def coroutine(received: Message) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await asyncio.sleep(0.005)
        at_work[0] -= 1
        seen.append(received)

    done = threading.Event()
    seen: list[Message] = []
    publish(admin, queue, *range(10))
    with consuming(plain if kind == "function" else coroutine, **plan(queue)):
        eventually(lambda: len(seen) == 10)
    assert most == [1]
    assert numbers(seen) == list(range(10))


@BOTH
def test_queues_are_worked_on_in_parallel(
    broker: Broker, admin: Admin, names: Names, consuming: Make, kind: str
) -> None:
    """Each callback waits until the other queue's is running too."""
    queues = [admin.declare(names()) for _ in range(3)]
    met = threading.Barrier(3)
    arrived: list[str] = []
    seen: list[str] = []

    def plain(received: Message) -> None:
        met.wait(WAIT)
        seen.append(str(received.queue))

    async def coroutine(received: Message) -> None:
        arrived.append(str(received.queue))
        async with asyncio.timeout(WAIT):
            while len(arrived) < 3:  # noqa: ASYNC110 - the other consumers are no tasks of ours
                await asyncio.sleep(0.005)
        seen.append(str(received.queue))

    for name in queues:
        publish(admin, name, 0)
    with consuming(plain if kind == "function" else coroutine, **plan(*queues)):
        eventually(lambda: len(seen) == 3)
    assert set(seen) == set(queues)


@BOTH
@pytest.mark.parametrize("failure", ["callback", "queue deleted"])
def test_when_one_consumer_fails_the_others_stop(
    broker: Broker, admin: Admin, names: Names, consuming: Make, kind: str, failure: str
) -> None:
    """Nothing goes on in the background."""
    first, second, third = [admin.declare(names()) for _ in range(3)]

    def act(number: int) -> None:
        if number == 13:
            raise ValueError("canary")

    recorder = Recorder(act)
    with consuming(as_callback(kind, recorder), **plan(first, second, third)) as run:
        publish(admin, second, 1)
        eventually(lambda: len(recorder.received) == 1)
        if failure == "callback":
            publish(admin, first, 13)
        else:
            admin.delete(first)
        error = run.ended()
    assert isinstance(error, ValueError if failure == "callback" else ConsumerCanceled)
    publish(admin, second, 2)
    publish(admin, third, 3)
    assert [admin.ready(second), admin.ready(third)] == [1, 1]
    assert [admin.consumers(second), admin.consumers(third)] == [0, 0]


@BOTH
def test_stopping_lets_running_callbacks_end(
    broker: Broker, admin: Admin, names: Names, consuming: Make, kind: str
) -> None:
    """Their messages are acknowledged; what was not begun goes back."""
    queues = [admin.declare(names()) for _ in range(2)]
    release = threading.Event()
    begun: list[Message] = []
    ended: list[Message] = []

    def plain(received: Message) -> None:
        begun.append(received)
        release.wait(WAIT)
        ended.append(received)

    async def coroutine(received: Message) -> None:
        begun.append(received)
        while not release.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)
        ended.append(received)

    for name in queues:
        publish(admin, name, 0, 1, 2)
    callback = plain if kind == "function" else coroutine
    with consuming(callback, **plan(*queues)) as run:
        eventually(lambda: len(begun) == 2)
        stopper = threading.Thread(target=run.stop)
        stopper.start()
        try:
            # The consumers have been told when they take nothing any more.
            publish(admin, queues[0], 3)
            assert run.is_alive
        finally:
            release.set()
            stopper.join(WAIT)
        assert run.ended() is None
    eventually(lambda: [admin.consumers(name) for name in queues] == [0, 0])
    assert len(begun) == len(ended)
    left = sum(admin.ready(name) for name in queues)
    assert left + len(ended) == 7


def test_prefetch_bounds_what_is_out(
    broker: Broker, admin: Admin, queue: str, consuming: Make, settings: dict[str, Any]
) -> None:
    settings["qos"] = {"prefetch_count": 3}
    release = threading.Event()
    begun: list[Message] = []

    def callback(received: Message) -> None:
        begun.append(received)
        release.wait(WAIT)

    publish(admin, queue, *range(8))
    with consuming(callback, **plan(queue)):
        try:
            eventually(lambda: len(begun) == 1)
            eventually(lambda: admin.ready(queue) == 5)
        finally:
            release.set()
        eventually(lambda: len(begun) == 8)
    assert admin.ready(queue) == 0


async def swallow_own_cancellation() -> None:
    """What some time-outs do: cancel the task that runs them, and go on."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def cancel_on_return() -> None:
    """The cancellation comes at the next wait, when the callback is over."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def await_cancelled_task() -> None:
    """Ends by a CancelledError that is meant for another task."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


POLICIES: list[dict[str, Any]] = [{}, {"concurrency": 2}, {"ordering_key": "topic"}]


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "concurrent", "ordered"])
@pytest.mark.parametrize("leave", [swallow_own_cancellation, cancel_on_return])
def test_p37_cancellations_of_one_callback_end_no_other(
    admin: Admin, queue: str, consuming: Make, settings: LazyConfig, leave: Any, policy: dict[str, Any]
) -> None:
    """And one that ends by a CancelledError of its own ends consuming, visibly."""
    settings["consumer"] = policy
    recorder = Recorder()
    counts = []

    async def callback(received: Message) -> None:
        task = asyncio.current_task()
        assert task is not None
        counts.append(task.cancelling())
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        recorder(received)
        if received.body["number"] < 4:
            await leave()
        else:
            await await_cancelled_task()

    publish(admin, queue, *range(5))
    with consuming(callback, **plan(queue)) as running:
        error = running.ended()
    assert isinstance(error, RuntimeError)
    assert sorted(recorder.numbers) == [0, 1, 2, 3, 4]
    assert set(counts) == {0}
    eventually(lambda: admin.ready(queue) == 1)


@pytest.mark.parametrize("policy", POLICIES, ids=["plain", "concurrent", "ordered"])
def test_p37_worker_that_is_cancelled_ends_consuming(
    broker: Broker, admin: Admin, queue: str, settings: LazyConfig, policy: dict[str, Any], service: None
) -> None:
    """By a time-out that a callback left behind, for example: a consumer without a worker would be deaf."""
    settings["consumer"] = policy

    async def callback(_received: Message) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.05, task.cancel)

    publish(admin, queue, 1)
    with AioConsuming(broker.url, callback, **plan(queue)) as running:
        assert isinstance(running.ended(), RuntimeError)
    assert admin.ready(queue) == 0
    if not policy:
        # With a policy `api.consume` has a task for each call.
        publish(admin, queue, 2)
        with Consuming(callback, **plan(queue)) as other:
            assert isinstance(other.ended(), RuntimeError)
